//! ICMP errors about flows: to the real server that must hear of them, or from one back to the client.
//!
//! Only eight bytes of the quoted transport header can be relied on (RFC 792), so the flow is found by
//! the ports alone.

use core::mem::offset_of;

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::checksum::Delta;
use lvs_common::probe::side;
use lvs_common::service::protocol;
use lvs_common::settings::flags;
use lvs_ebpf::packet::{Bytes as _, OutOfBounds, Packet};
use lvs_ebpf::parse::{FRAGMENT_HEADER, Fragment, IPV4, IPV6, Network, next_header};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{HEADER, about};
use crate::connection::{self, Found, Wanted};
use crate::rewrite::{self, Side};
use crate::scratch::Scratch;
use crate::{lease, lookup, next_hop, probe, reply, stages, stats};

/// The packet quoted in an error.
#[derive(Clone, Copy)]
pub(crate) struct Quoted {
    l3: usize,
    l4: usize,
}

#[inline(always)]
pub(super) fn process(packet: &Packet, scratch: &mut Scratch) -> Result<u32, Cause> {
    match quoted(packet, scratch) {
        Ok(true) => {}
        Ok(false) => return Err(Cause::NoService),
        Err(OutOfBounds) => {
            let to_vip = lookup::is_vip(&scratch.network.destination);
            return Err(if to_vip { Cause::Malformed } else { Cause::NoService });
        }
    }
    // About a packet a service sent to a client: the real server that sent it must know.
    let key = &scratch.key;
    if scratch.network.destination != key.destination {
        return Ok(about::REPLY);
    }
    match lookup::service(key.destination.halves(), key.destination_port, key.protocol) {
        Some(service) => {
            scratch.service = *service;
            Ok(about::SERVICE)
        }
        None => Ok(about::REPLY),
    }
}

/// Finds the flow in what the error quotes, as the client's direction: the quoted packet went the other
/// way. False if it is not a flow, or a later fragment of one.
#[inline(always)]
fn quoted(packet: &Packet, scratch: &mut Scratch) -> Result<bool, OutOfBounds> {
    let network = &scratch.network;
    let l3 = network.l4 + HEADER;
    let key = &mut scratch.key;
    let l4 = if network.is_v4 {
        let header: Ipv4Hdr = packet.read(l3)?;
        let header_length = ((header.vihl & 0x0f) as usize) << 2;
        let offset = u16::from_be_bytes(header.frags) & 0x1fff;
        if header.vihl >> 4 != 4 || header_length < IPV4 || offset != 0 {
            return Ok(false);
        }
        key.destination = Address::from_v4(header.src_addr);
        key.source = Address::from_v4(header.dst_addr);
        key.protocol = header.proto;
        l3 + header_length
    } else {
        let header: Ipv6Hdr = packet.read(l3)?;
        if header.vcf[0] >> 4 != 6 {
            return Ok(false);
        }
        key.destination = Address::from_v6(header.src_addr);
        key.source = Address::from_v6(header.dst_addr);
        key.protocol = header.next_hdr;
        // What was too big on its way is often a first fragment.
        if header.next_hdr == next_header::FRAGMENT {
            let [next, _, high, low]: [u8; 4] = packet.read(l3 + IPV6)?;
            if u16::from_be_bytes([high, low]) >> 3 != 0 {
                return Ok(false);
            }
            key.protocol = next;
            l3 + IPV6 + FRAGMENT_HEADER
        } else {
            l3 + IPV6
        }
    };
    let [a, b, c, d]: [u8; 4] = packet.read(l4)?;
    key.destination_port = u16::from_be_bytes([a, b]);
    key.source_port = u16::from_be_bytes([c, d]);
    scratch.quoted = Quoted { l3, l4 };
    Ok(matches!(key.protocol, protocol::TCP | protocol::UDP))
}

/// The client's side complains about a translated packet: the real server sees its own packet quoted.
#[inline(always)]
pub(crate) fn to_real_server(packet: &Packet, scratch: &Scratch, index: u32) -> Result<u32, Cause> {
    let (network, key) = (&scratch.network, &scratch.key);
    let destination = lookup::destination(index).ok_or(Cause::Inconsistent)?;
    let next_hop = next_hop::to_destination(packet, &network.source, destination)?;
    crate::forward::check_hops(packet, network)?;
    let quote = Change {
        side: Side::Source,
        old: &key.destination,
        new: &destination.address,
        port: if destination.port == 0 { key.destination_port } else { destination.port },
    };
    let delta = translate_quote(packet, scratch, &quote).map_err(|_| Cause::Malformed)?;
    let outer = translate_outer(packet, network, Side::Destination, &destination.address);
    let delta = delta.and(outer.map_err(|_| Cause::Malformed)?);
    finish(packet, network, delta).map_err(|_| Cause::Malformed)?;
    stats::inbound(index, network.length, false);
    next_hop.send(packet)
}

