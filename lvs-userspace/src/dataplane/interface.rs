//! What the kernel says about an interface and the XDP program on it.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};

use super::netlink;

/// How a program sits on its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before the kernel spends anything on the packet.
    Native,
    /// In the kernel's receive path: works everywhere, several times slower.
    Generic,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InterfaceState {
    /// In bytes.
    pub(super) mtu: u32,
    pub(super) mac: [u8; 6],
    /// 0: none.
    pub(super) program: u32,
    pub(super) mode: Option<AttachMode>,
}

/// Asks by netlink, since /sys may belong to another network namespace.
pub(super) fn query(index: u32) -> io::Result<InterfaceState> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    match netlink::get(RouteNetlinkMessage::GetLink(link))? {
        Some(RouteNetlinkMessage::NewLink(link)) => Ok(state_of(&link)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "netlink answered with something else than a link",
        )),
    }
}

fn state_of(link: &LinkMessage) -> InterfaceState {
    let mut state = InterfaceState::default();
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => state.mtu = *mtu,
            LinkAttribute::Address(mac) => {
                if let Ok(mac) = mac.as_slice().try_into() {
                    state.mac = mac;
                }
            }
            LinkAttribute::Xdp(details) => details.iter().for_each(|detail| match detail {
                LinkXdp::ProgId(program) => state.program = *program,
                LinkXdp::Attached(XdpAttached::SocketBuffer) => state.mode = Some(AttachMode::Generic),
                LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware) => {
                    state.mode = Some(AttachMode::Native);
                }
                _ => {}
            }),
            _ => {}
        }
    }
    state
}
