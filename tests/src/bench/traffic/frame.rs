//! The generator's template: a UDP datagram with right checksums, in which what differs between flows is
//! zero and has its complement elsewhere (see `lvs-ebpf/src/bench_traffic.rs`).

use std::net::IpAddr;

use anyhow::{Result, bail};
use etherparse::PacketBuilder;

use super::topology::{CLIENT_MAC, DIRECTOR_MAC};

/// Bytes of the generator's template.
pub(super) const TEMPLATE: usize = 88;
/// Frames as the generator sends them, without the wire's own checksum.
const LENGTH_V4: usize = 64;
const LENGTH_V6: usize = 88;
const ETHERNET: usize = 14;
const UDP: usize = 8;

/// A frame from `client_net` to a UDP port of `destination`.
pub(super) fn template(client_net: IpAddr, destination: IpAddr, port: u16) -> Result<Vec<u8>> {
    let ethernet = PacketBuilder::ethernet2(CLIENT_MAC, DIRECTOR_MAC);
    let (builder, header, length) = match (client_net, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = etherparse::Ipv4Header { time_to_live: 64, ..Default::default() };
            (header.source, header.destination) = (source.octets(), destination.octets());
            header.identification = 0xffff;
            (ethernet.ip(etherparse::IpHeaders::Ipv4(header, Default::default())), 20, LENGTH_V4)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            (ethernet.ipv6(source.octets(), destination.octets(), 64), 40, LENGTH_V6)
        }
        _ => bail!("{client_net} and {destination} are of two families"),
    };
    let mut payload = vec![0; length - ETHERNET - header - UDP];
    payload[..4].fill(0xff);
    let mut frame = Vec::with_capacity(length);
    builder.udp(0, port).write(&mut frame, &payload)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::super::topology;
    use super::*;
    use crate::lab::address::Family;
    use crate::lab::checksums::check_frame;

    #[test]
    fn checksums_hold_for_every_flow() {
        for (family, address, length) in [(Family::V4, 28, LENGTH_V4), (Family::V6, 36, LENGTH_V6)] {
            let vip = topology::vip(family, 1);
            let mut frame = template(topology::client_net(family, 0), vip, 80).unwrap();
            assert_eq!(frame.len(), length);
            let port = if family == Family::V4 { 34 } else { 54 };
            for (own, source_port) in [(0x100_u16, 0x4000_u16), (0x13f, 0x7fff), (0x102, 0x5abc)] {
                let mut put = |offset: usize, value: u16| {
                    frame[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
                };
                put(address, own);
                put(port, source_port);
                put(port + 8, !source_port);
                put(port + 10, !own);
                if family == Family::V4 {
                    put(18, !own);
                }
                check_frame(&frame).unwrap();
            }
        }
    }
}
