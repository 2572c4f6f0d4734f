//! Advertisements as whole frames, for what no socket of the kernel's does: send from a MAC that is not the interface's.
//! Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lvs_common::checksum;

use super::packet::{HOPS, PROTOCOL};
use crate::network::Mac;

/// Internetwork control (RFC 791), as routers send it: before other traffic.
pub(super) const PRECEDENCE: u8 = 0xc0;

/// To a multicast group of the source's family; `None` for anything else.
pub(super) fn to_group(mac: Mac, source: IpAddr, group: IpAddr, message: &[u8]) -> Option<Vec<u8>> {
    match (source, group) {
        (IpAddr::V4(source), IpAddr::V4(group)) if group.is_multicast() => {
            Some(to_v4(mac, source, group, message))
        }
        (IpAddr::V6(source), IpAddr::V6(group)) if group.is_multicast() => {
            Some(to_v6(mac, source, group, message))
        }
        _ => None,
    }
}

/// RFC 1112 section 6.4.
fn to_v4(mac: Mac, source: Ipv4Addr, group: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let length = (20 + message.len() as u16).to_be_bytes();
    let dont_fragment = 0x40;
    let mut header =
        vec![0x45, PRECEDENCE, length[0], length[1], 0, 0, dont_fragment, 0, HOPS, PROTOCOL, 0, 0];
    header.extend(source.octets());
    header.extend(group.octets());
    let sum = checksum::finish(checksum::add_bytes(0, &header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let [_, b, c, d] = group.octets();
    let destination = [0x01, 0x00, 0x5e, b & 0x7f, c, d];
    [&destination[..], &mac, &[0x08, 0x00], &header, message].concat()
}

/// RFC 2464 section 7.
fn to_v6(mac: Mac, source: Ipv6Addr, group: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u16).to_be_bytes();
    let mut header =
        vec![0x60 | PRECEDENCE >> 4, PRECEDENCE << 4, 0, 0, length[0], length[1], PROTOCOL, HOPS];
    header.extend(source.octets());
    header.extend(group.octets());
    let destination = [&[0x33, 0x33][..], &group.octets()[12..]].concat();
    [&destination[..], &mac, &[0x86, 0xdd], &header, message].concat()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::{NetSlice, SlicedPacket};

    use super::super::packet::{Advertisement, GROUP_V4, GROUP_V6, decode};
    use super::*;
    use crate::config::model::VrrpVersion;

    const MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 51];

    #[test]
    fn frames_as_another_parser_reads_them() {
        let (v4, v6) = (Ipv4Addr::new(10, 0, 0, 5), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5));
        for (source, group, of_group) in [
            (IpAddr::V4(v4), IpAddr::V4(GROUP_V4), [0x01, 0x00, 0x5e, 0, 0, 0x12]),
            (IpAddr::V6(v6), IpAddr::V6(GROUP_V6), [0x33, 0x33, 0, 0, 0, 0x12]),
        ] {
            let sent = Advertisement {
                version: VrrpVersion::V3,
                router_id: 51,
                priority: 100,
                interval: Duration::from_secs(1),
                addresses: vec![source],
            };
            let message = sent.encode(source, group);
            let frame = to_group(MAC, source, group, &message).unwrap();
            assert_eq!(to_group(MAC, source, source, &message), None, "one machine");
            assert_eq!(frame[..12], [&of_group[..], &MAC].concat());
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            match packet.net {
                Some(NetSlice::Ipv4(ip)) => {
                    let header = ip.header().to_header();
                    assert_eq!(header.header_checksum, header.calc_header_checksum());
                    assert_eq!((header.time_to_live, header.dscp.value()), (255, 48));
                }
                Some(NetSlice::Ipv6(ip)) => {
                    assert_eq!((ip.header().hop_limit(), ip.header().traffic_class()), (255, 0xc0));
                }
                other => panic!("{other:?}"),
            }
            let read = decode(&frame[14..]).unwrap();
            assert_eq!((read.advertisement, read.source, read.destination), (sent, source, group));
        }
    }
}
