//! From a frame to the flow it belongs to. IPv4 and IPv6 differ here and in the header writers, nowhere
//! else.

use core::mem::offset_of;

use lvs_common::address::Address;
use lvs_common::service::protocol;
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::packet::{Bytes, Leaving, OutOfBounds, Packet, Window};

/// Ethernet types in network byte order, as they stand in the frame.
pub mod ether_type {
    pub const IPV4: u16 = 0x0800_u16.to_be();
    pub const IPV6: u16 = 0x86dd_u16.to_be();
    pub const ARP: u16 = 0x0806_u16.to_be();
    pub const VLAN: u16 = 0x8100_u16.to_be();
}

const VLAN_TAG: usize = 4;
pub const ETHERNET: usize = EthHdr::LEN;
pub const IPV4: usize = Ipv4Hdr::LEN;
pub const IPV6: usize = Ipv6Hdr::LEN;
/// IPv6's fragment header (RFC 8200 section 4.5).
pub const FRAGMENT_HEADER: usize = 8;

/// Extension headers that are followed. RFC 8200 section 4.1 names five before the upper layer.
const EXTENSION_HEADERS: usize = 6;
/// What the network header may be long with all of them.
const EXTENSION_BYTES: usize = 256;

/// Where a packet stands among the fragments of its datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    Whole,
    /// Carries the transport header.
    First,
    /// Carries none.
    Later,
}

/// What the network header says. Offsets count from the frame's start and are `usize`, so that the
/// verifier keeps their bounds when they are spilled.
#[derive(Clone, Copy)]
pub struct Network {
    pub l3: usize,
    /// Where the transport header begins.
    pub l4: usize,
    /// Bytes of the IP packet, from the network header on.
    pub length: usize,
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
    pub fragment: Fragment,
    pub is_v4: bool,
    pub identification: u32,
    /// The headers contradict each other or the frame's length; addresses are valid all the same.
    pub malformed: bool,
    pub too_many_headers: bool,
}

impl Network {
    const EMPTY: Self = Self {
        l3: 0,
        l4: 0,
        length: 0,
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        protocol: 0,
        fragment: Fragment::Whole,
        is_v4: false,
        identification: 0,
        malformed: false,
        too_many_headers: false,
    };
}

/// What the transport header says.
#[derive(Clone, Copy)]
pub struct Transport {
    pub source_port: u16,
    pub destination_port: u16,
    /// The flags of TCP, 0 for UDP.
    pub tcp_flags: u8,
}

/// Offset of the network header and the Ethernet type behind at most one 802.1Q tag.
#[inline(always)]
fn link(packet: &Packet) -> Result<(usize, u16), OutOfBounds> {
    let ether: u16 = packet.read(offset_of!(EthHdr, ether_type))?;
    if ether == ether_type::VLAN {
        return Ok((ETHERNET + VLAN_TAG, packet.read(ETHERNET + 2)?));
    }
    Ok((ETHERNET, ether))
}

/// Reads the network header into `network`; false for what is not IP, or too short to have addresses.
#[inline(always)]
pub fn network(packet: &Packet, network: &mut Network) -> bool {
    let read = match link(packet) {
        Ok((l3, ether_type::IPV4)) => ipv4(packet, l3, network),
        Ok((l3, ether_type::IPV6)) => ipv6(packet, l3, network),
        _ => Err(OutOfBounds),
    };
    read.is_ok()
}

/// Whose hardware address an ARP packet asks for, or tells another host (RFC 826). Probes and announcements (RFC 5227
/// section 1.1) do neither: who probes is about to take the address, and who announces has it.
#[inline(always)]
pub fn asked_by_arp(packet: &Packet) -> Result<Address, OutOfBounds> {
    let (l3, ether_type::ARP) = link(packet)? else { return Err(OutOfBounds) };
    // Of Ethernet's and IPv4's length: nobody else's question is the kernel's to answer.
    let lengths: [u8; 2] = packet.read(l3 + 4)?;
    if lengths != [6, 4] {
        return Err(OutOfBounds);
    }
    let (sender, target): ([u8; 4], [u8; 4]) = (packet.read(l3 + 14)?, packet.read(l3 + 24)?);
    if sender == [0; 4] || sender == target {
        return Err(OutOfBounds);
    }
    Ok(Address::from_v4(target))
}

const NEIGHBOUR_SOLICITATION: u8 = 135;

/// Whose link-layer address a neighbour solicitation asks for (RFC 4861 section 4.3), but for who is about to take the
/// address (RFC 4862 section 5.4.2).
#[inline(always)]
pub fn solicited(packet: &Packet, network: &Network) -> Result<Address, OutOfBounds> {
    let is_message = !network.is_v4 && network.protocol == protocol::ICMPV6;
    if !is_message || network.fragment == Fragment::Later || network.source == Address::UNSPECIFIED {
        return Err(OutOfBounds);
    }
    let [kind, _]: [u8; 2] = packet.read(network.l4)?;
    if kind != NEIGHBOUR_SOLICITATION {
        return Err(OutOfBounds);
    }
    packet.read(network.l4 + 8).map(Address::from_v6)
}

