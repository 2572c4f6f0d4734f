//! The only door to packet bytes.
//!
//! Contract, stated once: a pointer into the packet is made here alone, from the context's current
//! `data`, and used only after a comparison with `data_end` that covers every byte of the access. No such
//! pointer outlives its function, so moving the packet's head or tail cannot leave a stale one behind.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;

/// Offsets are kept below this, which is what lets the verifier bound them.
const REACH: usize = 1024;

pub struct Packet {
    context: XdpContext,
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

    /// Bytes of the frame, Ethernet header included.
    #[inline(always)]
    pub fn length(&self) -> usize {
        self.context.data_end() - self.context.data()
    }

    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Result<*mut T, OutOfBounds> {
        if offset > REACH {
            return Err(OutOfBounds);
        }
        let start = self.context.data() + offset;
        if start + size_of::<T>() > self.context.data_end() {
            return Err(OutOfBounds);
        }
        Ok(start as *mut T)
    }

    /// A copy of the `T` at `offset`. `T` is plain data: any bytes make a valid one.
    #[inline(always)]
    pub fn read<T: Plain>(&self, offset: usize) -> Result<T, OutOfBounds> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: `at` has compared the whole access with the packet's end.
        Ok(unsafe { pointer.read_unaligned() })
    }

    #[inline(always)]
    pub fn write<T: Plain>(&self, offset: usize, value: T) -> Result<(), OutOfBounds> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: `at` has compared the whole access with the packet's end.
        unsafe { pointer.write_unaligned(value) };
        Ok(())
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

/// Types of which any bytes make a valid value.
///
/// # Safety
/// No padding, no invalid byte patterns, no pointers.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty),+) => { $(
        // SAFETY: integers, byte arrays and packed structs of them.
        unsafe impl Plain for $type {}
    )+ };
}

plain!(u8, u16, u32, u64);

// SAFETY: an array of plain values has neither padding nor invalid patterns.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

use network_types::{eth::EthHdr, ip::Ipv4Hdr, ip::Ipv6Hdr};
plain!(EthHdr, Ipv4Hdr, Ipv6Hdr);
