//! Single values: numbers, names, addresses.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value as Json, json};

use super::record::{Read, Reader};
use super::yaml::{Node, Value};

/// The one version there is.
#[derive(Debug)]
pub(super) struct Version;

impl Version {
    const NUMBER: i128 = 1;
}

impl Read for Version {
    fn expected() -> String {
        format!("the number {}", Self::NUMBER)
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match node.value {
            Value::Integer(Self::NUMBER) => Some(Self),
            Value::Integer(other) => {
                let remedy = format!("expected {}, the only version this lvsd knows", Self::NUMBER);
                reader.mistake(node.place, format!("version {other} is not supported"), remedy);
                None
            }
            _ => {
                reader.unexpected::<Self>(node);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "const": Self::NUMBER as u32 })
    }
}

/// A whole number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<const LEAST: u32, const MOST: u32>(pub(super) u32);

impl<const LEAST: u32, const MOST: u32> Read for Number<LEAST, MOST> {
    fn expected() -> String {
        format!("a whole number from {LEAST} to {MOST}")
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Integer(given) = node.value else {
            reader.unexpected::<Self>(node);
            return None;
        };
        let number = u32::try_from(given).ok().filter(|number| (LEAST..=MOST).contains(number));
        if number.is_none() {
            let remedy = format!("expected {}", Self::expected());
            reader.mistake(node.place, format!("{given} is out of range"), remedy);
        }
        number.map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switch(pub(super) bool);

impl Read for Switch {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Bool(value) = node.value else {
            reader.unexpected::<Self>(node);
            return None;
        };
        Some(Self(value))
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

/// What services are called.
#[derive(Clone, Debug)]
pub(super) struct ServiceName(pub(super) String);

impl ServiceName {
    pub(super) const LONGEST: usize = 63;

    /// Survives a shell, a URL and a metric's label without quoting.
    pub(super) fn is_valid(name: &str) -> bool {
        let mut letters = name.bytes();
        letters.next().is_some_and(|first| first.is_ascii_alphanumeric())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && name.len() <= Self::LONGEST
    }
}

impl Read for ServiceName {
    fn expected() -> String {
        format!(
            "a service name (up to {} letters, digits, `.`, `_` and `-`, a letter or digit first)",
            Self::LONGEST
        )
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let name = read_text::<Self>(node, reader)?;
        if Self::is_valid(name) {
            return Some(Self(name.to_owned()));
        }
        let remedy = format!("expected {}", Self::expected());
        reader.mistake(node.place, format!("{} is no name for a service", node.describe()), remedy);
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "maxLength": Self::LONGEST })
    }
}

/// What network interfaces are called.
#[derive(Clone, Debug)]
pub(super) struct InterfaceName(pub(super) String);

impl InterfaceName {
    /// IFNAMSIZ without the zero at the end.
    const LONGEST: usize = libc::IFNAMSIZ - 1;

    /// The kernel's own rule (dev_valid_name).
    fn is_valid(name: &str) -> bool {
        !name.is_empty()
            && name.len() <= Self::LONGEST
            && name != "."
            && name != ".."
            && !name
                .bytes()
                .any(|byte| matches!(byte, b'/' | b':') || byte.is_ascii_whitespace() || byte == 0x0b)
    }
}

impl Read for InterfaceName {
    fn expected() -> String {
        format!("an interface name (up to {} bytes without `/`, `:` and spaces)", Self::LONGEST)
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let name = read_text::<Self>(node, reader)?;
        if Self::is_valid(name) {
            return Some(Self(name.to_owned()));
        }
        let remedy = format!("expected {}", Self::expected());
        reader.mistake(node.place, format!("no interface can be called {}", node.describe()), remedy);
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[^/:\\s]+$", "minLength": 1, "maxLength": Self::LONGEST })
    }
}

/// An address that one machine can have and others can send to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnicastAddress(pub(super) IpAddr);

impl UnicastAddress {
    /// Why packets cannot be sent to `address`, if so.
    pub(crate) fn objection(address: IpAddr) -> Option<&'static str> {
        match address {
            _ if address.is_unspecified() => Some("is the unspecified address"),
            _ if address.is_multicast() => Some("is a multicast address"),
            _ if address.is_loopback() => Some("is a loopback address"),
            IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("is an IPv4 address in IPv6 form"),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                Some("is a link-local address, which means nothing without its interface")
            }
            _ => None,
        }
    }

    /// What to write in place of text that is no address.
    fn advice(text: &str) -> String {
        let expected = format!("expected {}", Self::expected());
        if text.parse::<SocketAddr>().is_ok() {
            return format!("{expected} without a port, which is a key of its own");
        }
        let host = text.split_once('/').map_or(text, |(host, _)| host);
        if host != text && host.parse::<IpAddr>().is_ok() {
            return format!("{expected} without a prefix length");
        }
        if text.trim_matches(['[', ']']) != text {
            return format!("{expected} without brackets");
        }
        if text.bytes().any(|byte| byte.is_ascii_alphabetic()) && !text.contains(':') {
            return format!("{expected}; names are not looked up");
        }
        expected
    }
}

impl Read for UnicastAddress {
    fn expected() -> String {
        "an IPv4 or IPv6 address".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let Ok(address) = text.parse() else {
            reader.mistake(node.place, format!("{} is no address", node.describe()), Self::advice(text));
            return None;
        };
        if let Some(objection) = Self::objection(address) {
            let remedy = match address {
                IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                    format!("expected {}", address.to_canonical())
                }
                _ => "expected an address of one machine".to_owned(),
            };
            reader.mistake(node.place, format!("{address} {objection}"), remedy);
            return None;
        }
        Some(Self(address))
    }

    fn schema() -> Json {
        json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
    }
}

/// An address of this machine, or all of them, with a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenAddress(pub(super) SocketAddr);

impl Read for ListenAddress {
    fn expected() -> String {
        "an address and a port, such as 127.0.0.1:9742 or \"[::1]:9742\"".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let remedy = format!("expected {}", Self::expected());
        let Ok(address) = text.parse::<SocketAddr>() else {
            let what = format!("{} is no address with a port", node.describe());
            reader.mistake(node.place, what, remedy);
            return None;
        };
        let ip = address.ip();
        let objection = match UnicastAddress::objection(ip) {
            _ if address.port() == 0 => Some("has no port"),
            _ if ip.is_unspecified() || ip.is_loopback() => None,
            objection => objection,
        };
        if let Some(objection) = objection {
            reader.mistake(node.place, format!("{address} {objection}"), remedy);
            return None;
        }
        Some(Self(address))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": ":[0-9]+$" })
    }
}

/// The text of a node that should be `T`.
pub(super) fn read_text<'a, T: Read>(node: &'a Node, reader: &mut Reader) -> Option<&'a str> {
    match &node.value {
        Value::Text(text) => return Some(text),
        Value::Integer(_) | Value::Float(_) | Value::Bool(_) => {
            let remedy = format!("expected {}; put it in quotation marks", T::expected());
            reader.mistake(node.place, format!("{} is not text", node.describe()), remedy);
        }
        Value::Null | Value::List(_) | Value::Map(_) => reader.unexpected::<T>(node),
    }
    None
}