/// A real server, or a router before it, complains about a client's packet.
#[inline(always)]
pub(crate) fn to_client(packet: &Packet, scratch: &Scratch) -> Result<u32, Cause> {
    let settings = lookup::settings()?;
    if settings.flags & flags::PROBES != 0 {
        stages::probe_error(packet)?;
    }
    // What looks like the client's direction is the real server's here.
    let (network, key) = (&scratch.network, &scratch.key);
    if settings.flags & flags::NAT != 0
        && let Some(found) = connection::find(&Wanted::answer(settings, key))
    {
        return translate(packet, scratch, &found);
    }
    // A server that answers by itself complains from the VIP. What a router says the kernel takes; and of
    // fragments only the first would be known.
    if network.source != key.source || network.fragment != Fragment::Whole {
        return Err(Cause::NoService);
    }
    reply::route(packet, settings, network, key)
}

/// About a health probe: its socket sees what it has sent. `Ok` if it is about none.
#[inline(always)]
pub(crate) fn to_probe(packet: &Packet, scratch: &Scratch) -> Result<u32, Cause> {
    let (network, key) = (&scratch.network, &scratch.key);
    let Some(flow) = probe::find(scratch) else { return Ok(0) };
    let (quote, side, complains) = if flow.side == side::SOURCE {
        let quote =
            Change { side: Side::Destination, old: &key.source, new: &flow.address, port: key.source_port };
        (quote, Side::Source, network.source == key.source)
    } else {
        let (old, port) = (&key.destination, key.destination_port);
        let quote = Change { side: Side::Source, old, new: &flow.address, port };
        (quote, Side::Destination, true)
    };
    let mut delta = translate_quote(packet, scratch, &quote).map_err(|_| Cause::Malformed)?;
    // A router's own address stays.
    if complains {
        let outer = translate_outer(packet, network, side, &flow.address);
        delta = delta.and(outer.map_err(|_| Cause::Malformed)?);
    }
    rewrite::update_checksum(packet, network.l4 + 2, delta).map_err(|_| Cause::Malformed)?;
    Err(Cause::ProbeAnswered)
}

/// About a translated packet: the client sees its own.
#[inline(always)]
fn translate(packet: &Packet, scratch: &Scratch, found: &Found) -> Result<u32, Cause> {
    let (network, key) = (&scratch.network, &scratch.key);
    let destination = lookup::destination(found.destination).ok_or(Cause::Inconsistent)?;
    lease::check(destination.lease)?;
    let virtual_address = &destination.source_address;
    let next_hop = next_hop::to_address(packet, virtual_address, &network.destination)?;
    crate::forward::check_hops(packet, network)?;
    let quote = Change {
        side: Side::Destination,
        old: &key.source,
        new: virtual_address,
        port: found.virtual_port(),
    };
    let mut delta = translate_quote(packet, scratch, &quote).map_err(|_| Cause::Malformed)?;
    // A router's own address stays: the client may know it.
    if network.source == key.source {
        let outer = translate_outer(packet, network, Side::Source, virtual_address);
        delta = delta.and(outer.map_err(|_| Cause::Malformed)?);
    }
    finish(packet, network, delta).map_err(|_| Cause::Malformed)?;
    next_hop.send(packet)
}

/// One address, and with it a port, that is replaced.
struct Change<'a> {
    side: Side,
    old: &'a Address,
    new: &'a Address,
    port: u16,
}

/// Translates the quoted packet. The ICMP checksum covers all of it, its own checksum included.
#[inline(always)]
fn translate_quote(packet: &Packet, scratch: &Scratch, quote: &Change<'_>) -> Result<Delta, OutOfBounds> {
    let (is_v4, quoted) = (scratch.network.is_v4, &scratch.quoted);
    let header_checksum = quoted.l3 + offset_of!(Ipv4Hdr, check);
    let before: [u8; 2] = packet.read(header_checksum)?;
    let mut delta = rewrite::address(packet, quoted.l3, is_v4, quote.side, quote.old, quote.new)?;
    if is_v4 {
        let after: [u8; 2] = packet.read(header_checksum)?;
        delta = delta.bytes(&before, &after);
    }
    let port_at = quoted.l4 + if quote.side == Side::Source { 0 } else { 2 };
    let old_port: [u8; 2] = packet.read(port_at)?;
    packet.write(port_at, quote.port.to_be_bytes())?;
    Ok(delta.word(u16::from_be_bytes(old_port), quote.port))
}

/// Translates the error's own address, which the checksum of ICMPv6 covers (RFC 4443 section 2.3).
#[inline(always)]
fn translate_outer(
    packet: &Packet,
    network: &Network,
    side: Side,
    new: &Address,
) -> Result<Delta, OutOfBounds> {
    let old = if side == Side::Source { &network.source } else { &network.destination };
    let delta = rewrite::address(packet, network.l3, network.is_v4, side, old, new)?;
    Ok(if network.is_v4 { Delta::NONE } else { delta })
}

#[inline(always)]
fn finish(packet: &Packet, network: &Network, delta: Delta) -> Result<(), OutOfBounds> {
    rewrite::update_checksum(packet, network.l4 + 2, delta)?;
    rewrite::decrement_hops(packet, network)
}
