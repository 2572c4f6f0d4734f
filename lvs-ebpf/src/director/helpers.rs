//! Safe names for the kernel helpers and instructions in use.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd, atomic_xchg};

use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_redirect,
};
use lvs_common::connection::ticks;

const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;

/// The monotonic clock in nanoseconds, as of the last timer tick.
#[inline(always)]
pub(crate) fn now_nanoseconds() -> u64 {
    // SAFETY: the helper takes nothing and reads a clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The monotonic clock in nanoseconds, as exact as it is.
#[inline(always)]
pub(crate) fn precise_nanoseconds() -> u64 {
    // SAFETY: the helper takes nothing and reads a clock.
    unsafe { bpf_ktime_get_ns() }
}

/// The monotonic clock in [`ticks`].
#[inline(always)]
pub(crate) fn now() -> u32 {
    ticks::from_nanoseconds(now_nanoseconds())
}

#[inline(always)]
pub(crate) fn random() -> u32 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_prandom_u32() }
}

/// `XDP_REDIRECT` to the interface, or `XDP_ABORTED`.
#[inline(always)]
pub(crate) fn redirect(interface: u32) -> u32 {
    // SAFETY: the helper checks the index.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

/// Adds to a number other CPUs change too; answers what it was.
///
/// # Safety
/// `number` points into a map value.
#[inline(always)]
pub(crate) unsafe fn fetch_add_u64(number: *mut u64, by: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u64, u64, { ORDER }>(number, by) }
}

/// # Safety
/// As [`fetch_add_u64`].
#[inline(always)]
pub(crate) unsafe fn add_u32(number: *mut u32, by: u32) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u32, u32, { ORDER }>(number, by) };
}

/// Sets the bits of `bits`.
///
/// # Safety
/// As [`fetch_add_u64`].
#[inline(always)]
pub(crate) unsafe fn or_u64(number: *mut u64, bits: u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_or::<u64, u64, { ORDER }>(number, bits) };
}

/// Puts `new` in place of `old`; whether it was `old`.
///
/// # Safety
/// As [`fetch_add_u64`].
#[inline(always)]
pub(crate) unsafe fn exchange_u32(number: *mut u32, old: u32, new: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe { atomic_cxchg::<u32, { ORDER }, { ORDER }>(number, old, new).1 }
}

/// # Safety
/// As [`fetch_add_u64`].
#[inline(always)]
pub(crate) unsafe fn exchange_u64(number: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { atomic_cxchg::<u64, { ORDER }, { ORDER }>(number, old, new).1 }
}

/// Puts `new` there, whatever was there.
///
/// # Safety
/// As [`fetch_add_u64`].
#[inline(always)]
pub(crate) unsafe fn swap_u64(number: *mut u64, new: u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xchg::<u64, { ORDER }>(number, new) };
}
