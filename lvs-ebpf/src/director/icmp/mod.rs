//! ICMP and ICMPv6: echo to a VIP, and errors about flows.

mod echo;
mod error;

use lvs_common::cause::Cause;
use lvs_common::service::protocol;
use lvs_ebpf::packet::Packet;
use lvs_ebpf::parse::{Fragment, Network};

use crate::{Action, lookup};

/// ICMP header, without what follows it.
pub(super) const HEADER: usize = 8;

enum Message {
    EchoRequest,
    Error,
    Other,
}

const fn classify(is_v4: bool, kind: u8) -> Message {
    match (is_v4, kind) {
        (true, 8) | (false, 128) => Message::EchoRequest,
        // Destination unreachable, time exceeded, parameter problem; packet too big.
        (true, 3 | 11 | 12) | (false, 1..=4) => Message::Error,
        _ => Message::Other,
    }
}

#[inline(never)]
pub(crate) fn process(packet: &Packet, network: &Network) -> Result<Action, Cause> {
    if network.is_v4 != (network.protocol == protocol::ICMP) {
        return Err(Cause::NoService);
    }
    let unparsed = if lookup::is_vip(&network.destination) { Cause::Malformed } else { Cause::NoService };
    let kind: u8 = packet.read(network.l4).map_err(|_| unparsed)?;
    match classify(network.is_v4, kind) {
        Message::EchoRequest if lookup::is_vip(&network.destination) => {
            // The first fragment alone would be answered with a wrong checksum.
            if network.fragment != Fragment::Whole {
                return Err(Cause::FragmentBeforeFirst);
            }
            Err(echo::answer(packet, network))
        }
        Message::Error => error::process(packet, network),
        _ => Err(Cause::NoService),
    }
}
