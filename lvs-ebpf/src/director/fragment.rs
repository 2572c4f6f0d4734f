//! Fragments follow their first one. XDP cannot hold a packet back, so one that comes before the first is
//! dropped: the kernel must not reassemble it for a local VIP.

use aya_ebpf::bindings::BPF_ANY;
use lvs_common::cause::Cause;
use lvs_common::destination::destination_flags;
use lvs_common::flow::FlowKey;
use lvs_common::fragment::{FragmentHead, FragmentKey};
use lvs_common::service::Member;
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
    remember(network, transport, index, destination.generation);
    Ok(())
}

#[inline(never)]
fn remember(network: &Network, transport: &Transport, destination: u32, generation: u32) -> u32 {
    let head = FragmentHead {
        source_port: transport.source_port,
        destination_port: transport.destination_port,
        destination,
        generation,
        seen: helpers::now(),
    };
    if FRAGMENTS.insert(&key(network), &head, BPF_ANY as u64).is_err() {
        stats::count(Cause::EntryNotStored);
    }
    0
}

/// A first fragment of a real server's reply; the later ones find the connection by its ports.
#[inline(always)]
pub(crate) fn remember_reply(network: &Network, key: &FlowKey) {
    let transport =
        Transport { source_port: key.source_port, destination_port: key.destination_port, tcp_flags: 0 };
    remember(network, &transport, Member::NO_DESTINATION, 0);
}

/// Answer of [`find`] for a fragment of a real server's reply.
pub(crate) const REPLY: u32 = u32::MAX;

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
    if head.destination == Member::NO_DESTINATION {
        return Ok(REPLY);
    }
    let destination = lookup::destination(head.destination).ok_or(Cause::Inconsistent)?;
    if destination.generation != head.generation || destination.has(destination_flags::REMOVED) {
        return Err(Cause::FragmentBeforeFirst);
    }
    Ok(Steered { index: head.destination, new: false, admit: false }.to_bits())
}
