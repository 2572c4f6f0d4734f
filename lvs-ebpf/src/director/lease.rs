//! Fencing: nothing of a group's addresses passes, into the kernel or out, without the group's lease.
//!
//! A packet to a service finds the lease in the service. All others are looked at for an address of a group:
//! whom they are for, or whom they ask for.

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::lease::{Lease, standing, tick};
use lvs_common::settings::flags;
use lvs_ebpf::packet::{Leaving, Packet};
use lvs_ebpf::parse::{self, Network};

use crate::maps::{GROUP_ADDRESSES, LEASES, TICK_TRUST};
use crate::{helpers, lookup};

/// What the lease `index` allows now, one of [`standing`]. Without an index no lease is needed.
#[inline(always)]
pub(crate) fn standing_of(index: u8) -> u64 {
    if index == Lease::NOT_NEEDED {
        return standing::FRESH;
    }
    // SAFETY: any number may be asked for.
    unsafe { lvs_lease(index as u32, MOSTLY_BY_TICK) }
}

#[inline(always)]
pub(crate) fn is_held(index: u8) -> bool {
    standing_of(index) != standing::NOT_HELD
}

#[inline(always)]
pub(crate) fn check(index: u8) -> Result<(), Cause> {
    if is_held(index) { Ok(()) } else { Err(Cause::NoLease) }
}

/// Whether every look is at the exact clock, or some: see [`tick`].
const EXACTLY: u32 = 1;
const MOSTLY_BY_TICK: u32 = 0;

/// A function of its own: the clock is a call, and packets without a lease would pay for its registers.
///
/// # Safety
/// None but that the kernel calls it so.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn lvs_lease(index: u32, exactly: u32) -> u64 {
    let Some(lease) = LEASES.get_ptr_mut(index) else { return standing::NOT_HELD };
    // Read before the clock: a lease that is renewed in between counts as the old one.
    // SAFETY: numbers in a map value, which the agent changes at any time.
    let (ends, fresh_until) = unsafe {
        ((&raw const (*lease).ends).read_volatile(), (&raw const (*lease).fresh_until).read_volatile())
    };
    let lease = Lease { ends, fresh_until };
    let Some(trust) = TICK_TRUST.get_ptr_mut(0) else { return standing::NOT_HELD };
    let tick = helpers::now_nanoseconds();
    // SAFETY: a per-CPU value; nothing else runs on this CPU meanwhile.
    unsafe {
        if *trust != 0 && exactly == MOSTLY_BY_TICK && lease.is_fresh_until(tick, tick::BEHIND) {
            *trust -= 1;
            return standing::FRESH;
        }
        let now = helpers::precise_nanoseconds();
        *trust = if now.saturating_sub(tick) < tick::BEHIND { tick::PACKETS } else { 0 };
        lease.standing(now)
    }
}

/// Whether some address needs a lease at all.
#[inline(always)]
pub(crate) fn is_needed() -> Result<bool, Cause> {
    Ok(lookup::settings()?.flags & flags::LEASES != 0)
}

/// Stops what is for an address whose lease is not held. `network` is valid where `is_ip`.
///
/// Who is about to take such an address, and who says that it is his, is let in, so that the agent hears it: another
/// director that asks at the same time, or has just taken over. What the kernel would answer [`fence_leaving`] stops.
#[inline(always)]
pub(crate) fn fence(packet: &Packet, network: &Network, is_ip: bool) -> Result<(), Cause> {
    let question = if is_ip { parse::solicited(packet, network) } else { parse::asked_by_arp(packet) };
    if let Ok(address) = question
        && !is_held_address(&address)
    {
        return Err(Cause::NoLeaseToAnswer);
    }
    if is_ip && !is_held_address(&network.destination) {
        return Err(Cause::NoLease);
    }
    Ok(())
}

/// Stops what the machine itself says for an address whose lease is not held.
#[inline(always)]
pub(crate) fn fence_leaving(packet: &Leaving<'_>) -> Result<(), Cause> {
    if let Ok(address) = parse::speaker(packet)
        && !is_held_address(&address)
    {
        return Err(Cause::NoLeaseToSend);
    }
    if let Ok(address) = parse::advertised(packet)
        && !is_held_address(&address)
    {
        return Err(Cause::NoLeaseToSend);
    }
    Ok(())
}

#[inline(always)]
fn is_held_address(address: &Address) -> bool {
    // SAFETY: the agent replaces values whole; a reader keeps the old one until it is done.
    match unsafe { GROUP_ADDRESSES.get(address) } {
        // By the exact clock: what is said of an address is believed for longer than a packet takes.
        // SAFETY: any number may be asked for.
        Some(group) => (unsafe { lvs_lease(group.lease, EXACTLY) }) != standing::NOT_HELD,
        None => true,
    }
}
