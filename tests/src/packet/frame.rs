//! Builds frames from the inside out: a transport segment, an IP packet around it, a link header around
//! that. Every checksum is computed from the bytes as they stand.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

pub type Mac = [u8; 6];

/// Protocol numbers (IANA), extension headers of IPv6 among them.
pub mod number {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// Flags of TCP.
pub mod tcp_flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// The Internet checksum over `parts`, all but the last of even length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let sum = parts.iter().fold(Sum16BitWords::new(), |sum, part| sum.add_slice(part));
    sum.ones_complement().to_be()
}

/// The fields of an IP header of either family.
#[derive(Clone, Debug)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// Type of service with its ECN bits, or traffic class.
    pub tos: u8,
    /// IPv4's field; of IPv6 only in fragments.
    pub identification: u32,
    /// IPv4 only.
    pub dont_fragment: bool,
    /// Offset in units of 8 bytes, and whether more follow.
    pub fragment: Option<(u16, bool)>,
    /// IPv4 options: a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers before the fragment header: number, and length beyond the first 8 bytes in
    /// units of 8.
    pub extensions: Vec<(u8, u8)>,
    pub flow_label: u32,
}

impl Ip {
    pub fn new(source: &str, destination: &str) -> Self {
        Self::between(address(source), address(destination))
    }

