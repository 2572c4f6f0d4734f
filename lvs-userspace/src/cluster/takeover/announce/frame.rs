//! The frames that say who has an address, and those that ask. Pure.
//!
//! ARP: RFC 826 and RFC 5227. Neighbour discovery: RFC 4861 section 7.2 and RFC 4862 section 5.4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lvs_common::checksum;

use crate::network::Mac;

const BROADCAST: Mac = [0xff; 6];
const ETHERNET: usize = 14;
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Hardware Ethernet, protocol IPv4, and the lengths of their addresses.
const ARP_TYPES: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const IPV6: usize = 40;
pub(super) const ICMPV6: u8 = 58;
/// What a router would have lowered: the frame is of this link.
const HOPS: u8 = 255;
const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
/// Flags of an advertisement, in its fifth byte.
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Where in a frame of ARP the sender's address stands.
pub(super) const ARP_SENDER: u32 = 28;
/// Where in a frame of IPv6 the next header stands, the type of the ICMPv6 message, and the last four bytes of the
/// address that a neighbour advertisement is about.
pub(super) const IPV6_NEXT_HEADER: u32 = 20;
pub(super) const ICMPV6_TYPE: u32 = 54;
pub(super) const ADVERTISED_TAIL: u32 = 74;

/// Somebody says that an address is his.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub address: IpAddr,
    pub by: Mac,
}

/// The frames that tell everybody on the link that `address` is at `mac`, in the order they are sent: a
/// gratuitous ARP request and a reply, since there are hosts that take only one of them; an unsolicited neighbour
/// advertisement. `is_router` as the kernel says it when it is asked: hosts forget a router that no longer is one.
pub(crate) fn announcements(address: IpAddr, mac: Mac, is_router: bool) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => vec![
            arp(REQUEST, (mac, address), (Mac::default(), address)),
            arp(REPLY, (mac, address), (mac, address)),
        ],
        IpAddr::V6(address) => {
            let flags = OVERRIDE | if is_router { ROUTER } else { 0 };
            let option = [&[TARGET_LINK_LAYER_ADDRESS, 1][..], &mac].concat();
            vec![discovery(mac, address, ALL_NODES, [ADVERTISEMENT, flags], address, &option)]
        }
    }
}

/// Asks whether somebody has `address`, in the name of nobody, so that no cache learns from the question: an ARP
/// probe (RFC 5227 section 1.1), a solicitation of duplicate address detection (RFC 4862 section 5.4.2).
pub(crate) fn probe(address: IpAddr, mac: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(REQUEST, (mac, Ipv4Addr::UNSPECIFIED), (Mac::default(), address)),
        IpAddr::V6(address) => {
            let everybody = solicited_node(address);
            discovery(mac, Ipv6Addr::UNSPECIFIED, everybody, [SOLICITATION, 0], address, &[])
        }
    }
}

/// RFC 4291 section 2.7.1.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    group[13..].copy_from_slice(&address.octets()[13..]);
    group.into()
}

fn arp(operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = [&BROADCAST[..], &sender.0, &ETHERTYPE_ARP, &ARP_TYPES, &[0, operation]].concat();
    for (mac, address) in [sender, target] {
        frame.extend(mac);
        frame.extend(address.octets());
    }
    frame
}

/// A message of neighbour discovery about `target`, to a group; `kind` is its type and its flags.
fn discovery(
    mac: Mac,
    source: Ipv6Addr,
    group: Ipv6Addr,
    [kind, flags]: [u8; 2],
    target: Ipv6Addr,
    options: &[u8],
) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    message.extend(options);
    let sum = checksum::finish(icmpv6_sum(source, group, &message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let group_mac = [&[0x33, 0x33][..], &group.octets()[12..]].concat();
    let header = [0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, HOPS];
    [&group_mac[..], &mac, &ETHERTYPE_IPV6, &header, &source.octets(), &group.octets(), &message].concat()
}

/// With the pseudo-header of RFC 8200 section 8.1.
fn icmpv6_sum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u64 {
    let sum = checksum::add_bytes(message.len() as u64 + u64::from(ICMPV6), &source.octets());
    checksum::add_bytes(checksum::add_bytes(sum, &destination.octets()), message)
}

/// What a frame claims, if it is ARP or a neighbour advertisement. A question in the name of nobody claims
/// nothing: another director that asks as we do does not hold the address.
pub(crate) fn claim(frame: &[u8]) -> Option<Claim> {
    let (header, packet) = frame.split_at_checked(ETHERNET)?;
    match [header[12], header[13]] {
        ETHERTYPE_ARP => arp_claim(packet),
        ETHERTYPE_IPV6 => advertised(header, packet),
        _ => None,
    }
}

fn arp_claim(packet: &[u8]) -> Option<Claim> {
    let (types, rest) = packet.split_at_checked(ARP_TYPES.len())?;
    let sender = rest.get(2..12).filter(|_| types == ARP_TYPES)?;
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(&sender[6..]).ok()?);
    let by = sender[..6].try_into().ok()?;
    (!address.is_unspecified()).then_some(Claim { address: address.into(), by })
}

/// Checked as RFC 4861 section 7.1.2 asks.
fn advertised(header: &[u8], packet: &[u8]) -> Option<Claim> {
    let (ip, rest) = packet.split_at_checked(IPV6)?;
    let message = rest.get(..usize::from(u16::from_be_bytes([ip[4], ip[5]])))?;
    if ip[6] != ICMPV6 || ip[7] != HOPS || message.len() < 24 || message[..2] != [ADVERTISEMENT, 0] {
        return None;
    }
    let address = |bytes: &[u8]| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?));
    if checksum::finish(icmpv6_sum(address(&ip[8..24])?, address(&ip[24..40])?, message)) != 0 {
        return None;
    }
    let mut by = header[6..12].try_into().ok()?;
    let mut options = &message[24..];
    // Units of eight bytes; one of length 0 makes the message invalid.
    while let [kind, units, ..] = *options {
        let (option, rest) = options.split_at_checked(usize::from(units) * 8).filter(|_| units > 0)?;
        if kind == TARGET_LINK_LAYER_ADDRESS {
            by = option[2..8].try_into().ok()?;
        }
        options = rest;
    }
    Some(Claim { address: address(&message[8..24])?.into(), by })
}

