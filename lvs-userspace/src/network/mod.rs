//! Where destinations are: the interface, MACs, MTU and source address a packet to a real server leaves
//! with, read from the kernel by netlink and kept fresh.
//!
//! [`Network`] asks the kernel one question at a time; [`Resolver`] watches a set of addresses and reports
//! every [`NextHopChanged`]. What changed and what to ask for is decided in `resolution`, which does no IO.
//!
//! Nothing is read from /sys: in a network namespace entered by `setns` it still shows the interfaces of
//! another namespace, and a wrong MAC is a black hole.

mod kernel;
mod message;
pub(crate) mod packet;
mod resolution;
mod resolver;

use std::io;
use std::net::IpAddr;

pub(crate) use kernel::{Changes, make_virtual, request_failed};
pub use kernel::{Events, Network};
pub(crate) use resolution::Link;
pub use resolver::Resolver;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// How the kernel would send a packet to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the interface the packet leaves by.
    pub interface: u32,
    /// MAC of that interface.
    pub source_mac: Mac,
    /// MAC of the gateway, or of the destination itself; `None` while it is not resolved.
    pub next_hop_mac: Option<Mac>,
    /// The next hop is a gateway.
    pub behind_router: bool,
    /// Largest IP packet the way takes, in bytes: the smaller one of the route's and the interface's.
    pub mtu: u32,
    /// The address the kernel itself would send from; `None` where the interface has none.
    pub source_address: Option<IpAddr>,
}

/// Why there is no [`NextHop`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    #[error("it is an address of this machine")]
    Local,
    #[error("the kernel has no route to it")]
    NoRoute,
    #[error("interface {interface} is down")]
    InterfaceDown { interface: String },
    #[error("interface {interface} is not Ethernet, and only Ethernet frames can be redirected")]
    NotEthernet { interface: String },
}

/// The way to an address is another one than last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHopChanged {
    pub address: IpAddr,
    pub next_hop: Result<NextHop, Unreachable>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    #[error("cannot {action} by netlink: {source}")]
    Request { action: String, source: io::Error },
    #[error("the netlink connection has ended")]
    Closed,
    #[error("there is no interface {name} in this network namespace (`ip link` lists them)")]
    NoInterface { name: String },
    #[error("{destination} cannot be reached: {reason}")]
    Unreachable { destination: IpAddr, reason: Unreachable },
}
