//! Packet sockets: opened long before they are needed, so that an announcement costs one system call a frame.
#![allow(unsafe_code, reason = "tokio leaves it to the caller that a descriptor stays open")]

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::frame::{self, Word};
use crate::network::packet::{self, Filter};

/// Sends frames on any interface.
#[derive(Debug)]
pub(crate) struct Sender(Socket);

impl Sender {
    pub(crate) fn open() -> io::Result<Self> {
        packet::open().map(Self)
    }

    /// See [`packet::send`].
    pub(crate) fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        packet::send(&self.0, interface, frame)
    }
}

/// Hears what is said of some addresses on one interface; the kernel throws everything else away before it is queued,
/// so that a busy link does not drown it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: AsyncFd<Socket>,
    /// Of the groups that IPv6 addresses are asked for at.
    _member: Option<Socket>,
}

/// What a listener is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Who has the addresses.
    Claims,
    /// Who is about to take them.
    Questions,
}

impl Listener {
    /// One for the addresses of each family, where there are any. Must be called within a tokio runtime.
    pub(crate) fn open_all(interface: u32, about: About, addresses: &[IpAddr]) -> io::Result<Vec<Self>> {
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| address.is_ipv4());
        [(libc::ETH_P_ARP, v4), (libc::ETH_P_IPV6, v6)]
            .into_iter()
            .filter(|(_, addresses)| !addresses.is_empty())
            .map(|(kind, addresses)| Self::open(interface, kind as u16, about, &addresses))
            .collect()
    }

    /// For the addresses of one family.
    fn open(interface: u32, kind: u16, about: About, addresses: &[IpAddr]) -> io::Result<Self> {
        let is_v4 = i32::from(kind) == libc::ETH_P_ARP;
        let discovery = |message| {
            let header = Filter::default().byte(frame::IPV6_NEXT_HEADER, frame::ICMPV6);
            header.byte(frame::ICMPV6_TYPE, message)
        };
        let (filter, offset) = match (is_v4, about) {
            (true, About::Claims) => (Filter::default(), frame::ARP_SENDER),
            (true, About::Questions) => (Filter::default(), frame::ARP_TARGET),
            (false, About::Claims) => (discovery(frame::ADVERTISEMENT), frame::TARGET_TAIL),
            (false, About::Questions) => (discovery(frame::SOLICITATION), frame::TARGET_TAIL),
        };
        // An address is told by its last four bytes, which is nearly always enough.
        let filter = filter.accepts_words(offset, addresses.iter().map(tail));
        let socket = packet::listen(interface, kind, &filter)?;
        let asks = !is_v4 && about == About::Questions;
        let member = asks.then(|| join(interface, addresses)).transpose()?;
        // SAFETY: the socket owns its descriptor, always names the same one, and is owned by the `AsyncFd`.
        Ok(Self { socket: unsafe { AsyncFd::register(socket) }?, _member: member })
    }

    /// The next word. An error is told once; the socket may still be of use where the interface went down.
    pub(crate) fn poll_word(&self, context: &mut Context<'_>) -> Poll<io::Result<Word>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(context))?;
            match guard.try_io(|socket| read(socket.get_ref())) {
                Ok(Ok(Some(word))) => return Poll::Ready(Ok(word)),
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// The next word of those that have arrived, whether or not the runtime has been told of it.
    pub(crate) fn take_word(&self) -> Option<Word> {
        loop {
            // What is wrong with the socket was told by `poll_word`.
            if let Some(word) = read(self.socket.get_ref()).ok()? {
                return Some(word);
            }
        }
    }
}

/// What one frame says.
fn read(mut socket: &Socket) -> io::Result<Option<Word>> {
    let mut buffer = [0; 2048];
    let length = socket.read(&mut buffer)?;
    Ok(frame::word(&buffer[..length]))
}

/// Makes the interface hear questions about IPv6 addresses, and bridges that watch memberships bring them here: until
/// the socket is closed.
fn join(interface: u32, addresses: &[IpAddr]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    let groups = addresses.iter().filter_map(|address| match address {
        IpAddr::V6(v6) => Some(frame::solicited_node(*v6)),
        IpAddr::V4(_) => None,
    });
    for group in groups.collect::<BTreeSet<_>>() {
        socket.join_multicast_v6(&group, interface)?;
    }
    Ok(socket)
}

/// The last four bytes.
fn tail(address: &IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => u32::from(*v4),
        IpAddr::V6(v6) => u128::from(*v6) as u32,
    }
}