#[cfg(test)]
mod tests {
    use etherparse::{
        ArpHardwareId, ArpOperation, ArpPacket, EtherType, Icmpv6Type, NetSlice, SlicedPacket,
        TransportSlice, icmpv6,
    };

    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 0x0a];
    const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
    const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12ab, 0xcdef);

    /// The Ethernet header's addresses, and the rest.
    fn arp_of(frame: &[u8]) -> (&[u8], ArpPacket) {
        assert_eq!(frame.len(), 42);
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Arp(arp)) = packet.net else { panic!("no ARP: {packet:?}") };
        (&frame[..12], arp.to_packet())
    }

    #[test]
    fn arp_as_another_parser_reads_it() {
        let (ethernet, ipv4) = (ArpHardwareId::ETHERNET, EtherType::IPV4);
        let expected = |operation, sender: Ipv4Addr, target: &Mac| {
            ArpPacket::new(ethernet, ipv4, operation, &MAC, &sender.octets(), target, &V4.octets()).unwrap()
        };
        let ends = [&[0xff; 6][..], &MAC].concat();
        let [request, reply] = announcements(V4.into(), MAC, false).try_into().unwrap();
        assert_eq!(arp_of(&request), (&ends[..], expected(ArpOperation::REQUEST, V4, &[0; 6])));
        assert_eq!(arp_of(&reply), (&ends[..], expected(ArpOperation::REPLY, V4, &MAC)));
        let probe = probe(V4.into(), MAC);
        let nobody = Ipv4Addr::UNSPECIFIED;
        assert_eq!(arp_of(&probe), (&ends[..], expected(ArpOperation::REQUEST, nobody, &[0; 6])));
    }

    /// The header's addresses, the message's type and what follows it.
    fn icmpv6_of(frame: &[u8]) -> ([Ipv6Addr; 2], Icmpv6Type, Vec<u8>) {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) = (&packet.net, &packet.transport)
        else {
            panic!("no ICMPv6: {packet:?}")
        };
        let header = ip.header();
        assert_eq!(header.hop_limit(), 255);
        assert!(icmp.is_checksum_valid(header.source(), header.destination()));
        let ends = [header.source_addr(), header.destination_addr()];
        (ends, icmp.header().icmp_type, icmp.payload().to_vec())
    }

    #[test]
    fn neighbour_discovery_as_another_parser_reads_it() {
        for is_router in [false, true] {
            let [frame] = announcements(V6.into(), MAC, is_router).try_into().unwrap();
            assert_eq!(frame[..12], [&[0x33, 0x33, 0, 0, 0, 1][..], &MAC].concat());
            let (ends, kind, payload) = icmpv6_of(&frame);
            assert_eq!(ends, [V6, "ff02::1".parse().unwrap()]);
            let header =
                icmpv6::NeighborAdvertisementHeader { router: is_router, solicited: false, r#override: true };
            assert_eq!(kind, Icmpv6Type::NeighborAdvertisement(header));
            assert_eq!(payload, [&V6.octets()[..], &[2, 1], &MAC].concat());
        }
        let frame = probe(V6.into(), MAC);
        assert_eq!(frame[..12], [&[0x33, 0x33, 0xff, 0xab, 0xcd, 0xef][..], &MAC].concat());
        let (ends, kind, payload) = icmpv6_of(&frame);
        assert_eq!(ends, [Ipv6Addr::UNSPECIFIED, "ff02::1:ffab:cdef".parse().unwrap()]);
        assert_eq!(kind, Icmpv6Type::NeighborSolicitation);
        assert_eq!(payload, V6.octets());
    }

    #[test]
    fn announcements_claim_and_probes_do_not() {
        for address in [IpAddr::from(V4), IpAddr::from(V6)] {
            for frame in announcements(address, MAC, true) {
                assert_eq!(claim(&frame), Some(Claim { address, by: MAC }));
            }
            assert_eq!(claim(&probe(address, MAC)), None);
        }
    }

    #[test]
    fn frames_that_are_cut_or_changed_claim_nothing() {
        for address in [IpAddr::from(V4), IpAddr::from(V6)] {
            let frame = announcements(address, MAC, true).pop().unwrap();
            let end = if address.is_ipv4() { 32 } else { frame.len() };
            for length in 0..end {
                assert_eq!(claim(&frame[..length]), None, "{length} bytes of {frame:?}");
            }
        }
        let [frame] = announcements(V6.into(), MAC, true).try_into().unwrap();
        for position in ETHERNET + 4..frame.len() {
            let mut frame = frame.clone();
            frame[position] ^= 0x10;
            assert_eq!(claim(&frame), None, "byte {position}");
        }
        // An option that claims to have no length would never end.
        let mut message = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
        message.extend(V6.octets());
        let endless = discovery(MAC, V6, ALL_NODES, [ADVERTISEMENT, OVERRIDE], V6, &[3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(claim(&endless), None);
        let short = discovery(MAC, V6, ALL_NODES, [ADVERTISEMENT, OVERRIDE], V6, &[]);
        assert_eq!(claim(&short), Some(Claim { address: V6.into(), by: MAC }), "the frame's sender");
    }
}