    pub fn between(source: IpAddr, destination: IpAddr) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one family");
        Self {
            source,
            destination,
            hops: 64,
            tos: 0,
            identification: 0x1234,
            dont_fragment: true,
            fragment: None,
            options: Vec::new(),
            extensions: Vec::new(),
            flow_label: 0,
        }
    }

    /// The same with one field or more changed.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    /// One hop further on.
    #[must_use]
    pub fn routed(&self) -> Self {
        self.with(|ip| ip.hops -= 1)
    }

    /// To another destination.
    #[must_use]
    pub fn to(&self, destination: &str) -> Self {
        self.with(|ip| ip.destination = address(destination))
    }

    /// From another source.
    #[must_use]
    pub fn from(&self, source: &str) -> Self {
        self.with(|ip| ip.source = address(source))
    }

    pub fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// Bytes of the header, extension headers included.
    pub fn header_length(&self) -> usize {
        self.packet(number::UDP, &[]).len()
    }

    /// The whole packet.
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        if self.is_v4() { self.packet_v4(protocol, payload) } else { self.packet_v6(protocol, payload) }
    }

    fn packet_v4(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(more) << 13 | offset;
        let mut packet = vec![0x40 | (header_length / 4) as u8, self.tos];
        packet.extend(((header_length + payload.len()) as u16).to_be_bytes());
        packet.extend((self.identification as u16).to_be_bytes());
        packet.extend(flags.to_be_bytes());
        packet.extend([self.hops, protocol, 0, 0]);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.extend(&self.options);
        let sum = checksum(&[&packet]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn packet_v6(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let fragment = self.fragment.map(|_| (number::FRAGMENT, 0));
        let chain: Vec<(u8, u8)> = self.extensions.iter().copied().chain(fragment).collect();
        let mut headers = Vec::new();
        for (index, (kind, extra)) in chain.iter().enumerate() {
            let next = chain.get(index + 1).map_or(protocol, |(next, _)| *next);
            headers.push(next);
            if *kind == number::FRAGMENT {
                let (offset, more) = self.fragment.unwrap_or((0, false));
                headers.push(0);
                headers.extend((offset << 3 | u16::from(more)).to_be_bytes());
                headers.extend(self.identification.to_be_bytes());
            } else {
                headers.push(*extra);
                headers.extend(extension_body(*kind, usize::from(*extra) * 8 + 6));
            }
        }
        let first = 6 << 28 | u32::from(self.tos) << 20 | self.flow_label;
        let mut packet = first.to_be_bytes().to_vec();
        packet.extend(((headers.len() + payload.len()) as u16).to_be_bytes());
        packet.extend([chain.first().map_or(protocol, |(kind, _)| *kind), self.hops]);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.extend(headers);
        packet.extend(payload);
        packet
    }

    /// A checksum over the pseudo header and `segment`.
    fn pseudo_checksum(&self, protocol: u8, segment: &[u8]) -> u16 {
        let length = (segment.len() as u32).to_be_bytes();
        let (source, destination) = (octets(self.source), octets(self.destination));
        checksum(&[&source, &destination, &length, &[0, 0, 0, protocol], segment])
    }

    pub fn tcp(&self, tcp: &Tcp, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(tcp.source.to_be_bytes());
        segment.extend(tcp.destination.to_be_bytes());
        segment.extend(tcp.sequence.to_be_bytes());
        segment.extend(tcp.acknowledged.to_be_bytes());
        segment.extend([((5 + tcp.options.len() / 4) << 4) as u8, tcp.flags]);
        segment.extend(tcp.window.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend(&tcp.options);
        segment.extend(payload);
        let sum = self.pseudo_checksum(number::TCP, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    /// A datagram with its checksum; one that comes to 0 is sent as all ones (RFC 768).
    pub fn udp(&self, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut segment = udp_without_checksum(ports, payload);
        let sum = match self.pseudo_checksum(number::UDP, &segment) {
            0 => 0xffff,
            sum => sum,
        };
        segment[6..8].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    /// An ICMP or ICMPv6 message: type, code, the four bytes that follow the checksum, and the rest.
    pub fn icmp(&self, kind: u8, code: u8, word: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0];
        message.extend(word);
        message.extend(payload);
        let sum =
            if self.is_v4() { checksum(&[&message]) } else { self.pseudo_checksum(number::ICMPV6, &message) };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }

    /// The number of this family's ICMP.
    pub fn icmp_number(&self) -> u8 {
        if self.is_v4() { number::ICMP } else { number::ICMPV6 }
    }

    pub fn tcp_packet(&self, tcp: &Tcp, payload: &[u8]) -> Vec<u8> {
        self.packet(number::TCP, &self.tcp(tcp, payload))
    }

    pub fn udp_packet(&self, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        self.packet(number::UDP, &self.udp(ports, payload))
    }

    pub fn icmp_packet(&self, kind: u8, code: u8, word: [u8; 4], payload: &[u8]) -> Vec<u8> {
        self.packet(self.icmp_number(), &self.icmp(kind, code, word, payload))
    }

    /// `inner` inside this header.
    pub fn tunnel(&self, inner: &[u8]) -> Vec<u8> {
        let protocol = if inner[0] >> 4 == 4 { number::IPIP } else { number::IPV6 };
        self.packet(protocol, inner)
    }
}

/// A UDP datagram whose sender computed no checksum.
pub fn udp_without_checksum(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(ports.0.to_be_bytes());
    segment.extend(ports.1.to_be_bytes());
    segment.extend(((8 + payload.len()) as u16).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    segment
}

/// What changes in a TCP header.
#[derive(Clone, Debug)]
pub struct Tcp {
    pub source: u16,
    pub destination: u16,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledged: u32,
    pub window: u16,
    /// A multiple of 4 bytes.
    pub options: Vec<u8>,
}

impl Tcp {
    pub fn new(source: u16, destination: u16, flags: u8) -> Self {
        let (sequence, acknowledged) = (0x1122_3344, 0x5566_7788);
        Self { source, destination, flags, sequence, acknowledged, window: 0xfaf0, options: Vec::new() }
    }
}

/// Options that every host skips: PadN (RFC 8200 section 4.2), or a routing header of an unknown type
/// with no segments left.
fn extension_body(kind: u8, length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    if kind == number::ROUTING {
        body[0] = 253;
    } else if length <= 257 {
        body[..2].copy_from_slice(&[1, (length - 2) as u8]);
    } // Longer: Pad1 all over.
    body
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// # Panics
/// If `text` is no address.
pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The link header of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub destination: Mac,
    pub source: Mac,
    /// The tag control information of an 802.1Q tag.
    pub vlan: Option<u16>,
}

impl Link {
    /// The frame that carries an IP packet.
    pub fn frame(&self, packet: &[u8]) -> Vec<u8> {
        self.typed(if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 }, packet)
    }

    /// The frame of any Ethernet type.
    pub fn typed(&self, ether_type: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = self.destination.to_vec();
        frame.extend(self.source);
        if let Some(tag) = self.vlan {
            frame.extend(0x8100_u16.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(ether_type.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// The way back.
    #[must_use]
    pub fn turned(&self) -> Self {
        Self { destination: self.source, source: self.destination, vlan: self.vlan }
    }

    /// With a tag.
    #[must_use]
    pub fn tagged(&self, tag: u16) -> Self {
        Self { vlan: Some(tag), ..*self }
    }
}

/// What stands inside the link header and tag of a frame.
pub fn packet_of(frame: &[u8]) -> &[u8] {
    let link = if frame.get(12..14) == Some(&[0x81, 0]) { 18 } else { 14 };
    frame.get(link..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;

    use super::*;
    use crate::lab::checksums::check_frame;

    const LINK: Link = Link { destination: [2, 0, 0, 0, 0, 1], source: [2, 0, 0, 0, 0, 2], vlan: None };

    fn both() -> [Ip; 2] {
        [Ip::new("10.9.0.7", "10.0.0.3"), Ip::new("2001:db8:9::7", "2001:db8::3")]
    }

    /// The builder against two readers: etherparse's strict parser and the lab's checksums.
    #[test]
    fn frames_are_what_others_read() {
        for ip in both() {
            let options = Tcp { options: vec![1; 8], ..Tcp::new(4000, 80, tcp_flag::SYN) };
            let long = ip.with(|ip| {
                ip.options = vec![1; 8];
                ip.extensions =
                    vec![(number::HOP_BY_HOP, 0), (number::ROUTING, 2), (number::DESTINATION_OPTIONS, 1)];
                ip.tos = 0xb9;
            });
            for packet in [
                ip.tcp_packet(&Tcp::new(4000, 80, tcp_flag::SYN), b"odd"),
                ip.tcp_packet(&options, b""),
                ip.udp_packet((4000, 53), b"even"),
                ip.icmp_packet(if ip.is_v4() { 8 } else { 128 }, 0, [0, 1, 0, 2], b"ping"),
                long.tcp_packet(&options, b"payload"),
                long.udp_packet((1, 2), b""),
                ip.tunnel(&long.udp_packet((1, 2), b"inside")),
            ] {
                for link in [LINK, LINK.tagged(0x6005)] {
                    let frame = link.frame(&packet);
                    check_frame(&frame).unwrap();
                    let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
                    assert_eq!(sliced.vlan().is_some(), link.vlan.is_some());
                    assert!(sliced.net.is_some());
                    assert_eq!(packet_of(&frame), packet);
                }
            }
        }
    }

    #[test]
    fn fragments_add_up_to_the_datagram() {
        for ip in both() {
            let datagram = ip.udp((4000, 53), &[7; 40]);
            let first = ip.with(|ip| ip.fragment = Some((0, true)));
            let later = ip.with(|ip| ip.fragment = Some((3, false)));
            let mut buffer: Vec<u8> = Vec::new();
            for (fragment, part) in [(first, &datagram[..24]), (later, &datagram[24..])] {
                let frame = LINK.frame(&fragment.packet(number::UDP, part));
                check_frame(&frame).unwrap();
                let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
                assert!(sliced.is_ip_payload_fragmented());
                buffer.extend(sliced.ip_payload().unwrap().payload);
            }
            assert_eq!(buffer, datagram);
        }
    }
}
