//! How advertisements travel: protocol 112 of IP, to the family's group or to each peer; from the virtual MAC as whole
//! frames.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use super::frame::{self, PRECEDENCE};
use super::packet::{self, GROUP_V4, GROUP_V6, HOPS, PROTOCOL, Received, Refusal};
use crate::network::packet::{Filter, listen};
use crate::network::{self, Mac};

/// Where in a frame the protocol of IPv4 stands, and the next header of IPv6.
const IPV4_PROTOCOL: u32 = 23;
const IPV6_NEXT_HEADER: u32 = 20;
const ETHERNET: usize = 14;
/// An advertisement of 255 IPv6 addresses in its frame.
const LONGEST: usize = 14 + 40 + 8 + 255 * 16;

/// The family's group of all VRRP routers.
pub(super) const fn group(family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::V4(GROUP_V4),
        IpAddr::V6(_) => IpAddr::V6(GROUP_V6),
    }
}

/// The sockets of one virtual router on one interface.
#[derive(Debug)]
pub(super) struct Sockets {
    sender: Socket,
    /// What it sends from, if that is not the interface's MAC, and by what.
    virtual_mac: Option<(Mac, Socket)>,
    /// A packet socket: it sees the header of IPv6 too, whose hop limit must be checked.
    receiver: Socket,
    interface: u32,
    source: IpAddr,
}

impl Sockets {
    /// `interface` is its index, `source` an address of it.
    pub(super) fn open(
        name: &str,
        interface: u32,
        source: IpAddr,
        virtual_mac: Option<Mac>,
    ) -> io::Result<Self> {
        let (kind, offset) = match source {
            IpAddr::V4(_) => (libc::ETH_P_IP, IPV4_PROTOCOL),
            IpAddr::V6(_) => (libc::ETH_P_IPV6, IPV6_NEXT_HEADER),
        };
        let receiver = listen(interface, kind as u16, &Filter::default().byte(offset, PROTOCOL).accepts())?;
        let virtual_mac = match virtual_mac {
            Some(mac) => Some((mac, network::packet::open()?)),
            None => None,
        };
        Ok(Self { sender: sender(name, interface, source)?, virtual_mac, receiver, interface, source })
    }

    pub(super) fn is_for(&self, interface: u32, source: IpAddr) -> bool {
        (self.interface, self.source) == (interface, source)
    }

    pub(super) fn source(&self) -> IpAddr {
        self.source
    }

    pub(super) fn send(&self, message: &[u8], destination: IpAddr) -> io::Result<()> {
        if let Some((mac, socket)) = &self.virtual_mac
            && let Some(frame) = frame::to_group(*mac, self.source, destination, message)
        {
            return network::packet::send(socket, self.interface, &frame);
        }
        self.sender.send_to(message, &address(destination, self.interface)).map(drop)
    }

    /// The next packet that has arrived; `None` if there is none.
    pub(super) fn receive(&self) -> io::Result<Option<Result<Received, Refusal>>> {
        let mut buffer = [0; LONGEST];
        match (&self.receiver).read(&mut buffer) {
            Ok(length) => Ok(Some(packet::decode(buffer.get(ETHERNET..length).unwrap_or_default()))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Readable when a packet has arrived.
impl AsFd for Sockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

fn sender(name: &str, interface: u32, source: IpAddr) -> io::Result<Socket> {
    let protocol = Some(Protocol::from(i32::from(PROTOCOL)));
    let socket = Socket::new(Domain::for_address(SocketAddr::new(source, 0)), Type::RAW, protocol)?;
    socket.set_nonblocking(true)?;
    // What it would hear, the packet socket hears.
    socket.attach_filter(&Filter::nothing())?;
    socket.bind_device(Some(name.as_bytes()))?;
    // Membership lets switches that watch it send the group's packets here.
    match source {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(HOPS.into())?;
            socket.set_multicast_ttl_v4(HOPS.into())?;
            socket.set_multicast_loop_v4(false)?;
            socket.set_tos_v4(PRECEDENCE.into())?;
            socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(interface))?;
        }
        IpAddr::V6(_) => {
            socket.set_unicast_hops_v6(HOPS.into())?;
            socket.set_multicast_hops_v6(HOPS.into())?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_if_v6(interface)?;
            socket.set_tclass_v6(PRECEDENCE.into())?;
            socket.join_multicast_v6(&GROUP_V6, interface)?;
        }
    }
    socket.bind(&address(source, interface))?;
    Ok(socket)
}

/// Link-local addresses mean nothing without the interface.
fn address(address: IpAddr, interface: u32) -> SockAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, 0).into(),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, interface).into(),
    }
}
