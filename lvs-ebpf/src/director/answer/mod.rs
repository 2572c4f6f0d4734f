//! What a packet's sender is told, made of the packet itself: an ICMP error, or that its connection is reset.

mod error;
mod reset;

use aya_ebpf::btf_maps::PerCpuArray;
use lvs_common::cause::Cause;
use lvs_common::checksum;
use lvs_common::counters::Budget;
use lvs_ebpf::packet::{Bytes as _, OutOfBounds, Packet};
use lvs_ebpf::parse::{IPV4, Network};
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::helpers;
use error::Kind;

/// Whether the sender is told of this cause.
#[inline(always)]
pub(crate) const fn is_due(cause: Cause) -> bool {
    matches!(cause, Cause::ServerDown) || Kind::of(cause).is_some()
}

/// Turns the packet into an answer to its sender, if it may be one; answers the packet's fate. `mtu` is what
/// fits where it was too big.
#[inline(always)]
pub(crate) fn send(packet: &Packet, network: &Network, cause: Cause, mtu: u32) -> Cause {
    match Kind::of(cause) {
        Some(kind) => error::send(packet, network, kind, mtu),
        None => reset::send(packet, network),
    }
}

/// The frame goes back to who sent it.
#[inline(always)]
pub(crate) fn turn_link_header(packet: &Packet) -> Result<(), OutOfBounds> {
    let mut ethernet: EthHdr = packet.read(0)?;
    (ethernet.src_addr, ethernet.dst_addr) = (ethernet.dst_addr, ethernet.src_addr);
    packet.write(0, ethernet)
}

/// One answer more in this second, if there may be so many.
#[inline(always)]
fn within(budget: &PerCpuArray<Budget, 1>, per_second: u32) -> bool {
    let Some(budget) = budget.get_ptr_mut(0) else { return false };
    let second = (helpers::now_nanoseconds() >> 30) as u32;
    // SAFETY: a per-CPU value; nothing else runs on this CPU meanwhile.
    unsafe {
        if (*budget).second != second {
            (*budget).second = second;
            (*budget).sent = 0;
        }
        if (*budget).sent >= per_second {
            return false;
        }
        (*budget).sent += 1;
    }
    true
}

/// What stands in front of an answer.
#[derive(Clone, Copy)]
struct Header {
    protocol: u8,
    /// Type of service of IPv4.
    tos: u8,
    /// Bytes behind the network header.
    length: usize,
}

const HOPS: u8 = 64;

/// Writes the network header of an answer to the sender of `network`.
#[inline(always)]
fn write_header(packet: &Packet, network: &Network, header: Header) -> Result<(), OutOfBounds> {
    if network.is_v4 {
        packet.write(network.l3, ipv4(network, header))
    } else {
        packet.write(network.l3, ipv6(network, header))
    }
}

/// Sum of the pseudo header of an answer (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[inline(always)]
fn pseudo_header(network: &Network, protocol: u8, length: usize) -> u64 {
    let sum = length as u64 + protocol as u64;
    if network.is_v4 {
        let sum = checksum::add_bytes(sum, &network.source.v4_octets());
        checksum::add_bytes(sum, &network.destination.v4_octets())
    } else {
        let sum = checksum::add_bytes(sum, &network.source.bytes);
        checksum::add_bytes(sum, &network.destination.bytes)
    }
}

#[inline(always)]
fn ipv4(network: &Network, header: Header) -> Ipv4Hdr {
    let length = (header.length + IPV4) as u16;
    let (source, destination) = (network.destination.v4_octets(), network.source.v4_octets());
    let fixed = 0x4500 + header.tos as u64 + 0x4000 + u16::from_be_bytes([HOPS, header.protocol]) as u64;
    let mut sum = fixed + length as u64;
    sum = checksum::add_bytes(sum, &source);
    sum = checksum::add_bytes(sum, &destination);
    Ipv4Hdr {
        vihl: 0x45,
        tos: header.tos,
        tot_len: length.to_be_bytes(),
        id: [0; 2],
        frags: [0x40, 0],
        ttl: HOPS,
        proto: header.protocol,
        check: checksum::finish(sum).to_be_bytes(),
        src_addr: source,
        dst_addr: destination,
    }
}

#[inline(always)]
fn ipv6(network: &Network, header: Header) -> Ipv6Hdr {
    Ipv6Hdr {
        vcf: [0x60, 0, 0, 0],
        payload_len: (header.length as u16).to_be_bytes(),
        next_hdr: header.protocol,
        hop_limit: HOPS,
        src_addr: network.destination.bytes,
        dst_addr: network.source.bytes,
    }
}
