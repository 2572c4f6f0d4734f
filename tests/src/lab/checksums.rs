//! Checks every checksum of a captured frame, tunnelled packets included. Written independently of the
//! project's own arithmetic, so that the two can disagree.

use anyhow::{Context, Result, bail, ensure};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;

/// # Errors
/// A checksum or a length of the Ethernet frame is wrong; the message says which. What is neither IPv4
/// nor IPv6 is fine.
pub fn check_frame(frame: &[u8]) -> Result<()> {
    let mut offset = 12;
    while word(frame, offset)? == ETHERTYPE_VLAN {
        offset += 4;
    }
    let packet = &frame[offset + 2..];
    match word(frame, offset)? {
        ETHERTYPE_IPV4 => check_ipv4(packet),
        ETHERTYPE_IPV6 => check_ipv6(packet),
        _ => Ok(()),
    }
}

fn check_ipv4(packet: &[u8]) -> Result<()> {
    let header_length = usize::from(byte(packet, 0)? & 0xf) * 4;
    ensure!(header_length >= 20, "IPv4 header of {header_length} bytes");
    let header = slice(packet, 0, header_length).context("IPv4 header")?;
    ensure!(sum(&[header]) == 0xffff, "IPv4 header checksum {:#06x} is wrong", word(packet, 10)?);
    let total = usize::from(word(packet, 2)?);
    ensure!(total >= header_length, "IPv4 total length {total} is below the header's");
    let payload = slice(packet, header_length, total - header_length).context("IPv4 payload")?;
    // A checksum above spans all fragments; here is only one of them.
    if word(packet, 6)? & 0x3fff != 0 {
        return Ok(());
    }
    check_payload(packet[9], &packet[12..20], payload, 4)
}

fn check_ipv6(packet: &[u8]) -> Result<()> {
    slice(packet, 0, 40).context("IPv6 header")?;
    let mut payload = slice(packet, 40, usize::from(word(packet, 4)?)).context("IPv6 payload")?;
    let mut next = packet[6];
    loop {
        match next {
            // Hop-by-hop, routing and destination options.
            0 | 43 | 60 => {
                let length = (usize::from(byte(payload, 1)?) + 1) * 8;
                next = byte(payload, 0)?;
                payload = payload.get(length..).context("IPv6 extension header")?;
            }
            44 => {
                if word(payload, 2)? & 0xfff9 != 0 {
                    return Ok(());
                }
                next = byte(payload, 0)?;
                payload = payload.get(8..).context("IPv6 fragment header")?;
            }
            _ => return check_payload(next, &packet[8..40], payload, 6),
        }
    }
}

/// `addresses` are source and destination, as the pseudo-header has them.
fn check_payload(protocol: u8, addresses: &[u8], payload: &[u8], version: u8) -> Result<()> {
    let length = u32::try_from(payload.len())?.to_be_bytes();
    let pseudo = [0, 0, 0, protocol];
    let with_pseudo = || sum(&[addresses, &length, &pseudo, payload]);
    match protocol {
        1 if version == 4 => {
            ensure!(sum(&[payload]) == 0xffff, "ICMP checksum {:#06x} is wrong", word(payload, 2)?)
        }
        4 => check_ipv4(payload).context("inside a tunnel")?,
        6 => ensure!(with_pseudo() == 0xffff, "TCP checksum {:#06x} is wrong", word(payload, 16)?),
        17 => {
            let (stated, checksum) = (usize::from(word(payload, 4)?), word(payload, 6)?);
            ensure!(stated == payload.len(), "UDP length {stated}, but {} bytes", payload.len());
            match checksum {
                // RFC 768: the sender made none. RFC 8200 8.1 forbids that over IPv6.
                0 if version == 4 => {}
                0 => bail!("UDP over IPv6 without a checksum"),
                _ => ensure!(with_pseudo() == 0xffff, "UDP checksum {checksum:#06x} is wrong"),
            }
        }
        41 => check_ipv6(payload).context("inside a tunnel")?,
        58 => ensure!(with_pseudo() == 0xffff, "ICMPv6 checksum {:#06x} is wrong", word(payload, 2)?),
        _ => {}
    }
    Ok(())
}

