//! IP in IP: the packet travels unchanged, but for one hop, behind another header (RFC 2003 for an IPv4
//! outer header, RFC 2473 for an IPv6 one), in any mix of families.

use core::mem::offset_of;

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::checksum;
use lvs_common::destination::Destination;
use lvs_common::service::protocol;
use lvs_ebpf::packet::{OutOfBounds, Packet};
use lvs_ebpf::parse::{ETHERNET, IPV4, IPV6, Network, ether_type};
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{helpers, lookup, next_hop, rewrite};

/// What the outer header takes from the inner one and from the plan.
struct Outer<'a> {
    source: &'a Address,
    destination: &'a Address,
    /// Bytes of the inner packet.
    inner_length: usize,
    /// 4 or 41: what is inside.
    protocol: u8,
    /// Type of service (traffic class), copied with its ECN bits (RFC 6040 section 4.1).
    tos: u8,
    ttl: u8,
    dont_fragment: bool,
    flow: u32,
}

#[inline(always)]
pub(super) fn encapsulate(
    packet: &Packet,
    network: &Network,
    destination: &Destination,
) -> Result<u32, Cause> {
    let is_v4 = destination.address.is_v4();
    let header_length = if is_v4 { IPV4 } else { IPV6 };
    if destination.tunnel_source == Address::UNSPECIFIED {
        return Err(Cause::NoRoute);
    }
    let next_hop = next_hop::to_destination(packet, &destination.tunnel_source, destination)?;
    if next_hop.mtu != 0 && network.length + header_length > next_hop.mtu {
        return Err(super::too_big(packet, network, next_hop.mtu - header_length));
    }
    // Forwarding into a tunnel is a hop (RFC 2003 section 3.1, RFC 2473 section 3.1).
    super::check_hops(packet, network)?;
    let outer = Outer {
        source: &destination.tunnel_source,
        destination: &destination.address,
        inner_length: network.length,
        protocol: if network.is_v4 { protocol::IPIP } else { protocol::IPV6 },
        tos: inner_tos(packet, network).map_err(|_| Cause::Malformed)?,
        ttl: lookup::settings()?.tunnel_ttl as u8,
        // An IPv6 packet is never fragmented on its way, nor is its tunnel.
        dont_fragment: !network.is_v4 || super::dont_fragment(packet, network),
        flow: helpers::random(),
    };
    rewrite::decrement_hops(packet, network).map_err(|_| Cause::Malformed)?;
    packet.grow_head(header_length).map_err(|_| Cause::NoRoom)?;
    next_hop::move_link_header(packet, header_length, network)?;
    write(packet, network, &outer, is_v4).map_err(|_| Cause::Malformed)?;
    next_hop.send(packet)
}

#[inline(always)]
fn inner_tos(packet: &Packet, network: &Network) -> Result<u8, OutOfBounds> {
    if network.is_v4 {
        let [_, tos]: [u8; 2] = packet.read(network.l3)?;
        return Ok(tos);
    }
    let first: [u8; 2] = packet.read(network.l3)?;
    Ok((u16::from_be_bytes(first) >> 4) as u8)
}

#[inline(always)]
fn write(packet: &Packet, network: &Network, outer: &Outer<'_>, is_v4: bool) -> Result<(), OutOfBounds> {
    let ether = if is_v4 { ether_type::IPV4 } else { ether_type::IPV6 };
    let at = if network.l3 == ETHERNET { offset_of!(EthHdr, ether_type) } else { ETHERNET + 2 };
    packet.write(at, ether)?;
    if is_v4 { packet.write(network.l3, ipv4(outer)) } else { packet.write(network.l3, ipv6(outer)) }
}

#[inline(always)]
fn ipv4(outer: &Outer<'_>) -> Ipv4Hdr {
    let length = (outer.inner_length + IPV4) as u16;
    // With DF the identification has no meaning (RFC 6864 section 4).
    let (id, frags) = if outer.dont_fragment { (0, 0x4000) } else { (outer.flow as u16, 0) };
    let source = outer.source.v4_octets();
    let destination = outer.destination.v4_octets();
    let [ttl_protocol, first, second]: [u16; 3] =
        [u16::from_be_bytes([outer.ttl, outer.protocol]), 0x4500 | outer.tos as u16, length];
    let mut sum = first as u64 + second as u64 + id as u64 + frags as u64 + ttl_protocol as u64;
    sum = checksum::add_bytes(sum, &source);
    sum = checksum::add_bytes(sum, &destination);
    Ipv4Hdr {
        vihl: 0x45,
        tos: outer.tos,
        tot_len: length.to_be_bytes(),
        id: id.to_be_bytes(),
        frags: (frags as u16).to_be_bytes(),
        ttl: outer.ttl,
        proto: outer.protocol,
        check: checksum::finish(sum).to_be_bytes(),
        src_addr: source,
        dst_addr: destination,
    }
}

#[inline(always)]
fn ipv6(outer: &Outer<'_>) -> Ipv6Hdr {
    let first = 0x6000_0000 | (outer.tos as u32) << 20;
    Ipv6Hdr {
        vcf: first.to_be_bytes(),
        payload_len: (outer.inner_length as u16).to_be_bytes(),
        next_hdr: outer.protocol,
        hop_limit: outer.ttl,
        src_addr: outer.source.bytes,
        dst_addr: outer.destination.bytes,
    }
}
