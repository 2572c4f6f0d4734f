//! Packet sockets (packet(7)): whole frames, out and in.
//!
//! They go through the queues of the interface like any packet of the kernel's, so that a fence at egress holds for
//! them too (PACKET_QDISC_BYPASS would evade it).
#![allow(unsafe_code, reason = "socket2 does not know link-layer addresses; they are made in this file")]

use std::io;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

/// One that sends on any interface and hears nothing. Does not block. Needs CAP_NET_RAW.
pub(crate) fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// `interface` is its index. Waits for nobody: where the interface's queue is full, the frame is lost and an error told.
pub(crate) fn send(socket: &Socket, interface: u32, frame: &[u8]) -> io::Result<()> {
    let kind = frame.get(12..14).and_then(|kind| kind.try_into().ok()).map_or(0, u16::from_be_bytes);
    socket.send_to(frame, &link_address(interface, kind)?).map(drop)
}

/// One that hears the frames of an EtherType that come in by an interface and pass the filter. Does not block.
pub(crate) fn listen(interface: u32, kind: u16, filter: &[SockFilter]) -> io::Result<Socket> {
    // It hears nothing before it is bound, and then only what the filter lets through.
    let socket = open()?;
    socket.attach_filter(filter)?;
    socket.bind(&link_address(interface, kind)?)?;
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

/// A filter in the making (the kernel's classic BPF): every requirement must be met, then it [`Self::accepts`], or
/// accepts one of some words.
#[derive(Default)]
pub(crate) struct Filter(Vec<SockFilter>);

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Instructions the kernel takes (BPF_MAXINSNS).
const INSTRUCTIONS: usize = 4096;

const ACCEPT: SockFilter = SockFilter::new(RETURN, 0, 0, u32::MAX);
const REFUSE: SockFilter = SockFilter::new(RETURN, 0, 0, 0);

impl Filter {
    /// Lets nothing through.
    pub(crate) fn nothing() -> Vec<SockFilter> {
        vec![REFUSE]
    }

    /// The byte of the frame at `offset` must be `value`.
    pub(crate) fn byte(mut self, offset: u32, value: u8) -> Self {
        self.0.extend([
            SockFilter::new(LOAD_BYTE, 0, 0, offset),
            SockFilter::new(JUMP_IF_EQUAL, 1, 0, value.into()),
            REFUSE,
        ]);
        self
    }

    pub(crate) fn accepts(mut self) -> Vec<SockFilter> {
        self.0.push(ACCEPT);
        self.0
    }

    /// The four bytes at `offset` must be one of `words`; any, if those are more than a filter can hold.
    pub(crate) fn accepts_words(
        mut self,
        offset: u32,
        words: impl ExactSizeIterator<Item = u32>,
    ) -> Vec<SockFilter> {
        if self.0.len() + 2 + 2 * words.len() > INSTRUCTIONS {
            return self.accepts();
        }
        self.0.push(SockFilter::new(LOAD_WORD, 0, 0, offset));
        for word in words {
            self.0.extend([SockFilter::new(JUMP_IF_EQUAL, 0, 1, word), ACCEPT]);
        }
        self.0.push(REFUSE);
        self.0
    }
}
