//! A VIP answers pings whether or not it is an address of the director.

use core::mem::offset_of;

use lvs_common::cause::Cause;
use lvs_common::checksum::Delta;
use lvs_ebpf::packet::{Bytes as _, OutOfBounds, Packet};
use lvs_ebpf::parse::Network;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{answer, rewrite};

const HOPS: u8 = 64;
/// Types of the reply (RFC 792, RFC 4443 section 4.2).
const REPLY_V4: u8 = 0;
const REPLY_V6: u8 = 129;

#[inline(always)]
pub(super) fn answer(packet: &Packet, network: &Network) -> Cause {
    match turn(packet, network) {
        Ok(()) => Cause::EchoAnswered,
        Err(OutOfBounds) => Cause::Malformed,
    }
}

/// Exchanges the ends. Their order does not matter to the checksums; type and time to live do.
#[inline(always)]
fn turn(packet: &Packet, network: &Network) -> Result<(), OutOfBounds> {
    let kind: [u8; 2] = packet.read(network.l4)?;
    let reply = [if network.is_v4 { REPLY_V4 } else { REPLY_V6 }, kind[1]];
    // Read before anything is written: the header may end with the packet.
    packet.read::<[u8; 8]>(network.l4)?;
    packet.write(network.l4, reply)?;
    let delta = Delta::NONE.bytes(&kind, &reply);
    rewrite::update_checksum(packet, network.l4 + 2, delta)?;
    answer::turn_link_header(packet)?;
    if network.is_v4 {
        packet.write(network.l3 + offset_of!(Ipv4Hdr, src_addr), network.destination.v4_octets())?;
        packet.write(network.l3 + offset_of!(Ipv4Hdr, dst_addr), network.source.v4_octets())?;
        let at = network.l3 + offset_of!(Ipv4Hdr, ttl);
        let old: [u8; 2] = packet.read(at)?;
        let new = [HOPS, old[1]];
        packet.write(at, new)?;
        let delta = Delta::NONE.bytes(&old, &new);
        rewrite::update_checksum(packet, network.l3 + offset_of!(Ipv4Hdr, check), delta)
    } else {
        packet.write(network.l3 + offset_of!(Ipv6Hdr, src_addr), network.destination.bytes)?;
        packet.write(network.l3 + offset_of!(Ipv6Hdr, dst_addr), network.source.bytes)?;
        let at = network.l3 + offset_of!(Ipv6Hdr, next_hdr);
        let [next, _]: [u8; 2] = packet.read(at)?;
        packet.write(at, [next, HOPS])
    }
}
