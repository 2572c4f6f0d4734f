//! ICMP errors to the sender of a packet, made in place: the packet itself becomes the quotation.

use lvs_common::cause::Cause;
use lvs_common::checksum;
use lvs_common::service::protocol;
use lvs_ebpf::packet::{Bytes as _, OutOfBounds, Packet};
use lvs_ebpf::parse::{Fragment, IPV4, IPV6, Network};

use super::Header;
use crate::maps::ERROR_BUDGET;
use crate::{lookup, next_hop};

const ICMP: usize = 8;
/// Bytes of the packet that are quoted at the most: RFC 1812 section 4.3.2.3 wants up to 576 in all,
/// RFC 4443 section 2.4 as much as fits 1280.
const QUOTE: usize = 512;

/// Which error, by its type and code in both families.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    v4: [u8; 2],
    v6: [u8; 2],
}

impl Kind {
    /// As IPVS refuses when no destination can serve.
    pub(super) const PORT_UNREACHABLE: Self = Self { v4: [3, 3], v6: [1, 4] };
    /// "Fragmentation needed" (RFC 1191 section 4), "packet too big" (RFC 4443 section 3.2).
    pub(super) const TOO_BIG: Self = Self { v4: [3, 4], v6: [2, 0] };
    pub(super) const TIME_EXCEEDED: Self = Self { v4: [11, 0], v6: [3, 0] };

    /// The error a sender is told, if it is told of this cause.
    #[inline(always)]
    pub(super) const fn of(cause: Cause) -> Option<Self> {
        match cause {
            Cause::NoDestination => Some(Self::PORT_UNREACHABLE),
            Cause::TooBig => Some(Self::TOO_BIG),
            Cause::TimeExceeded => Some(Self::TIME_EXCEEDED),
            _ => None,
        }
    }

    /// The packet's fate when the error was sent, and when it could not be.
    #[inline(always)]
    fn causes(self) -> (Cause, Cause) {
        match self {
            Self::PORT_UNREACHABLE => (Cause::Refused, Cause::NoDestination),
            Self::TOO_BIG => (Cause::TooBigAnswered, Cause::TooBig),
            _ => (Cause::TimeExceededAnswered, Cause::TimeExceeded),
        }
    }
}

/// Turns the packet into an error to its sender. `mtu` is 0 but for [`Kind::TOO_BIG`].
#[inline(always)]
pub(super) fn send(packet: &Packet, network: &Network, kind: Kind, mtu: u32) -> Cause {
    let (sent, unsent) = kind.causes();
    // Never about an ICMP message or a later fragment (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
    let is_icmp = matches!(network.protocol, protocol::ICMP | protocol::ICMPV6);
    if is_icmp || network.fragment == Fragment::Later || !within_budget() {
        return unsent;
    }
    match build(packet, network, kind, mtu) {
        Ok(()) => sent,
        Err(cause) => cause,
    }
}

/// Errors are few: a flood must not be reflected (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).
#[inline(always)]
fn within_budget() -> bool {
    lookup::settings().is_ok_and(|settings| super::within(&ERROR_BUDGET, settings.errors_per_second))
}

#[inline(always)]
fn build(packet: &Packet, network: &Network, kind: Kind, mtu: u32) -> Result<(), Cause> {
    let quote = (if network.length > QUOTE { QUOTE } else { network.length }) & !3;
    let header_length = if network.is_v4 { IPV4 } else { IPV6 };
    let excess = packet.length().wrapping_sub(network.l3 + quote);
    if excess > 65_535 {
        return Err(Cause::Malformed);
    }
    if excess != 0 {
        packet.shrink_tail(excess).map_err(|_| Cause::NoRoom)?;
    }
    packet.grow_head(header_length + ICMP).map_err(|_| Cause::NoRoom)?;
    next_hop::move_link_header(packet, header_length + ICMP, network)?;
    write(packet, network, kind, mtu, quote).map_err(|_| Cause::Malformed)
}

/// Writes the link, network and ICMP headers around the quotation, and turns them to the sender.
#[inline(always)]
fn write(packet: &Packet, network: &Network, kind: Kind, mtu: u32, quote: usize) -> Result<(), OutOfBounds> {
    super::turn_link_header(packet)?;
    let icmp = network.l3 + if network.is_v4 { IPV4 } else { IPV6 };
    let [kind, code] = if network.is_v4 { kind.v4 } else { kind.v6 };
    let [a, b, c, d] = mtu.to_be_bytes();
    packet.write(icmp, [kind, code, 0, 0, a, b, c, d])?;
    let length = ICMP + quote;
    let mut sum = sum_words(packet, icmp, length / 4)?;
    let protocol = if network.is_v4 { protocol::ICMP } else { protocol::ICMPV6 };
    super::write_header(packet, network, Header { protocol, tos: TOS, length })?;
    if !network.is_v4 {
        // RFC 4443 section 2.3.
        sum += super::pseudo_header(network, protocol, length);
    }
    packet.write(icmp + 2, checksum::finish(sum).to_be_bytes())
}

/// One's complement sum of `words` 32-bit words; at most those of a quotation and its ICMP header.
#[inline(always)]
fn sum_words(packet: &Packet, at: usize, words: usize) -> Result<u64, OutOfBounds> {
    let mut sum = 0u64;
    for index in 0..(QUOTE + ICMP) / 4 {
        if index >= words {
            break;
        }
        let word: u32 = packet.read(at + index * 4)?;
        sum += word as u64;
    }
    // Summed in the machine's order: RFC 1071 section 2 (B) lets the result be swapped instead.
    Ok(u16::from_be(checksum::fold(sum)) as u64)
}

/// Precedence "internetwork control" (RFC 1812 section 4.3.2.5).
const TOS: u8 = 0xc0;
