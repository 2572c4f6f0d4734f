//! Packet sockets: opened long before they are needed, so that an announcement costs one system call a frame.
//!
//! They go through the queues of the interface like any packet of the kernel's, so that the fence at egress holds
//! for them too (PACKET_QDISC_BYPASS would evade it).
#![allow(
    unsafe_code,
    reason = "socket2 does not know the addresses of packet(7), and tokio leaves it to the caller that a descriptor stays open"
)]

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::frame::{self, Claim};

/// Sends frames on any interface.
#[derive(Debug)]
pub(crate) struct Sender(Socket);

impl Sender {
    /// Needs CAP_NET_RAW.
    pub(crate) fn open() -> io::Result<Self> {
        open(0).map(Self)
    }

    /// `interface` is its index. Waits for nobody: where the interface's queue is full, the frame is lost and an
    /// error told.
    pub(crate) fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        let kind = frame.get(12..14).and_then(|kind| kind.try_into().ok()).map_or(0, u16::from_be_bytes);
        self.0.send_to(frame, &link_address(interface, kind)?).map(drop)
    }
}

/// What claims are made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocols {
    Arp,
    NeighbourDiscovery,
}

/// Hears claims of some addresses on one interface; the kernel throws everything else away before it is queued.
#[derive(Debug)]
pub(crate) struct Listener(AsyncFd<Socket>);

impl Listener {
    /// One for the addresses of each family, where there are any. Must be called within a tokio runtime.
    pub(crate) fn open_all(interface: u32, addresses: &[IpAddr]) -> io::Result<Vec<Self>> {
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| address.is_ipv4());
        [(Protocols::Arp, v4), (Protocols::NeighbourDiscovery, v6)]
            .into_iter()
            .filter(|(_, addresses)| !addresses.is_empty())
            .map(|(protocols, addresses)| Self::open(interface, protocols, &addresses))
            .collect()
    }

    fn open(interface: u32, protocols: Protocols, addresses: &[IpAddr]) -> io::Result<Self> {
        let kind = match protocols {
            Protocols::Arp => libc::ETH_P_ARP,
            Protocols::NeighbourDiscovery => libc::ETH_P_IPV6,
        };
        // It hears nothing before it is bound, and then only what the filter lets through.
        let socket = open(0)?;
        socket.attach_filter(&filter(protocols, addresses))?;
        socket.bind(&link_address(interface, kind as u16)?)?;
        // SAFETY: the socket owns its descriptor, always names the same one, and is owned by the `AsyncFd`.
        Ok(Self(unsafe { AsyncFd::register(socket) }?))
    }

    /// The next claim. An error is told once; the socket may still be of use where the interface went down.
    pub(crate) fn poll_claim(&self, context: &mut Context<'_>) -> Poll<io::Result<Claim>> {
        let mut buffer = [0; 2048];
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            match guard.try_io(|socket| socket.get_ref().read(&mut buffer)) {
                Ok(Ok(length)) => {
                    if let Some(claim) = frame::claim(&buffer[..length]) {
                        return Poll::Ready(Ok(claim));
                    }
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

fn open(protocol: i32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(protocol)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// `kind` is the EtherType.
fn link_address(interface: u32, kind: u16) -> io::Result<SockAddr> {
    let index = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the addresses `sockaddr_storage` has room and alignment for, and all its
    // fields are integers, for which zero is a value.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = kind.to_be();
    address.sll_ifindex = index;
    // SAFETY: the storage holds a whole `sockaddr_ll`.
    Ok(unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) })
}

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Instructions the kernel takes (BPF_MAXINSNS).
const INSTRUCTIONS: usize = 4096;

/// Passes claims of the addresses, told by their last four bytes: enough to keep a busy link away from the socket.
/// More addresses than fit into a filter are let through unseen.
fn filter(protocols: Protocols, addresses: &[IpAddr]) -> Vec<SockFilter> {
    let accept = SockFilter::new(RETURN, 0, 0, u32::MAX);
    let refuse = || SockFilter::new(RETURN, 0, 0, 0);
    let mut program = Vec::new();
    let mut require_byte = |offset, value| {
        program.push(SockFilter::new(LOAD_BYTE, 0, 0, offset));
        program.push(SockFilter::new(JUMP_IF_EQUAL, 1, 0, value));
        program.push(refuse());
    };
    let tail = match protocols {
        Protocols::Arp => frame::ARP_SENDER,
        Protocols::NeighbourDiscovery => {
            require_byte(frame::IPV6_NEXT_HEADER, libc::IPPROTO_ICMPV6 as u32);
            require_byte(frame::ICMPV6_TYPE, frame::ADVERTISEMENT.into());
            frame::ADVERTISED_TAIL
        }
    };
    if program.len() + 2 + 2 * addresses.len() > INSTRUCTIONS {
        program.push(accept);
        return program;
    }
    program.push(SockFilter::new(LOAD_WORD, 0, 0, tail));
    for address in addresses {
        let word = match address {
            IpAddr::V4(v4) => u32::from(*v4),
            IpAddr::V6(v6) => u128::from(*v6) as u32,
        };
        program.push(SockFilter::new(JUMP_IF_EQUAL, 0, 1, word));
        program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    }
    program.push(refuse());
    program
}