/// One's complement sum over parts of even length (the last may be odd), RFC 1071.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

fn byte(data: &[u8], offset: usize) -> Result<u8> {
    data.get(offset).copied().context("the packet is cut short")
}

fn word(data: &[u8], offset: usize) -> Result<u16> {
    Ok(u16::from_be_bytes([byte(data, offset)?, byte(data, offset + 1)?]))
}

fn slice(data: &[u8], offset: usize, length: usize) -> Result<&[u8]> {
    data.get(offset..offset + length).context("the packet is cut short")
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::check_frame;

    const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    /// Odd in length on purpose.
    const PAYLOAD: &[u8] = b"odd number of bytes";

    fn frames() -> Vec<(&'static str, Vec<u8>)> {
        let v4 = || PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4([10, 1, 0, 1], [10, 1, 0, 100], 64);
        let v6 = || {
            let (mut source, mut destination) = ([0; 16], [0; 16]);
            (source[0], source[15], destination[0], destination[15]) = (0xfd, 1, 0xfd, 2);
            PacketBuilder::ethernet2(MACS.0, MACS.1).ipv6(source, destination, 64)
        };
        let mut frames = Vec::new();
        macro_rules! add {
            ($name:literal, $builder:expr) => {{
                let mut frame = Vec::new();
                $builder.write(&mut frame, PAYLOAD).expect("a vector takes every frame");
                frames.push(($name, frame));
            }};
        }
        add!("TCP over IPv4", v4().tcp(1000, 80, 1, 1000));
        add!("TCP over IPv6", v6().tcp(1000, 80, 1, 1000));
        add!("UDP over IPv4", v4().udp(1000, 53));
        add!("UDP over IPv6", v6().udp(1000, 53));
        add!("ICMP", v4().icmpv4_echo_request(1, 2));
        add!("ICMPv6", v6().icmpv6_echo_request(1, 2));
        frames
    }

    /// The packet of `frame` inside an outer IPv4 header with a checksum of its own.
    fn tunnelled(frame: &[u8]) -> Vec<u8> {
        let inner = &frame[14..];
        let protocol = if frame[12..14] == [8, 0] { 4 } else { 41 };
        let outer = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4([10, 0, 0, 2], [10, 0, 0, 11], 64);
        let mut bytes = Vec::new();
        outer.write(&mut bytes, protocol.into(), inner).expect("a vector takes every frame");
        bytes
    }

    #[test]
    fn good_frames_pass() {
        for (name, frame) in frames() {
            check_frame(&frame).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            check_frame(&tunnelled(&frame)).unwrap_or_else(|error| panic!("{name} in a tunnel: {error:#}"));
        }
    }

    #[test]
    fn any_broken_byte_that_a_checksum_covers_is_found() {
        for (name, frame) in frames() {
            for frame in [frame.clone(), tunnelled(&frame)] {
                // IPv6 has no header checksum: traffic class, flow label, hop limit and (as far as the
                // protocol it names is one nobody checks) next header are uncovered.
                let version_6 = match (frame[12], frame[23]) {
                    (0x86, _) => 14,
                    (_, 41) => 34,
                    _ => usize::MAX,
                };
                for offset in 14..frame.len() {
                    if offset.checked_sub(version_6).is_some_and(|field| matches!(field, 0..4 | 6 | 7)) {
                        continue;
                    }
                    let mut broken = frame.clone();
                    broken[offset] ^= 0x10;
                    assert!(check_frame(&broken).is_err(), "{name}: byte {offset} was changed unnoticed");
                }
            }
        }
    }

    #[test]
    fn missing_udp_checksums_are_legal_over_ipv4_only() {
        for (name, mut frame) in frames().into_iter().filter(|(name, _)| name.starts_with("UDP")) {
            let checksum = frame.len() - PAYLOAD.len() - 2;
            frame[checksum..checksum + 2].fill(0);
            assert_eq!(check_frame(&frame).is_ok(), name.ends_with("IPv4"), "{name}");
        }
    }
}
