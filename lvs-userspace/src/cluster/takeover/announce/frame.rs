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
pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
/// Flags of an advertisement, in its fifth byte.
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Where in a frame of ARP the sender's address stands, and the target's.
pub(super) const ARP_SENDER: u32 = 28;
pub(super) const ARP_TARGET: u32 = 38;
/// Where in a frame of IPv6 the next header stands, the type of the ICMPv6 message, and the last four bytes of the
/// address that a neighbour advertisement or solicitation is about.
pub(super) const IPV6_NEXT_HEADER: u32 = 20;
pub(super) const ICMPV6_TYPE: u32 = 54;
pub(super) const TARGET_TAIL: u32 = 74;

/// Somebody and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub address: IpAddr,
    pub by: Mac,
}

/// What somebody says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It is his.
    Has(Claim),
    /// He is about to take it, and asks whether somebody has it: see [`probe`].
    Asks(Claim),
}

impl Word {
    pub(crate) const fn claim(&self) -> Claim {
        match self {
            Self::Has(claim) | Self::Asks(claim) => *claim,
        }
    }
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

/// Where an address is asked for: who takes it has to be there before he asks (RFC 4862 section 5.4.2). RFC 4291
/// section 2.7.1.
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
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

/// What a frame says of an address, if it is ARP, a neighbour advertisement, or a question by who is about to take it.
pub(crate) fn word(frame: &[u8]) -> Option<Word> {
    let (header, packet) = frame.split_at_checked(ETHERNET)?;
    match [header[12], header[13]] {
        ETHERTYPE_ARP => arp_word(packet),
        ETHERTYPE_IPV6 => discovered(header, packet),
        _ => None,
    }
}

/// Who names himself as the sender has that address. A request in the name of nobody is a probe (RFC 5227
/// section 1.1).
fn arp_word(packet: &[u8]) -> Option<Word> {
    let (types, rest) = packet.split_at_checked(ARP_TYPES.len())?;
    let fields = rest.get(..22).filter(|_| types == ARP_TYPES)?;
    let address = |bytes: &[u8]| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?));
    let (by, sender) = (fields[2..8].try_into().ok()?, address(&fields[8..12])?);
    if !sender.is_unspecified() {
        return Some(Word::Has(Claim { address: sender.into(), by }));
    }
    let target = address(&fields[18..22])?;
    (fields[..2] == [0, REQUEST]).then_some(Word::Asks(Claim { address: target.into(), by }))
}

/// An advertisement, checked as RFC 4861 section 7.1.2 asks; or a solicitation in the name of nobody, as section 7.1.1
/// asks.
fn discovered(header: &[u8], packet: &[u8]) -> Option<Word> {
    let (ip, rest) = packet.split_at_checked(IPV6)?;
    let message = rest.get(..usize::from(u16::from_be_bytes([ip[4], ip[5]])))?;
    if ip[6] != ICMPV6 || ip[7] != HOPS || message.len() < 24 || message[1] != 0 {
        return None;
    }
    let address = |bytes: &[u8]| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?));
    let (source, destination, target) =
        (address(&ip[8..24])?, address(&ip[24..40])?, address(&message[8..24])?);
    if checksum::finish(icmpv6_sum(source, destination, message)) != 0 {
        return None;
    }
    let by = header[6..12].try_into().ok()?;
    let option = link_layer_address(&message[24..]).ok()?;
    let claim = |by| Claim { address: target.into(), by };
    match message[0] {
        ADVERTISEMENT => Some(Word::Has(claim(option.unwrap_or(by)))),
        SOLICITATION if source.is_unspecified() && destination == solicited_node(target) => {
            Some(Word::Asks(claim(by)))
        }
        _ => None,
    }
}

/// An option that makes the whole message invalid.
struct Invalid;

/// What the options say of the target, if they do.
fn link_layer_address(mut options: &[u8]) -> Result<Option<Mac>, Invalid> {
    let mut found = None;
    // Units of eight bytes; one of length 0 makes the message invalid.
    while let [kind, units, ..] = *options {
        let split = options.split_at_checked(usize::from(units) * 8).filter(|_| units > 0);
        let (option, rest) = split.ok_or(Invalid)?;
        if kind == TARGET_LINK_LAYER_ADDRESS {
            found = option[2..8].try_into().ok();
        }
        options = rest;
    }
    Ok(found)
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
    fn announcements_claim_and_probes_ask() {
        for address in [IpAddr::from(V4), IpAddr::from(V6)] {
            for frame in announcements(address, MAC, true) {
                assert_eq!(word(&frame), Some(Word::Has(Claim { address, by: MAC })));
            }
            assert_eq!(word(&probe(address, MAC)), Some(Word::Asks(Claim { address, by: MAC })));
        }
    }

    #[test]
    fn questions_of_others_ask_for_nothing() {
        // Who has an address and asks for another says only that he has it.
        let other = Ipv4Addr::new(192, 0, 2, 1);
        let asks = arp(REQUEST, (MAC, other), (Mac::default(), V4));
        assert_eq!(word(&asks), Some(Word::Has(Claim { address: other.into(), by: MAC })));
        let answer = arp(REPLY, (MAC, Ipv4Addr::UNSPECIFIED), (MAC, V4));
        assert_eq!(word(&answer), None, "nobody answers");
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        for (source, group) in [(source, solicited_node(V6)), (Ipv6Addr::UNSPECIFIED, ALL_NODES)] {
            assert_eq!(word(&discovery(MAC, source, group, [SOLICITATION, 0], V6, &[])), None);
        }
    }

    #[test]
    fn frames_that_are_cut_or_changed_say_nothing() {
        for address in [IpAddr::from(V4), IpAddr::from(V6)] {
            for frame in announcements(address, MAC, true).into_iter().chain([probe(address, MAC)]) {
                for length in 0..frame.len() {
                    assert_eq!(word(&frame[..length]), None, "{length} bytes of {frame:?}");
                }
            }
        }
        for frame in announcements(V6.into(), MAC, true).into_iter().chain([probe(V6.into(), MAC)]) {
            for position in ETHERNET + 4..frame.len() {
                let mut frame = frame.clone();
                frame[position] ^= 0x10;
                assert_eq!(word(&frame), None, "byte {position}");
            }
        }
        // An option that claims to have no length would never end.
        let mut message = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
        message.extend(V6.octets());
        let endless = discovery(MAC, V6, ALL_NODES, [ADVERTISEMENT, OVERRIDE], V6, &[3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(word(&endless), None);
        let short = discovery(MAC, V6, ALL_NODES, [ADVERTISEMENT, OVERRIDE], V6, &[]);
        let claim = Claim { address: V6.into(), by: MAC };
        assert_eq!(word(&short), Some(Word::Has(claim)), "the frame's sender");
    }
}
