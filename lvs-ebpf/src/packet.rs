//! The only door to packet bytes.
//!
//! Contract, stated once: a pointer into the packet is made here alone, from the context's current
//! `data`, and used only after a comparison with `data_end` that covers every byte of the access. No such
//! pointer outlives its function, so moving the packet's head or tail cannot leave a stale one behind.

use core::arch::asm;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::{TcContext, XdpContext};
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// Offsets are kept below this.
pub const REACH: usize = 1024;

/// The offset, in a form from which the verifier knows its bounds. The comparison with [`REACH`] alone
/// does not do: the compiler moves it, or turns it into a signed one.
#[inline(always)]
fn bounded(offset: usize) -> usize {
    let mut bounded = offset;
    // SAFETY: arithmetic on a register. Changes nothing, since the offset is below `REACH`.
    unsafe { asm!("{0} &= 0x7ff", inout(reg) bounded, options(pure, nomem, nostack)) };
    bounded
}

const _: () = assert!(REACH < 0x7ff);

/// Headers that can be read and written, at offsets from the frame's start.
pub trait Bytes: Door + Sized {
    fn packet(&self) -> &Packet;

    /// A copy of the `T` at `offset`. `T` is plain data: any bytes make a valid one.
    #[inline(always)]
    fn read<T: Plain>(&self, offset: usize) -> Result<T, OutOfBounds> {
        let pointer = self.at::<T::Words>(offset)?;
        // SAFETY: the whole access was compared with the packet's end. BPF has no alignment rule for packets, and
        // `T` is as large as its words, of which every pattern makes a `T`.
        Ok(unsafe { core::mem::transmute_copy(&pointer.read()) })
    }

    #[inline(always)]
    fn write<T: Plain>(&self, offset: usize, value: T) -> Result<(), OutOfBounds> {
        let pointer = self.at::<T::Words>(offset)?;
        // SAFETY: as in `read`.
        unsafe { pointer.write(core::mem::transmute_copy(&value)) };
        Ok(())
    }

    /// Makes room for `bytes` bytes in front of the packet; every offset grows by as much.
    fn grown(&self, bytes: usize) -> Result<Self, OutOfBounds>;
}

mod door {
    use super::OutOfBounds;

    /// Where pointers into the packet come from; for this file only.
    pub trait Door {
        /// A pointer to a `T` of which all bytes were compared with the packet's end.
        fn at<T>(&self, offset: usize) -> Result<*mut T, OutOfBounds>;
    }
}

use door::Door;

/// A packet whose headers stand anywhere: each access is compared with the packet's end.
pub struct Packet {
    context: XdpContext,
}

/// The first `N` bytes of a packet, compared with its end once. An access beyond them fails; where offsets
/// are constants the compiler knows that none does.
pub struct Window<'a, const N: usize> {
    packet: &'a Packet,
    /// A pointer and not a number: of a number the compiler may keep one half.
    start: *mut u8,
}

/// An access beyond the packet's end.
pub struct OutOfBounds;

impl Packet {
    #[inline(always)]
    pub const fn new(context: XdpContext) -> Self {
        Self { context }
    }

    #[inline(always)]
    pub const fn context(&self) -> &XdpContext {
        &self.context
    }

    /// Index of the interface the packet came in by.
    #[inline(always)]
    pub fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    /// Where the frame begins. Loaded by hand: the context's field is a u32 that the verifier takes for a
    /// pointer, and the compiler would widen it to 64 bits by a move that makes it a plain number.
    #[inline(always)]
    fn start(&self) -> *mut u8 {
        let start: *mut u8;
        // SAFETY: reads a field of the context the program was called with.
        unsafe {
            asm!("{start} = *(u32 *)({context} + 0)", start = out(reg) start,
                context = in(reg) self.context.ctx, options(pure, readonly, nostack, preserves_flags));
        }
        start
    }

    /// One past the frame's last byte.
    #[inline(always)]
    fn end(&self) -> *mut u8 {
        let end: *mut u8;
        // SAFETY: as in `start`.
        unsafe {
            asm!("{end} = *(u32 *)({context} + 4)", end = out(reg) end,
                context = in(reg) self.context.ctx, options(pure, readonly, nostack, preserves_flags));
        }
        end
    }

    /// Bytes of the frame, Ethernet header included.
    #[inline(always)]
    pub fn length(&self) -> usize {
        let length: usize;
        // By hand: the compiler would mix the difference of two pointers with other arithmetic.
        // SAFETY: arithmetic on registers.
        unsafe {
            asm!("{0} -= {1}", inout(reg) self.end() as usize => length, in(reg) self.start() as usize,
                options(pure, nomem, nostack));
        }
        length
    }

