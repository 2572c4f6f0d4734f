//! Single values that only a cluster has.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::health::scalar::Span;
use crate::config::model::Failback;
use crate::config::record::{Read, Reader};
use crate::config::scalar::{ServiceName, read_text};
use crate::config::yaml::{Node, Value};

/// What nodes and groups are called: as services, host names among them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::config) struct Name(pub(in crate::config) String);

impl Read for Name {
    fn expected() -> String {
        format!(
            "a name (up to {} letters, digits, `.`, `_` and `-`, a letter or digit first)",
            ServiceName::LONGEST
        )
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let name = read_text::<Self>(node, reader)?;
        if ServiceName::is_valid(name) {
            return Some(Self(name.to_owned()));
        }
        let remedy = format!("expected {}", Self::expected());
        reader.mistake(node.place, format!("{} is no name", node.describe()), remedy);
        None
    }

    fn schema() -> Json {
        ServiceName::schema()
    }
}

/// A group of hosts, of which one packet reaches all.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct MulticastAddress(pub(in crate::config) IpAddr);

impl MulticastAddress {
    /// Whether packets to it can leave the machine (RFC 4291 section 2.7: scopes 0 and 1 do not).
    fn travels(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.is_multicast(),
            IpAddr::V6(address) => address.is_multicast() && address.octets()[1] & 0xf > 1,
        }
    }
}

impl Read for MulticastAddress {
    fn expected() -> String {
        "an address from 224.0.0.0 to 239.255.255.255, or from ff02:: on".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let group = text.parse().ok().filter(|address| Self::travels(*address));
        if group.is_none() {
            let what = format!("{} is no group of hosts", node.describe());
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
        }
        group.map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
    }
}

/// Everybody on a network. Whether it is that of a network, only the interface knows.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct BroadcastAddress(pub(in crate::config) Ipv4Addr);

impl Read for BroadcastAddress {
    fn expected() -> String {
        "a broadcast address such as 10.0.0.255, or 255.255.255.255 for any network's".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let address = text.parse().ok().filter(|address: &Ipv4Addr| {
            !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
        });
        if address.is_none() {
            let what = format!("{} is no broadcast address", node.describe());
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
        }
        address.map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "string", "format": "ipv4" })
    }
}

/// Bits a second of a serial line.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Baud(pub(in crate::config) u32);

/// Those that termios(3) has a name for, from what carries a beat in less than a second.
const RATES: [u32; 8] = [9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600];

impl Read for Baud {
    fn expected() -> String {
        format!("one of {}", RATES.map(|rate| rate.to_string()).join(", "))
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Integer(given) = node.value else {
            reader.unexpected::<Self>(node);
            return None;
        };
        let rate = RATES.into_iter().find(|rate| i128::from(*rate) == given);
        if rate.is_none() {
            let what = format!("{given} is no rate of a serial line");
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
        }
        rate.map(Self)
    }

    fn schema() -> Json {
        json!({ "enum": RATES })
    }
}

/// What `ip address` calls an address.
#[derive(Clone, Debug)]
pub(in crate::config) struct Label(pub(in crate::config) String);

impl Label {
    /// IFNAMSIZ without the zero at the end.
    const LONGEST: usize = libc::IFNAMSIZ - 1;
}

impl Read for Label {
    fn expected() -> String {
        format!(
            "the interface's name and what tells the address apart, such as eth0:0; up to {} bytes",
            Self::LONGEST
        )
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let is_valid =
            (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid {
            let what = format!("{} is no label", node.describe());
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
            return None;
        }
        Some(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": Self::LONGEST })
    }
}

/// `auto_failback`: `off`, `on`, or after a time.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct FailbackTime(pub(in crate::config) Failback);

type Wait = Span<0, 86_400_000>;

impl Read for FailbackTime {
    fn expected() -> String {
        format!("`off`, `on` (at once), or {}", Wait::expected())
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let failback = match &node.value {
            Value::Text(word) if word == "off" => Failback::Off,
            Value::Text(word) if word == "on" => Failback::After(Duration::ZERO),
            Value::Integer(_) | Value::Float(_) => Failback::After(Wait::read(node, reader)?.0),
            Value::Text(text) if text.starts_with(|first: char| first.is_ascii_digit()) => {
                Failback::After(Wait::read(node, reader)?.0)
            }
            _ => {
                reader.unexpected::<Self>(node);
                return None;
            }
        };
        Some(Self(failback))
    }

    fn schema() -> Json {
        let mut ways = vec![json!({ "enum": ["off", "on"] })];
        ways.extend(Wait::schema()["anyOf"].as_array().into_iter().flatten().cloned());
        json!({ "anyOf": ways, "description": "`off`, `on` for at once, or how long it must have been well before" })
    }
}
