//! Which destination gets a new flow.

use core::arch::asm;
use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use lvs_common::cause::Cause;
use lvs_common::flow::{FlowKey, hash_address, slot_of};
use lvs_common::limits::RING_SIZES;
use lvs_common::ring::{SLOTS_PER_LINE, Slot};
use lvs_common::service::{MEMBERS_PER_CHUNK, Member, Service, scheduler};

use crate::helpers;
use crate::lookup;
use crate::maps::{LOADS, MEMBERS, RINGS_LARGE, RINGS_MEDIUM, RINGS_SMALL, SEQUENCES, SERVICE_STATES};

/// Whether the ring answers by a hash, so that any director finds the same slot for a flow.
#[inline(always)]
pub(crate) const fn is_hashing(service: &Service) -> bool {
    matches!(service.scheduler, scheduler::SH | scheduler::DH | scheduler::MH)
}

/// A slot of a hashed ring.
#[inline(always)]
fn slot(service: &Service, number: u32) -> Result<Slot, Cause> {
    const SMALL: u32 = RING_SIZES[0];
    const MEDIUM: u32 = RING_SIZES[1];
    let (ring, line) = (service.ring, number / SLOTS_PER_LINE as u32);
    let line = match service.ring_slots {
        SMALL => RINGS_SMALL.get_value(ring, &line),
        MEDIUM => RINGS_MEDIUM.get_value(ring, &line),
        _ => RINGS_LARGE.get_value(ring, &line),
    };
    Ok(line.ok_or(Cause::Inconsistent)?.slots[number as usize % SLOTS_PER_LINE])
}

/// The flow's slot in the ring of a hashing service.
#[inline(always)]
pub(crate) fn hashed_slot(service: &Service, key: &FlowKey) -> Result<Slot, Cause> {
    let hash = match service.scheduler {
        scheduler::SH => hash_address(&key.source),
        scheduler::DH => hash_address(&key.destination),
        _ => key.hash(),
    };
    slot(service, slot_of(hash, service.ring_slots))
}

/// The next position of rr and wrr: one cursor for all CPUs, so that the order is exact.
#[inline(always)]
fn next_in_sequence(service: &Service) -> Result<u16, Cause> {
    let state = SERVICE_STATES.get_ptr_mut(service.index).ok_or(Cause::Inconsistent)?;
    // SAFETY: the pointer is a map value's.
    let cursor = unsafe { helpers::fetch_add_u64(&raw mut (*state).cursor, 1) };
    let number = cursor.checked_rem(service.ring_slots as u64).ok_or(Cause::NoDestination)?;
    let line = SEQUENCES.get_value(service.ring, &(number as u32 / SLOTS_PER_LINE as u32));
    Ok(line.ok_or(Cause::Inconsistent)?.slots[number as usize % SLOTS_PER_LINE].current())
}

/// Index of the destination for a new flow of a service that does not hash.
#[inline(always)]
pub(crate) fn pick(service: &Service) -> Result<u32, Cause> {
    match service.scheduler {
        scheduler::LC | scheduler::WLC => Ok(least_loaded(service)),
        _ => {
            let position = next_in_sequence(service)?;
            lookup::member(service, position).map(|member| member.destination).ok_or(Cause::Inconsistent)
        }
    }
}

/// State of the scan for the least loaded member.
struct Scan {
    members: u32,
    destination: u32,
    weight: u64,
    overhead: u64,
}

/// Worse than any member, so that the first one with a weight wins. Times the largest weight it stays
/// below 2^63.
const WORST_OVERHEAD: u64 = 1 << 46;

/// All ones if `a < b`, else 0; both below 2^63. Without a branch: the verifier would follow both sides of
/// each of the comparisons of a chunk. In assembly, since the compiler would make a branch of it.
#[inline(always)]
fn below(a: u64, b: u64) -> u64 {
    let mut difference = a;
    // SAFETY: arithmetic on registers.
    unsafe {
        asm!("{d} -= {b}", "{d} s>>= 63", d = inout(reg) difference, b = in(reg) b,
            options(pure, nomem, nostack));
    }
    difference
}

/// Looks at one chunk of members. One call of the callback for sixteen of them: the verifier sees it
/// once, and 1000 servers cost 63 calls. (Comparing in pairs, then pairs of pairs, is no faster and takes
/// five times the stack.)
extern "C" fn scan_chunk(chunk: u32, scan: *mut c_void) -> i64 {
    // SAFETY: `least_loaded` passes its own `Scan`, which outlives the loop.
    let scan = unsafe { &mut *scan.cast::<Scan>() };
    let Some(chunk) = MEMBERS.get(scan.members + chunk) else { return 1 };
    for member in &chunk.members {
        // A free position has no such destination.
        let Some(load) = LOADS.get(member.destination) else { continue };
        let (overhead, weight) = (load.overhead(), member.weight as u64);
        // overhead / weight < best overhead / best weight, without a division; the first of equals
        // stays, and a weight of 0 never wins.
        let better = below(overhead * scan.weight, scan.overhead * weight);
        scan.destination = (member.destination & better as u32) | (scan.destination & !better as u32);
        scan.weight = (weight & better) | (scan.weight & !better);
        scan.overhead = (overhead & better) | (scan.overhead & !better);
    }
    0
}

#[inline(always)]
fn least_loaded(service: &Service) -> u32 {
    let mut scan = Scan {
        members: service.members,
        destination: Member::NO_DESTINATION,
        weight: 1,
        overhead: WORST_OVERHEAD,
    };
    let chunks = service.member_count.div_ceil(MEMBERS_PER_CHUNK as u32);
    // SAFETY: the callback has the signature bpf_loop calls, and the context outlives the call.
    unsafe { bpf_loop(chunks, scan_chunk as *mut c_void, (&raw mut scan).cast(), 0) };
    // Not compared with `NO_DESTINATION`, which no look-up finds either: a comparison would have the
    // verifier tell apart every way through the loop.
    scan.destination
}
