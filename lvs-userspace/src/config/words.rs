//! Words with a meaning: the file's spelling of the model's enums.

use std::fmt;

use serde_json::{Value as Json, json};

use super::model::{Convention, Forward, OnDown, Protocol, Require, Scheduler, TlsMode, Transport};
use super::nearest::nearest;
use super::record::{Read, Reader};
use super::yaml::{Node, Value};

/// `track`: which connections are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Track {
    Auto,
    Always,
}

/// `via`: how a probe gets to its real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    Address,
    Path,
}

/// Gives each variant its word, what it means, and names of it elsewhere that earn a hint.
macro_rules! words {
    ($visibility:vis $type:ident { $($variant:ident = $word:literal $(also $($other:literal)+)?: $meaning:literal;)+ }) => {
        impl $type {
            /// Every value, in the order in which the documentation explains them.
            $visibility const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it in the file.
            $visibility const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.word())
            }
        }

        impl Read for $type {
            fn expected() -> String {
                format!("one of {}", [$($word),+].join(", "))
            }

            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                let Value::Text(given) = &node.value else {
                    reader.unexpected::<Self>(node);
                    return None;
                };
                let known = Self::ALL.iter().find(|value| value.word() == given.as_str());
                if known.is_none() {
                    let elsewhere = match given.as_str() {
                        $($($($other)|+ => Some($word),)?)+
                        _ => None,
                    };
                    let meant = elsewhere.or_else(|| nearest(given, [$($word),+].into_iter()));
                    let remedy = match meant {
                        Some(word) => format!("did you mean `{word}`? expected {}", Self::expected()),
                        None => format!("expected {}", Self::expected()),
                    };
                    reader.mistake(node.place, format!("{} is not known", node.describe()), remedy);
                }
                known.copied()
            }

            fn schema() -> Json {
                let meanings = [$(concat!("`", $word, "`: ", $meaning)),+].join("; ");
                json!({ "enum": [$($word),+], "description": meanings })
            }
        }
    };
}

words!(pub Protocol {
    Tcp = "tcp": "TCP";
    Udp = "udp": "UDP";
});

words!(pub Scheduler {
    Rr = "rr": "round robin, one after the other";
    Wrr = "wrr": "round robin in proportion to the weights";
    Lc = "lc": "the real server with the least connections";
    Wlc = "wlc": "the real server with the least connections for its weight";
    Sh = "sh": "by a hash of the client's address: a client stays with its real server";
    Dh = "dh": "by a hash of the dialled address";
    Mh = "mh" also "maglev": "by a hash of addresses and ports; a change of real servers moves few connections";
});

words!(pub Forward {
    Dr = "dr" also "gate" "gatewaying" "route" "direct": "direct routing: the packet goes to the real server as it is, which answers the client itself";
    Nat = "nat" also "masq" "masquerade" "masquerading": "addresses and ports are translated; answers come back through the director";
    Ipip = "ipip" also "tun" "tunnel" "tunneling" "tunnelling": "the packet travels inside another IP packet, across routers and between IPv4 and IPv6; the real server answers the client itself";
    Local = "local" also "localnode" "localhost": "the director itself answers";
});

words!(pub(super) Track {
    Auto = "auto": "those that need it";
    Always = "always": "every one, also where the hash alone would find the real server";
});

words!(pub Require {
    All = "all": "every one";
    Any = "any": "at least one";
});

words!(pub OnDown {
    Remove = "remove": "it is taken out, and its connections go to the others, which reset them";
    Quiesce = "quiesce" also "quiescent": "its weight becomes 0: no new connections, the old ones stay with it";
    Reset = "reset": "its weight becomes 0, and the director resets its TCP connections when their clients send something";
});

words!(pub(super) Via {
    Address = "address": "to the real server's own address, as any program would";
    Path = "path": "to the VIP, by the forwarding method, to this one real server";
});

words!(pub TlsMode {
    None = "none": "not encrypted";
    Starttls = "starttls": "encrypted on a connection that begins without";
    Tls = "tls" also "smtps" "ssl": "encrypted from the first byte on";
});

words!(pub Transport {
    Udp = "udp": "over UDP";
    Tcp = "tcp": "over TCP";
});

words!(pub Convention {
    Mon = "mon": "as mon calls its monitors";
    Nagios = "nagios" also "icinga" "monitoring-plugins": "as Nagios calls its plugins";
});
