//! ICMP errors about flows: to the real server that must hear of them, or from one back to the client.
//!
//! Only eight bytes of the quoted transport header can be relied on (RFC 792), so the flow is found by
//! the ports alone.

use core::mem::offset_of;

use lvs_common::address::Address;
use lvs_common::cause::Cause;

use lvs_common::destination::{Destination, forward};
use lvs_common::flow::FlowKey;
use lvs_common::service::protocol;
use lvs_common::settings::flags;
use lvs_ebpf::packet::{OutOfBounds, Packet};
use lvs_ebpf::parse::{IPV4, IPV6, Network};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::HEADER;
use crate::rewrite::{self, Side};
use crate::steer::{self, Sign};
use crate::{Action, connection, lookup, next_hop, stats};

/// The packet quoted in an error.
struct Quoted {
    l3: usize,
    l4: usize,
    /// In the direction in which the quoted packet travelled.
    key: FlowKey,
}

#[inline(always)]
pub(super) fn process(packet: &Packet, network: &Network) -> Result<Action, Cause> {
    let Ok(quoted) = quoted(packet, network) else {
        let to_vip = lookup::is_vip(&network.destination);
        return Err(if to_vip { Cause::Malformed } else { Cause::NoService });
    };
    let Some(quoted) = quoted else { return Err(Cause::NoService) };
    // About a packet a service sent to a client: the real server that sent it must know.
    let key = quoted.key.reversed();
    if let Some(service) = lookup::service(&key.destination, key.destination_port, key.protocol)
        && network.destination == key.destination
    {
        let steered = steer::steer(&key, service, Sign::Related).map_err(|_| Cause::IcmpUnrelated)?;
        if steered.destination.forward != forward::NAT {
            return crate::forward::inbound(packet, network, 0, &steered);
        }
        stats::inbound(steered.index, network.length, false);
        return to_real_server(packet, network, &quoted, &key, steered.destination);
    }
    to_client(packet, network, &quoted)
}

/// Finds the flow in what the error quotes; `None` if it is not a flow, or a later fragment of one.
#[inline(always)]
fn quoted(packet: &Packet, network: &Network) -> Result<Option<Quoted>, OutOfBounds> {
    let l3 = network.l4 + HEADER;
    let (l4, protocol_number, source, destination) = if network.is_v4 {
        let header: Ipv4Hdr = packet.read(l3)?;
        let header_length = ((header.vihl & 0x0f) as usize) << 2;
        let offset = u16::from_be_bytes(header.frags) & 0x1fff;
        if header.vihl >> 4 != 4 || header_length < IPV4 || offset != 0 {
            return Ok(None);
        }
        let addresses = (Address::from_v4(header.src_addr), Address::from_v4(header.dst_addr));
        (l3 + header_length, header.proto, addresses.0, addresses.1)
    } else {
        let header: Ipv6Hdr = packet.read(l3)?;
        if header.vcf[0] >> 4 != 6 {
            return Ok(None);
        }
        let addresses = (Address::from_v6(header.src_addr), Address::from_v6(header.dst_addr));
        (l3 + IPV6, header.next_hdr, addresses.0, addresses.1)
    };
    if !matches!(protocol_number, protocol::TCP | protocol::UDP) {
        return Ok(None);
    }
    let [a, b, c, d]: [u8; 4] = packet.read(l4)?;
    let (source_port, destination_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let key = FlowKey::new(source, source_port, destination, destination_port, protocol_number);
    Ok(Some(Quoted { l3, l4, key }))
}

/// The client's side complains about a translated packet: the real server sees its own packet quoted.
#[inline(always)]
fn to_real_server(
    packet: &Packet,
    network: &Network,
    quoted: &Quoted,
    key: &FlowKey,
    destination: &Destination,
) -> Result<Action, Cause> {
    let next_hop = next_hop::to_destination(packet, &network.source, destination)?;
    crate::forward::check_hops(packet, network)?;
    let port = if destination.port == 0 { key.destination_port } else { destination.port };
    let quote = Change { side: Side::Source, old: &key.destination, new: &destination.address, port };
    let outer =
        Change { side: Side::Destination, old: &network.destination, new: &destination.address, port: 0 };
    translate(packet, network, quoted, &quote, Some(&outer)).map_err(|_| Cause::Malformed)?;
    next_hop.send(packet)
}

/// A real server, or a router before it, complains about a translated packet: the client sees its own.
#[inline(always)]
fn to_client(packet: &Packet, network: &Network, quoted: &Quoted) -> Result<Action, Cause> {
    if lookup::settings()?.flags & flags::SOURCES == 0 {
        return Err(Cause::NoService);
    }
    let key = quoted.key.reversed();
    let value = connection::find_return(&key).ok_or(Cause::NoService)?;
    let next_hop = next_hop::to_address(packet, &value.virtual_address, &network.destination)?;
    crate::forward::check_hops(packet, network)?;
    let quote = Change {
        side: Side::Destination,
        old: &key.source,
        new: &value.virtual_address,
        port: value.virtual_port,
    };
    let outer = Change { side: Side::Source, old: &network.source, new: &value.virtual_address, port: 0 };
    // A router's own address stays: the client may know it.
    let outer = (network.source == key.source).then_some(&outer);
    translate(packet, network, quoted, &quote, outer).map_err(|_| Cause::Malformed)?;
    next_hop.send(packet)
}

/// One address, and with it a port, that is replaced.
struct Change<'a> {
    side: Side,
    old: &'a Address,
    new: &'a Address,
    port: u16,
}

/// Translates the quoted packet and the error around it. The ICMP checksum covers all of the quotation,
/// its own checksums included, and with IPv6 the outer addresses.
#[inline(always)]
fn translate(
    packet: &Packet,
    network: &Network,
    quoted: &Quoted,
    quote: &Change<'_>,
    outer: Option<&Change<'_>>,
) -> Result<(), OutOfBounds> {
    let is_v4 = network.is_v4;
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
    delta = delta.word(u16::from_be_bytes(old_port), quote.port);
    if let Some(outer) = outer {
        let pseudo = rewrite::address(packet, network.l3, is_v4, outer.side, outer.old, outer.new)?;
        if !is_v4 {
            delta = delta.and(pseudo);
        }
    }
    rewrite::update_checksum(packet, network.l4 + 2, delta)?;
    rewrite::decrement_hops(packet, network)
}
