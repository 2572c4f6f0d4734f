//! Fragments follow their first one. XDP cannot hold a packet back, so one that comes before the first is
//! dropped: the kernel must not reassemble it for a local VIP.

use aya_ebpf::bindings::BPF_ANY;
use lvs_common::cause::Cause;
use lvs_common::destination::destination_flags;
use lvs_common::flow::FlowKey;
use lvs_common::fragment::{FragmentHead, FragmentKey};
use lvs_ebpf::parse::{Network, Transport};

use crate::maps::FRAGMENTS;
use crate::scratch::Scratch;
use crate::steer::Steered;
use crate::{helpers, lookup, stats};

/// RFC 791 and RFC 8200 let a receiver give up after 60 s at the latest; here 2 s tell a datagram from
/// the next one with the same identification.
const LIFETIME_TICKS: u32 = lvs_common::connection::ticks::from_seconds(2);

#[inline(always)]
fn key(network: &Network) -> FragmentKey {
    FragmentKey {
        source: network.source,
        destination: network.destination,
        identification: network.identification,
        // IPv6 tells datagrams apart without the protocol (RFC 8200 section 4.5).
        protocol: if network.is_v4 { network.protocol } else { 0 },
        reserved: 0,
        reserved_tail: 0,
    }
}

/// A first fragment has found its destination.
#[inline(always)]
pub(crate) fn remember_request(network: &Network, transport: &Transport, index: u32) -> Result<(), Cause> {
    let destination = lookup::destination(index).ok_or(Cause::Inconsistent)?;
    let ports = ports(transport.source_port, transport.destination_port);
    remember(network, ports, index, destination.generation);
    Ok(())
}

/// A first fragment of a real server's reply; the later ones find the connection by its ports.
#[inline(always)]
pub(crate) fn remember_reply(network: &Network, key: &FlowKey) {
    remember(network, ports(key.source_port, key.destination_port), FragmentHead::REPLY, 0);
}

/// A first fragment for no service. To a VIP none of the others would pass without it.
#[inline(always)]
pub(crate) fn remember_passed(network: &Network) {
    if lookup::is_vip(&network.destination) {
        remember(network, 0, FragmentHead::KERNEL, 0);
    }
}

/// Both ports as one number: a reference to them would take room on the stack.
#[inline(always)]
const fn ports(source: u16, destination: u16) -> u32 {
    (source as u32) << 16 | destination as u32
}

#[inline(never)]
fn remember(network: &Network, ports: u32, destination: u32, generation: u32) -> u32 {
    let head = FragmentHead {
        source_port: (ports >> 16) as u16,
        destination_port: ports as u16,
        destination,
        generation,
        seen: helpers::now(),
    };
    if FRAGMENTS.insert(&key(network), &head, BPF_ANY as u64).is_err() {
        stats::count(Cause::EntryNotStored);
    }
    0
}

/// Destinations whose flows go elsewhere, or nowhere.
const GONE: u8 = destination_flags::REMOVED | destination_flags::RESETS;

/// Answer of [`find`] for a fragment of a real server's reply.
pub(crate) const REPLY: u32 = FragmentHead::REPLY;

/// What the first fragment decided: [`REPLY`], or the destination. Fills the flow's key in.
#[inline(always)]
pub(crate) fn find(scratch: &mut Scratch) -> Result<u32, Cause> {
    let network = &scratch.network;
    let unknown =
        if lookup::is_vip(&network.destination) { Cause::FragmentBeforeFirst } else { Cause::NoService };
    // SAFETY: values are never changed in place.
    let head = unsafe { FRAGMENTS.get(&key(network)) }.ok_or(unknown)?;
    if helpers::now().wrapping_sub(head.seen) as i32 > LIFETIME_TICKS as i32 {
        return Err(unknown);
    }
    scratch.key = FlowKey::new(
        network.source,
        head.source_port,
        network.destination,
        head.destination_port,
        network.protocol,
    );
    match head.destination {
        FragmentHead::REPLY => return Ok(REPLY),
        FragmentHead::KERNEL => return Err(Cause::NoService),
        _ => {}
    }
    let destination = lookup::destination(head.destination).ok_or(Cause::Inconsistent)?;
    if destination.generation != head.generation || destination.flags & GONE != 0 {
        return Err(Cause::FragmentBeforeFirst);
    }
    Ok(Steered { index: head.destination, new: false, admit: false }.to_bits())
}
