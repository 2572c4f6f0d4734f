//! A TCP reset to the sender of a packet, in the name of a real server that cannot send it any more.

use lvs_common::cause::Cause;
use lvs_common::checksum;
use lvs_common::service::protocol;
use lvs_common::tcp_state::tcp_flags::{ACK, FIN, RST, SYN};
use lvs_ebpf::packet::{Bytes as _, OutOfBounds, Packet};
use lvs_ebpf::parse::{Fragment, IPV4, IPV6, Network};

use super::Header;
use crate::lookup;
use crate::maps::RESET_BUDGET;

/// A TCP header without options.
const TCP: usize = 20;
/// Its length in words, where the header has it.
const DATA_OFFSET: u8 = ((TCP / 4) << 4) as u8;

/// What of the packet the reset has to know.
struct Segment {
    ports: [u8; 4],
    sequence: u32,
    acknowledged: [u8; 4],
    header_length: usize,
    flags: u8,
}

/// Turns the packet into a reset to its sender, if it is a segment that may be answered by one.
#[inline(always)]
pub(super) fn send(packet: &Packet, network: &Network) -> Cause {
    if network.protocol != protocol::TCP || network.fragment == Fragment::Later {
        return Cause::ServerDown;
    }
    let Ok(segment) = read(packet, network) else { return Cause::Malformed };
    // Never about a reset (RFC 9293 section 3.10.7.1). Of a first fragment the segment's length is unknown.
    let has_length = segment.flags & ACK != 0 || network.fragment == Fragment::Whole;
    if segment.flags & RST != 0 || !has_length || !within_budget() {
        return Cause::ServerDown;
    }
    match build(packet, network, &segment) {
        Ok(()) => Cause::Reset,
        Err(cause) => cause,
    }
}

/// Many: a server that goes down has all its clients told within seconds. A reset is no longer than what it
/// answers, so a flood is not made larger; but it is bounded.
#[inline(always)]
fn within_budget() -> bool {
    lookup::settings().is_ok_and(|settings| super::within(&RESET_BUDGET, settings.resets_per_second))
}

#[inline(always)]
fn read(packet: &Packet, network: &Network) -> Result<Segment, OutOfBounds> {
    let ports = packet.read(network.l4)?;
    let sequence: [u8; 4] = packet.read(network.l4 + 4)?;
    let acknowledged = packet.read(network.l4 + 8)?;
    let [offset, flags]: [u8; 2] = packet.read(network.l4 + 12)?;
    Ok(Segment {
        ports,
        sequence: u32::from_be_bytes(sequence),
        acknowledged,
        header_length: (offset >> 4) as usize * 4,
        flags,
    })
}

#[inline(always)]
fn build(packet: &Packet, network: &Network, segment: &Segment) -> Result<(), Cause> {
    let length = network.l3 + if network.is_v4 { IPV4 } else { IPV6 } + TCP;
    write(packet, network, segment).map_err(|_| Cause::Malformed)?;
    let excess = packet.length().wrapping_sub(length);
    if excess > 65_535 {
        return Err(Cause::Malformed);
    }
    if excess != 0 {
        packet.shrink_tail(excess).map_err(|_| Cause::NoRoom)?;
    }
    Ok(())
}

/// RFC 9293 section 3.5.2: where the segment acknowledges something the reset takes its place in the sequence
/// from it, else it acknowledges the segment.
#[inline(always)]
fn write(packet: &Packet, network: &Network, segment: &Segment) -> Result<(), OutOfBounds> {
    super::turn_link_header(packet)?;
    let header = Header { protocol: protocol::TCP, tos: 0, length: TCP };
    super::write_header(packet, network, header)?;
    let tcp = network.l3 + if network.is_v4 { IPV4 } else { IPV6 };
    let [a, b, c, d] = segment.ports;
    let (sequence, acknowledged, flags) = if segment.flags & ACK != 0 {
        (segment.acknowledged, [0; 4], RST)
    } else {
        ([0; 4], end(network, segment).to_be_bytes(), RST | ACK)
    };
    let mut sum = super::pseudo_header(network, protocol::TCP, TCP);
    sum = checksum::add_bytes(sum, &segment.ports);
    sum = checksum::add_bytes(sum, &sequence);
    sum = checksum::add_bytes(sum, &acknowledged);
    sum += u16::from_be_bytes([DATA_OFFSET, flags]) as u64;
    packet.write(tcp, [c, d, a, b])?;
    packet.write(tcp + 4, sequence)?;
    packet.write(tcp + 8, acknowledged)?;
    // No window, nothing urgent.
    packet.write(tcp + 12, [DATA_OFFSET, flags, 0, 0])?;
    let [high, low] = checksum::finish(sum).to_be_bytes();
    packet.write(tcp + 16, [high, low, 0, 0])
}

/// The number behind the segment: SYN and FIN count for one each (RFC 9293 section 3.4).
#[inline(always)]
fn end(network: &Network, segment: &Segment) -> u32 {
    let payload = (network.l3 + network.length).wrapping_sub(network.l4 + segment.header_length);
    let [syn, fin] = [SYN, FIN].map(|flag| (segment.flags & flag != 0) as u32);
    segment.sequence.wrapping_add(payload as u32).wrapping_add(syn + fin)
}