    /// The packet's first `N` bytes.
    #[inline(always)]
    pub fn window<const N: usize>(&self) -> Result<Window<'_, N>, OutOfBounds> {
        let start = self.start();
        if start.wrapping_add(N) > self.end() {
            return Err(OutOfBounds);
        }
        Ok(Window { packet: self, start })
    }

    /// Makes room for `bytes` bytes in front of the packet; every offset grows by as much.
    #[inline(always)]
    pub fn grow_head(&self, bytes: usize) -> Result<(), OutOfBounds> {
        self.adjust_head(-(bytes as i32))
    }

    #[inline(always)]
    pub fn shrink_head(&self, bytes: usize) -> Result<(), OutOfBounds> {
        self.adjust_head(bytes as i32)
    }

    #[inline(always)]
    fn adjust_head(&self, delta: i32) -> Result<(), OutOfBounds> {
        // SAFETY: the context is the one the program was called with.
        match unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), delta) } {
            0 => Ok(()),
            _ => Err(OutOfBounds),
        }
    }

    /// Cuts `bytes` bytes off the packet's end.
    #[inline(always)]
    pub fn shrink_tail(&self, bytes: usize) -> Result<(), OutOfBounds> {
        // SAFETY: as in `adjust_head`.
        match unsafe { bpf_xdp_adjust_tail(self.context.as_ptr().cast(), -(bytes as i32)) } {
            0 => Ok(()),
            _ => Err(OutOfBounds),
        }
    }
}

impl Door for Packet {
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Result<*mut T, OutOfBounds> {
        if offset > REACH {
            return Err(OutOfBounds);
        }
        let start = self.start().wrapping_add(bounded(offset));
        if start.wrapping_add(size_of::<T>()) > self.end() {
            return Err(OutOfBounds);
        }
        Ok(start.cast())
    }
}

impl Bytes for Packet {
    #[inline(always)]
    fn packet(&self) -> &Packet {
        self
    }

    #[inline(always)]
    fn grown(&self, bytes: usize) -> Result<Self, OutOfBounds> {
        self.grow_head(bytes)?;
        Ok(Self { context: XdpContext::new(self.context.ctx) })
    }
}

impl<const N: usize> Door for Window<'_, N> {
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Result<*mut T, OutOfBounds> {
        if offset > N || offset + size_of::<T>() > N {
            return Err(OutOfBounds);
        }
        Ok(self.start.wrapping_add(offset).cast())
    }
}

impl<const N: usize> Bytes for Window<'_, N> {
    #[inline(always)]
    fn packet(&self) -> &Packet {
        self.packet
    }

    #[inline(always)]
    fn grown(&self, bytes: usize) -> Result<Self, OutOfBounds> {
        self.packet.grow_head(bytes)?;
        self.packet.window()
    }
}

/// A packet of the machine's own, which may stand in several pieces: it is read by copies.
pub struct Leaving<'a> {
    context: &'a TcContext,
}

impl<'a> Leaving<'a> {
    #[inline(always)]
    pub const fn new(context: &'a TcContext) -> Self {
        Self { context }
    }

    /// As [`Bytes::read`].
    #[inline(always)]
    pub fn read<T: Plain>(&self, offset: usize) -> Result<T, OutOfBounds> {
        self.context.load(offset).map_err(|_| OutOfBounds)
    }
}

/// Types of which any bytes make a valid value, and the widest words they are copied by: the compiler
/// would copy byte arrays byte by byte.
///
/// There is no single byte: the compiler turns its bounds check into `>=`, from which the verifier learns
/// one byte less than it says.
///
/// # Safety
/// No padding, no invalid byte patterns, no pointers; `Words` is integers of the same size.
pub unsafe trait Plain: Copy {
    type Words: Copy;
}

macro_rules! plain {
    ($($type:ty => $words:ty),+ $(,)?) => { $(
        // SAFETY: integers, byte arrays and headers made of them; the sizes are compared.
        unsafe impl Plain for $type { type Words = $words; }
        const _: () = assert!(size_of::<$type>() == size_of::<$words>());
    )+ };
}

plain! {
    u16 => u16,
    u32 => u32,
    u64 => u64,
    [u8; 2] => u16,
    [u8; 4] => u32,
    [u8; 6] => [u16; 3],
    [u8; 8] => [u32; 2],
    [u8; 14] => [u16; 7],
    [u8; 16] => [u32; 4],
    [u8; 18] => [u16; 9],
    [u8; 20] => [u32; 5],
    [u8; 40] => [u32; 10],
    [u32; 5] => [u32; 5],
    [u64; 5] => [u64; 5],
    [u64; 6] => [u64; 6],
    EthHdr => [u16; 7],
    Ipv4Hdr => [u32; 5],
    Ipv6Hdr => [u32; 10],
}
