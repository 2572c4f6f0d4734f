//! The only writer of counters.

use lvs_common::cause::Cause;

use crate::maps::{CAUSES, COUNTERS};

/// Counts why a packet did not go to a destination.
#[inline(always)]
pub(crate) fn count(cause: Cause) {
    if let Some(counter) = CAUSES.get_ptr_mut(cause as u32) {
        // SAFETY: a per-CPU value; nothing else runs on this CPU meanwhile.
        unsafe { *counter += 1 };
    }
}

/// Counts a packet of `bytes` bytes from the client to a destination, and the connection it began.
#[inline(always)]
pub(crate) fn inbound(destination: u32, bytes: usize, new: bool) {
    if let Some(counters) = COUNTERS.get_ptr_mut(destination) {
        // SAFETY: as in `count`.
        unsafe {
            (*counters).packets_in += 1;
            (*counters).bytes_in += bytes as u64;
            (*counters).connections += new as u64;
        }
    }
}

/// Counts a packet from a real server to the client.
#[inline(always)]
pub(crate) fn outbound(destination: u32, bytes: usize) {
    if let Some(counters) = COUNTERS.get_ptr_mut(destination) {
        // SAFETY: as in `count`.
        unsafe {
            (*counters).packets_out += 1;
            (*counters).bytes_out += bytes as u64;
        }
    }
}
