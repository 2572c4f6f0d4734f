//! ICMP and ICMPv6: echo to a VIP, and errors about flows.

mod echo;
pub(crate) mod error;

use lvs_common::cause::Cause;
use lvs_common::service::protocol;
use lvs_ebpf::packet::{Bytes as _, Packet};
use lvs_ebpf::parse::Fragment;

use crate::scratch::Scratch;

use crate::lookup;

/// ICMP header, without what follows it.
pub(super) const HEADER: usize = 8;

/// What an error is about, as the stage answers it.
pub(crate) mod about {
    /// A packet of a service; its flow and service stand in the scratch value.
    pub(crate) const SERVICE: u32 = 1;
    /// Perhaps a packet to a real server, translated or not.
    pub(crate) const REPLY: u32 = 2;
}

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

#[inline(always)]
pub(crate) fn process(packet: &Packet, scratch: &mut Scratch) -> Result<u32, Cause> {
    let network = &scratch.network;
    if network.is_v4 != (network.protocol == protocol::ICMP) {
        return Err(Cause::NoService);
    }
    let unparsed = if lookup::is_vip(&network.destination) { Cause::Malformed } else { Cause::NoService };
    if network.l4 + HEADER > network.l3 + network.length {
        return Err(unparsed);
    }
    let [kind, _]: [u8; 2] = packet.read(network.l4).map_err(|_| unparsed)?;
    match classify(network.is_v4, kind) {
        Message::EchoRequest if lookup::is_vip(&network.destination) => {
            // The first fragment alone would be answered with a wrong checksum.
            if network.fragment != Fragment::Whole {
                return Err(Cause::FragmentBeforeFirst);
            }
            Err(echo::answer(packet, network))
        }
        Message::Error => error::process(packet, scratch),
        _ => Err(Cause::NoService),
    }
}
