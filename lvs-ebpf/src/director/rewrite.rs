//! Changes header fields together with every checksum that covers them.

use core::mem::offset_of;

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::checksum::Delta;
use lvs_common::service::protocol;
use lvs_ebpf::packet::{Bytes, OutOfBounds};
use lvs_ebpf::parse::{Fragment, Network};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// Which end of a flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

pub(crate) const TCP_CHECKSUM: usize = 16;
pub(crate) const UDP_CHECKSUM: usize = 6;

/// One hop less to live (RFC 791 section 3.2, RFC 8200 section 3). The caller has asked [`hops_left`].
#[inline(always)]
pub(crate) fn decrement_hops(packet: &impl Bytes, network: &Network) -> Result<(), OutOfBounds> {
    if !network.is_v4 {
        // Next header, hop limit.
        let at = network.l3 + offset_of!(Ipv6Hdr, next_hdr);
        let [next, hops]: [u8; 2] = packet.read(at)?;
        return packet.write(at, [next, hops.wrapping_sub(1)]);
    }
    let at = network.l3 + offset_of!(Ipv4Hdr, ttl);
    let [hops, protocol]: [u8; 2] = packet.read(at)?;
    let (old, new) = ([hops, protocol], [hops.wrapping_sub(1), protocol]);
    packet.write(at, new)?;
    update_checksum(packet, network.l3 + offset_of!(Ipv4Hdr, check), Delta::NONE.bytes(&old, &new))
}

/// Time to live, or hop limit.
#[inline(always)]
pub(crate) fn hops_left(packet: &impl Bytes, network: &Network) -> Result<u8, OutOfBounds> {
    if network.is_v4 {
        let [hops, _]: [u8; 2] = packet.read(network.l3 + offset_of!(Ipv4Hdr, ttl))?;
        return Ok(hops);
    }
    let [_, hops]: [u8; 2] = packet.read(network.l3 + offset_of!(Ipv6Hdr, next_hdr))?;
    Ok(hops)
}

#[inline(always)]
pub(crate) fn update_checksum(packet: &impl Bytes, at: usize, delta: Delta) -> Result<(), OutOfBounds> {
    let old: [u8; 2] = packet.read(at)?;
    packet.write(at, delta.apply(u16::from_be_bytes(old)).to_be_bytes())
}

/// Writes an address into the IP header at `l3`, mends the header's own checksum, and says what the
/// change means to a checksum over the pseudo header.
#[inline(always)]
pub(crate) fn address(
    packet: &impl Bytes,
    l3: usize,
    is_v4: bool,
    side: Side,
    old: &Address,
    new: &Address,
) -> Result<Delta, OutOfBounds> {
    if !is_v4 {
        let field = match side {
            Side::Source => offset_of!(Ipv6Hdr, src_addr),
            Side::Destination => offset_of!(Ipv6Hdr, dst_addr),
        };
        packet.write(l3 + field, new.bytes)?;
        return Ok(Delta::NONE.bytes(&old.bytes, &new.bytes));
    }
    let field = match side {
        Side::Source => offset_of!(Ipv4Hdr, src_addr),
        Side::Destination => offset_of!(Ipv4Hdr, dst_addr),
    };
    packet.write(l3 + field, new.v4_octets())?;
    let delta = Delta::NONE.bytes(&old.v4_octets(), &new.v4_octets());
    update_checksum(packet, l3 + offset_of!(Ipv4Hdr, check), delta)?;
    Ok(delta)
}

/// IPv6 UDP without a checksum cannot be translated (RFC 8200 section 8.1): to be asked before anything
/// is written.
#[inline(always)]
pub(crate) fn has_checksum(packet: &impl Bytes, network: &Network) -> Result<bool, OutOfBounds> {
    if network.is_v4 || network.protocol != protocol::UDP || network.fragment == Fragment::Later {
        return Ok(true);
    }
    let checksum: u16 = packet.read(network.l4 + UDP_CHECKSUM)?;
    Ok(checksum != 0)
}

/// Gives one end of the flow another address and port (0 = keep the port).
#[inline(always)]
pub(crate) fn endpoint(
    packet: &impl Bytes,
    network: &Network,
    side: Side,
    new: &Address,
    port: u16,
) -> Result<(), Cause> {
    rewrite_endpoint(packet, network, side, new, port).map_err(|_| Cause::Malformed)
}

#[inline(always)]
fn rewrite_endpoint(
    packet: &impl Bytes,
    network: &Network,
    side: Side,
    new: &Address,
    port: u16,
) -> Result<(), OutOfBounds> {
    let old = if side == Side::Source { &network.source } else { &network.destination };
    let mut delta = address(packet, network.l3, network.is_v4, side, old, new)?;
    if network.fragment == Fragment::Later {
        return Ok(());
    }
    if port != 0 {
        let at = network.l4 + if side == Side::Source { 0 } else { 2 };
        let old: [u8; 2] = packet.read(at)?;
        packet.write(at, port.to_be_bytes())?;
        delta = delta.word(u16::from_be_bytes(old), port);
    }
    if network.protocol == protocol::TCP {
        return update_checksum(packet, network.l4 + TCP_CHECKSUM, delta);
    }
    let at = network.l4 + UDP_CHECKSUM;
    let old: [u8; 2] = packet.read(at)?;
    let old = u16::from_be_bytes(old);
    // IPv4: 0 means that the sender computed none (RFC 768), and stays.
    if old == 0 {
        return Ok(());
    }
    // A computed 0 is sent as all ones (RFC 768).
    let new = match delta.apply(old) {
        0 => 0xffff,
        new => new,
    };
    packet.write(at, new.to_be_bytes())
}