/// Offset of the network header and the Ethernet type, as [`link`], of a packet of the machine's own.
#[inline(always)]
fn link_of_leaving(packet: &Leaving<'_>) -> Result<(usize, u16), OutOfBounds> {
    let ether: u16 = packet.read(offset_of!(EthHdr, ether_type))?;
    if ether == ether_type::VLAN {
        return Ok((ETHERNET + VLAN_TAG, packet.read(ETHERNET + 2)?));
    }
    Ok((ETHERNET, ether))
}

/// Who speaks in a packet of the machine's own: the packet's source, or ARP's sender (RFC 826).
#[inline(always)]
pub fn speaker(packet: &Leaving<'_>) -> Result<Address, OutOfBounds> {
    match link_of_leaving(packet)? {
        (l3, ether_type::IPV4) => packet.read(l3 + offset_of!(Ipv4Hdr, src_addr)).map(Address::from_v4),
        (l3, ether_type::IPV6) => packet.read(l3 + offset_of!(Ipv6Hdr, src_addr)).map(Address::from_v6),
        (l3, ether_type::ARP) => packet.read(l3 + 14).map(Address::from_v4),
        _ => Err(OutOfBounds),
    }
}

const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Whose link-layer address a neighbour advertisement of the machine's own tells (RFC 4861 section 4.4). Linux
/// sends it without extension headers.
#[inline(always)]
pub fn advertised(packet: &Leaving<'_>) -> Result<Address, OutOfBounds> {
    let (l3, ether_type::IPV6) = link_of_leaving(packet)? else { return Err(OutOfBounds) };
    let [next, _]: [u8; 2] = packet.read(l3 + offset_of!(Ipv6Hdr, next_hdr))?;
    let [kind, _]: [u8; 2] = packet.read(l3 + IPV6)?;
    if (next, kind) != (protocol::ICMPV6, NEIGHBOUR_ADVERTISEMENT) {
        return Err(OutOfBounds);
    }
    packet.read(l3 + IPV6 + 8).map(Address::from_v6)
}

const TRANSPORT: usize = 20;
/// What is looked at of a plain packet.
pub const PLAIN_V4: usize = ETHERNET + IPV4 + TRANSPORT;
pub const PLAIN_V6: usize = ETHERNET + IPV6 + TRANSPORT;

/// A packet as nearly all are: no tag, no options or extension headers, no fragment. `None` for any other,
/// and for one with a mistake in it. Offsets are constants to whoever this is inlined into.
#[inline(always)]
pub fn plain_v4(bytes: &Window<'_, PLAIN_V4>) -> Option<(Network, Transport)> {
    // Version, length of the header; more fragments, offset: asked before anything else is looked at.
    let [first, _]: [u8; 2] = bytes.read(ETHERNET).ok()?;
    let fragment: [u8; 2] = bytes.read(ETHERNET + offset_of!(Ipv4Hdr, frags)).ok()?;
    if first != 0x45 || u16::from_ne_bytes(fragment) & 0x3fff_u16.to_be() != 0 {
        return None;
    }
    let mut network = Network::EMPTY;
    ipv4(bytes, ETHERNET, &mut network).ok()?;
    plain(bytes, Network { l4: ETHERNET + IPV4, fragment: Fragment::Whole, ..network })
}

/// The same for IPv6.
#[inline(always)]
pub fn plain_v6(bytes: &Window<'_, PLAIN_V6>) -> Option<(Network, Transport)> {
    let mut network = Network::EMPTY;
    ipv6_header(bytes, ETHERNET, &mut network).ok()?;
    plain(bytes, network)
}

#[inline(always)]
fn plain(bytes: &impl Bytes, network: Network) -> Option<(Network, Transport)> {
    let supported = matches!(network.protocol, protocol::TCP | protocol::UDP);
    if network.malformed || network.fragment != Fragment::Whole || !supported {
        return None;
    }
    let network = Network { fragment: Fragment::Whole, malformed: false, ..network };
    let transport = transport(bytes, &network).ok()?;
    Some((network, transport))
}

