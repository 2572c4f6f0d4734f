//! IP in IP: the packet travels unchanged, but for one hop, behind another header (RFC 2003 for an IPv4
//! outer header, RFC 2473 for an IPv6 one), in any mix of families.

use core::mem::offset_of;

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::checksum;
use lvs_common::destination::Destination;
use lvs_common::service::protocol;
use lvs_ebpf::packet::{Bytes, OutOfBounds};
use lvs_ebpf::parse::{ETHERNET, IPV4, IPV6, Network, ether_type};
use network_types::eth::EthHdr;
use network_types::ip::Ipv6Hdr;

use crate::next_hop::NextHop;
use crate::{helpers, next_hop, rewrite};

/// What the outer header takes from the inner one and from the plan.
pub(crate) struct Outer<'a> {
    pub(crate) source: &'a Address,
    pub(crate) destination: &'a Address,
    /// Bytes of the inner packet.
    pub(crate) inner_length: usize,
    /// 4 or 41: what is inside.
    pub(crate) protocol: u8,
    /// Type of service (traffic class), copied with its ECN bits (RFC 6040 section 4.1).
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
}

/// Time to live, or hop limit, of outer headers (RFC 1700).
pub(crate) const TUNNEL_TTL: u8 = 64;

#[inline(always)]
pub(super) fn encapsulate(
    packet: &impl Bytes,
    network: &Network,
    destination: &Destination,
    next_hop: &NextHop,
) -> Result<u32, Cause> {
    let is_v4 = destination.address.is_v4();
    let header_length = if is_v4 { IPV4 } else { IPV6 };
    if destination.source_address == Address::UNSPECIFIED {
        return Err(Cause::NoRoute);
    }
    if next_hop.mtu != 0 && network.length + header_length > next_hop.mtu {
        return Err(super::too_big(packet, network, next_hop.mtu - header_length));
    }
    // Forwarding into a tunnel is a hop (RFC 2003 section 3.1, RFC 2473 section 3.1).
    super::check_hops(packet, network)?;
    let outer = Outer {
        source: &destination.source_address,
        destination: &destination.address,
        inner_length: network.length,
        protocol: if network.is_v4 { protocol::IPIP } else { protocol::IPV6 },
        tos: inner_tos(packet, network).map_err(|_| Cause::Malformed)?,
        ttl: TUNNEL_TTL,
        // An IPv6 packet is never fragmented on its way, nor is its tunnel.
        dont_fragment: !network.is_v4 || super::dont_fragment(packet, network),
    };
    rewrite::decrement_hops(packet, network).map_err(|_| Cause::Malformed)?;
    let packet = &packet.grown(header_length).map_err(|_| Cause::NoRoom)?;
    next_hop::move_tag(packet, header_length, network)?;
    write(packet, network, &outer, is_v4).map_err(|_| Cause::Malformed)?;
    next_hop.send(packet)
}

#[inline(always)]
fn inner_tos(packet: &impl Bytes, network: &Network) -> Result<u8, OutOfBounds> {
    if network.is_v4 {
        let [_, tos]: [u8; 2] = packet.read(network.l3)?;
        return Ok(tos);
    }
    let first: [u8; 2] = packet.read(network.l3)?;
    Ok((u16::from_be_bytes(first) >> 4) as u8)
}

#[inline(always)]
fn write(packet: &impl Bytes, network: &Network, outer: &Outer<'_>, is_v4: bool) -> Result<(), OutOfBounds> {
    let ether = if is_v4 { ether_type::IPV4 } else { ether_type::IPV6 };
    let at = if network.l3 == ETHERNET { offset_of!(EthHdr, ether_type) } else { ETHERNET + 2 };
    packet.write(at, ether)?;
    if is_v4 { packet.write(network.l3, ipv4(outer)) } else { packet.write(network.l3, ipv6(outer)) }
}

/// The words of an IPv4 header as they stand in memory.
#[inline(always)]
pub(crate) fn ipv4(outer: &Outer<'_>) -> [u32; 5] {
    let length = (outer.inner_length + IPV4) as u32;
    // With DF the identification has no meaning (RFC 6864 section 4).
    let identification = if outer.dont_fragment { DONT_FRAGMENT } else { helpers::random() << 16 };
    let [.., source] = outer.source.words();
    let [.., destination] = outer.destination.words();
    let mut words = [
        (0x4500_0000 | (outer.tos as u32) << 16 | length).to_be(),
        identification.to_be(),
        ((outer.ttl as u32) << 24 | (outer.protocol as u32) << 16).to_be(),
        source,
        destination,
    ];
    words[2] = checksum::complete_ipv4(&words);
    words
}

const DONT_FRAGMENT: u32 = 0x4000;

#[inline(always)]
pub(crate) fn ipv6(outer: &Outer<'_>) -> Ipv6Hdr {
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
