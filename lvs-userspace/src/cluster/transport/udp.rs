//! Paths over UDP. They differ in where their socket is bound, whom it sends to and whom it hears.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::Fault;

/// Network control (RFC 4594 section 3.1: class selector 6), as the byte of the header has it.
const DSCP: u32 = 48 << 2;
/// The band of the interface's queue that goes first; the highest that needs no privilege.
const PRIORITY: u32 = 6;
/// Bytes that wait to be read: hundreds of beats, so that one is not lost to a flood at once, and no more.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// How to make the socket of a path.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) bind: SocketAddr,
    /// Each message goes to all of them.
    pub(super) to: Vec<SocketAddr>,
    /// Whether only what comes from the addresses in `to` is heard.
    pub(super) is_closed: bool,
    /// Where alone it sends and hears: for addresses that mean another network on each interface.
    pub(super) interface: Option<String>,
    /// Routers that a message to a group may pass, and one.
    pub(super) hops: u8,
}

impl Plan {
    /// From `own` to the peers, who have addresses of the same IP version.
    pub(super) fn unicast(own: SocketAddr, peers: Vec<SocketAddr>) -> Self {
        Self { bind: own, to: peers, is_closed: true, interface: None, hops: 1 }
    }

    /// To `voter`, from `own` or wherever the kernel takes to be the way.
    pub(super) fn voter(own: Option<IpAddr>, voter: SocketAddr) -> Self {
        let any = match voter {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self::unicast(SocketAddr::new(own.unwrap_or(any), 0), vec![voter])
    }

    /// For anybody who sends to `own`.
    pub(super) fn open_to_all(own: SocketAddr) -> Self {
        Self { is_closed: false, ..Self::unicast(own, Vec::new()) }
    }

    /// To and from all on the network of `interface`, by a multicast or broadcast address.
    pub(super) fn group(interface: String, group: SocketAddr, hops: u8) -> Self {
        Self { bind: group, to: vec![group], is_closed: false, interface: Some(interface), hops }
    }

    pub(super) fn open(&self) -> io::Result<Link> {
        let bind = self.bind;
        let socket =
            Socket::new(Domain::for_address(bind), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        match bind {
            SocketAddr::V4(_) => socket.set_tos_v4(DSCP)?,
            SocketAddr::V6(own) => {
                // At no address of one version, a voter hears both: IPv4 as ::ffff:0:0/96 (RFC 3493 section 3.7).
                let hears_both = own.ip().is_unspecified() && !self.is_closed;
                socket.set_only_v6(!hears_both)?;
                socket.set_tclass_v6(DSCP)?;
                if hears_both {
                    socket.set_tos_v4(DSCP)?;
                }
            }
        }
        // After the type of service, which changes it.
        socket.set_priority(PRIORITY)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let interface = match &self.interface {
            None => None,
            Some(name) => {
                let index = if_nametoindex(name.as_str())?;
                socket.bind_device(Some(name.as_bytes()))?;
                self.join(&socket, index)?;
                Some((name.clone(), index))
            }
        };
        let scope = interface.as_ref().map(|(_, index)| *index);
        socket.bind(&scoped(bind, scope).into())?;
        Ok(Link {
            socket: socket.into(),
            to: self.to.iter().map(|address| scoped(*address, scope)).collect(),
            is_closed: self.is_closed,
            interface,
        })
    }

    /// Makes `socket` one of those on the interface that hear the group. Several may: each gets its copy.
    fn join(&self, socket: &Socket, interface: u32) -> io::Result<()> {
        socket.set_reuse_address(true)?;
        match self.bind.ip() {
            IpAddr::V4(group) if group.is_multicast() => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface))?;
                socket.set_multicast_loop_v4(false)?;
                socket.set_multicast_ttl_v4(self.hops.into())
            }
            IpAddr::V4(_) => socket.set_broadcast(true),
            IpAddr::V6(group) => {
                socket.join_multicast_v6(&group, interface)?;
                socket.set_multicast_if_v6(interface)?;
                socket.set_multicast_loop_v6(false)?;
                socket.set_multicast_hops_v6(self.hops.into())
            }
        }
    }
}

/// `address` on the interface with this index, where that is part of it.
fn scoped(address: SocketAddr, interface: Option<u32>) -> SocketAddr {
    match (address, interface) {
        (SocketAddr::V6(v6), Some(index)) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, index).into(),
        _ => address,
    }
}

/// An open socket.
#[derive(Debug)]
pub(super) struct Link {
    socket: UdpSocket,
    to: Vec<SocketAddr>,
    is_closed: bool,
    /// Name and index.
    interface: Option<(String, u32)>,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a socket had.
pub(super) enum Received {
    Datagram {
        length: usize,
        from: SocketAddr,
    },
    /// From an address that is nobody's here.
    Stranger,
    Nothing,
}

impl Link {
    /// Sends to all, and tells of each who could not be sent to.
    pub(super) fn send(&self, bytes: &[u8], mut failed: impl FnMut(Option<SocketAddr>, Fault)) {
        for to in &self.to {
            if let Err(error) = self.send_to(bytes, *to) {
                failed(Some(*to), error);
            }
        }
    }

    fn send_to(&self, bytes: &[u8], to: SocketAddr) -> Result<(), Fault> {
        self.socket.send_to(bytes, to).map(|_| ()).map_err(|error| Fault::of(&error))
    }

    /// Answers `source`: where messages go to a group, the answer goes there too.
    pub(super) fn answer(
        &self,
        bytes: &[u8],
        source: SocketAddr,
        mut failed: impl FnMut(Option<SocketAddr>, Fault),
    ) {
        if self.interface.is_some() {
            self.send(bytes, failed);
        } else if let Err(error) = self.send_to(bytes, source) {
            failed(Some(source), error);
        }
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Received, Fault> {
        match self.socket.recv_from(buffer) {
            Ok((_, from)) if self.is_closed && !self.to.iter().any(|peer| peer.ip() == from.ip()) => {
                Ok(Received::Stranger)
            }
            Ok((length, from)) => Ok(Received::Datagram { length, from }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(Fault::of(&error)),
        }
    }

    /// Whether the interface is another one than that of the socket, which then never works again.
    pub(super) fn is_stale(&self) -> bool {
        let now = |name: &String| if_nametoindex(name.as_str()).ok();
        self.interface.as_ref().is_some_and(|(name, index)| now(name) != Some(*index))
    }
}
