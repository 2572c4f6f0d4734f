//! Sends a packet on its way, by the destination's method. Everything that may refuse is asked before
//! the first byte is written.

pub(crate) mod ipip;
pub(crate) mod nat;

use core::mem::offset_of;

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::destination::{Destination, forward};
use lvs_common::flow::FlowKey;
use lvs_ebpf::packet::Bytes;
use lvs_ebpf::parse::{Fragment, Network};
use network_types::ip::Ipv4Hdr;

use crate::next_hop::{self, NextHop};
use crate::scratch::scratch;
use crate::steer::Steered;
use crate::{fragment, lookup, rewrite, stats};

/// A client's packet to its destination. `port` is the one the client dialled.
#[inline(always)]
pub(crate) fn inbound(
    packet: &impl Bytes,
    network: &Network,
    port: u16,
    steered: Steered,
) -> Result<u32, Cause> {
    let destination = lookup::destination(steered.index).ok_or(Cause::Inconsistent)?;
    let sent = match destination.forward {
        forward::LOCAL => Err(Cause::Local),
        forward::IPIP if destination.source_address == Address::UNSPECIFIED => Err(Cause::NoRoute),
        method => {
            let source = if method == forward::IPIP { &destination.source_address } else { &network.source };
            let next_hop = next_hop::to_destination(packet.packet(), source, destination)?;
            by_method(packet, network, port, destination, &next_hop)
        }
    };
    account(sent, network, steered)
}

/// The same where the next hop is known.
#[inline(always)]
pub(crate) fn by_method(
    packet: &impl Bytes,
    network: &Network,
    port: u16,
    destination: &Destination,
    next_hop: &NextHop,
) -> Result<u32, Cause> {
    match destination.forward {
        forward::DR => direct(packet, network, next_hop),
        forward::NAT => nat::inbound(packet, network, port, destination, next_hop),
        forward::IPIP => ipip::encapsulate(packet, network, destination, next_hop),
        forward::LOCAL => Err(Cause::Local),
        _ => Err(Cause::Inconsistent),
    }
}

/// Counts what was sent on, and hands its fate on.
#[inline(always)]
pub(crate) fn account(sent: Result<u32, Cause>, network: &Network, steered: Steered) -> Result<u32, Cause> {
    if matches!(sent, Ok(_) | Err(Cause::Local)) {
        stats::inbound(steered.index, network.length, steered.new);
    }
    sent
}

/// Direct routing: the frame goes to the real server as it is.
#[inline(always)]
fn direct(packet: &impl Bytes, network: &Network, next_hop: &NextHop) -> Result<u32, Cause> {
    check_size(packet, network, next_hop.mtu)?;
    if next_hop.routed {
        check_hops(packet, network)?;
        rewrite::decrement_hops(packet, network).map_err(|_| Cause::Malformed)?;
    }
    next_hop.send(packet)
}

/// Routes a packet that only passes: the reply of a real server whose gateway is the director. The
/// kernel would drop it, since its source is local.
#[inline(always)]
pub(crate) fn route(packet: &impl Bytes, network: &Network, key: &FlowKey) -> Result<u32, Cause> {
    let next_hop = to_client(packet, network)?;
    if network.fragment == Fragment::First {
        fragment::remember_reply(network, key);
    }
    rewrite::decrement_hops(packet, network).map_err(|_| Cause::Malformed)?;
    next_hop.send(packet)
}

/// The way back to a client, with every check a router makes.
#[inline(always)]
fn to_client(packet: &impl Bytes, network: &Network) -> Result<NextHop, Cause> {
    let next_hop = next_hop::to_address(packet.packet(), &network.source, &network.destination)?;
    check_size(packet, network, next_hop.mtu)?;
    check_hops(packet, network)?;
    Ok(next_hop)
}

/// A packet that is too big for the way is refused. Its sender is told the size that fits (RFC 1191,
/// RFC 8201), unless it leaves fragmentation to routers, which XDP cannot do.
#[inline(always)]
fn check_size(packet: &impl Bytes, network: &Network, mtu: usize) -> Result<(), Cause> {
    if mtu == 0 || network.length <= mtu {
        return Ok(());
    }
    Err(too_big(packet, network, mtu))
}

/// Every way takes IPv6 packets of this size, or fragments them by its own means (RFC 8200 section 5, of
/// tunnels RFC 2473 section 7.1). Who is told less does not send less (RFC 8201 section 4).
const IPV6_MTU: usize = 1280;

#[inline(always)]
fn too_big(packet: &impl Bytes, network: &Network, mtu: usize) -> Cause {
    let least = if network.is_v4 { 0 } else { IPV6_MTU };
    if network.length <= least || (network.is_v4 && !dont_fragment(packet, network)) {
        return Cause::Unfragmentable;
    }
    if let Ok(scratch) = scratch() {
        scratch.mtu = if mtu < least { least } else { mtu } as u32;
    }
    Cause::TooBig
}

/// The DF bit of an IPv4 header.
#[inline(always)]
fn dont_fragment(packet: &impl Bytes, network: &Network) -> bool {
    packet.read::<[u8; 2]>(network.l3 + offset_of!(Ipv4Hdr, frags)).is_ok_and(|[flags, _]| flags & 0x40 != 0)
}

#[inline(always)]
pub(crate) fn check_hops(packet: &impl Bytes, network: &Network) -> Result<(), Cause> {
    match rewrite::hops_left(packet, network) {
        Ok(0 | 1) => Err(Cause::TimeExceeded),
        Ok(_) => Ok(()),
        Err(_) => Err(Cause::Malformed),
    }
}
