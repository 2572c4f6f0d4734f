//! Packet sockets: opened long before they are needed, so that an announcement costs one system call a frame.
#![allow(unsafe_code, reason = "tokio leaves it to the caller that a descriptor stays open")]

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::task::{Context, Poll, ready};

use socket2::Socket;
use tokio::io::unix::AsyncFd;

use super::frame::{self, Claim};
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

/// Hears claims of some addresses on one interface; the kernel throws everything else away before it is queued, so
/// that a busy link does not drown them.
#[derive(Debug)]
pub(crate) struct Listener(AsyncFd<Socket>);

impl Listener {
    /// One for the addresses of each family, where there are any. Must be called within a tokio runtime.
    pub(crate) fn open_all(interface: u32, addresses: &[IpAddr]) -> io::Result<Vec<Self>> {
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| address.is_ipv4());
        // An address is told by its last four bytes, which is nearly always enough.
        let advertisement = Filter::default()
            .byte(frame::IPV6_NEXT_HEADER, frame::ICMPV6)
            .byte(frame::ICMPV6_TYPE, frame::ADVERTISEMENT);
        [
            (libc::ETH_P_ARP, Filter::default(), frame::ARP_SENDER, v4),
            (libc::ETH_P_IPV6, advertisement, frame::ADVERTISED_TAIL, v6),
        ]
        .into_iter()
        .filter(|(.., addresses)| !addresses.is_empty())
        .map(|(kind, filter, offset, addresses)| {
            let filter = filter.accepts_words(offset, addresses.iter().map(tail));
            let socket = packet::listen(interface, kind as u16, &filter)?;
            // SAFETY: the socket owns its descriptor, always names the same one, and is owned by the `AsyncFd`.
            Ok(Self(unsafe { AsyncFd::register(socket) }?))
        })
        .collect()
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

/// The last four bytes.
fn tail(address: &IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => u32::from(*v4),
        IpAddr::V6(v6) => u128::from(*v6) as u32,
    }
}
