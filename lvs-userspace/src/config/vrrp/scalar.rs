//! Single values that only virtual routers have.

use std::net::IpAddr;

use serde_json::Value as Json;

use crate::config::record::{Read, Reader};
use crate::config::scalar::{UnicastAddress, read_text};
use crate::config::yaml::Node;

/// An address on one interface: what [`UnicastAddress`] is, and link-local ones.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct LinkAddress(pub(in crate::config) IpAddr);

impl Read for LinkAddress {
    fn expected() -> String {
        UnicastAddress::expected()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        match text.parse() {
            Ok(IpAddr::V6(address)) if address.is_unicast_link_local() => Some(Self(address.into())),
            _ => UnicastAddress::read(node, reader).map(|address| Self(address.0)),
        }
    }

    fn schema() -> Json {
        UnicastAddress::schema()
    }
}