#[inline(always)]
fn ipv4(bytes: &impl Bytes, l3: usize, network: &mut Network) -> Result<(), OutOfBounds> {
    let header: Ipv4Hdr = bytes.read(l3)?;
    let header_length = ((header.vihl & 0x0f) as usize) << 2;
    let length = u16::from_be_bytes(header.tot_len) as usize;
    let fragment = u16::from_be_bytes(header.frags);
    *network = Network {
        l3,
        l4: l3 + header_length,
        length,
        source: Address::from_v4(header.src_addr),
        destination: Address::from_v4(header.dst_addr),
        protocol: header.proto,
        fragment: fragment_of(fragment & 0x1fff, fragment & 0x2000 != 0),
        is_v4: true,
        identification: u16::from_be_bytes(header.id) as u32,
        malformed: header.vihl >> 4 != 4
            || header_length < IPV4
            || length < header_length
            || l3 + length > bytes.packet().length(),
        too_many_headers: false,
    };
    Ok(())
}

#[inline(always)]
const fn fragment_of(offset: u16, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    }
}

pub mod next_header {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION: u8 = 60;
}

#[inline(always)]
fn ipv6(packet: &Packet, l3: usize, network: &mut Network) -> Result<(), OutOfBounds> {
    ipv6_header(packet, l3, network)?;
    if is_extension(network.protocol) && extensions(packet, network).is_err() {
        network.malformed = true;
    }
    // Bytes behind the packet, such as Ethernet's padding, are no headers of it.
    if network.l4 > l3 + network.length {
        network.malformed = true;
    }
    Ok(())
}

#[inline(always)]
fn ipv6_header(bytes: &impl Bytes, l3: usize, network: &mut Network) -> Result<(), OutOfBounds> {
    let header: Ipv6Hdr = bytes.read(l3)?;
    let length = u16::from_be_bytes(header.payload_len) as usize + IPV6;
    *network = Network {
        l3,
        l4: l3 + IPV6,
        length,
        source: Address::from_v6(header.src_addr),
        destination: Address::from_v6(header.dst_addr),
        protocol: header.next_hdr,
        fragment: Fragment::Whole,
        is_v4: false,
        identification: 0,
        malformed: header.vcf[0] >> 4 != 6 || l3 + length > bytes.packet().length(),
        too_many_headers: false,
    };
    Ok(())
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        next_header::HOP_BY_HOP | next_header::ROUTING | next_header::FRAGMENT | next_header::DESTINATION
    )
}

/// Walks the chain of extension headers up to the transport header (RFC 8200 section 4).
#[inline(never)]
fn extensions(packet: &Packet, network: &mut Network) -> Result<(), OutOfBounds> {
    let limit = network.l3 + IPV6 + EXTENSION_BYTES;
    for _ in 0..EXTENSION_HEADERS {
        let offset = network.l4;
        if !is_extension(network.protocol) || offset > limit {
            break;
        }
        let [next, extra]: [u8; 2] = packet.read(offset)?;
        if network.protocol == next_header::FRAGMENT {
            let position: [u8; 2] = packet.read(offset + 2)?;
            let position = u16::from_be_bytes(position);
            let identification: [u8; 4] = packet.read(offset + 4)?;
            network.identification = u32::from_be_bytes(identification);
            network.fragment = fragment_of(position >> 3, position & 1 != 0);
            network.protocol = next;
            network.l4 = offset + FRAGMENT_HEADER;
            if network.fragment == Fragment::Later {
                return Ok(());
            }
        } else {
            network.protocol = next;
            network.l4 = offset + 8 + ((extra as usize) << 3);
        }
    }
    network.too_many_headers = is_extension(network.protocol) || network.l4 > limit;
    Ok(())
}

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Reads ports and flags of a TCP or UDP packet that carries its transport header. A header that claims
/// to be longer than the packet is refused, as the real server would.
#[inline(always)]
pub fn transport(bytes: &impl Bytes, network: &Network) -> Result<Transport, OutOfBounds> {
    let [a, b, c, d]: [u8; 4] = bytes.read(network.l4)?;
    let available = (network.l3 + network.length).wrapping_sub(network.l4);
    let mut tcp_flags = 0;
    if network.protocol == protocol::TCP {
        let [offset, flags]: [u8; 2] = bytes.read(network.l4 + 12)?;
        let header_length = (offset >> 4) as usize * 4;
        if header_length < TCP_HEADER || header_length > available {
            return Err(OutOfBounds);
        }
        tcp_flags = flags;
    } else {
        let length: [u8; 2] = bytes.read(network.l4 + 4)?;
        let length = u16::from_be_bytes(length) as usize;
        // The first fragment of a datagram holds less than the datagram's length.
        let whole = network.fragment == Fragment::Whole;
        if length < UDP_HEADER || available < UDP_HEADER || (whole && length > available) {
            return Err(OutOfBounds);
        }
    }
    if available > 65_535 {
        return Err(OutOfBounds);
    }
    Ok(Transport {
        source_port: u16::from_be_bytes([a, b]),
        destination_port: u16::from_be_bytes([c, d]),
        tcp_flags,
    })
}
