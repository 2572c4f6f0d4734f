//! A packet for no service; it may be a real server's reply, or one to a health probe.

use lvs_common::cause::Cause;
use lvs_common::flow::FlowKey;
use lvs_common::service::service_flags;
use lvs_common::settings::{Settings, flags};
use lvs_ebpf::packet::Packet;
use lvs_ebpf::parse::Network;

use crate::connection::{self, Wanted};
use crate::scratch::Scratch;
use crate::{forward, lease, lookup, stages};

/// Settings without which no packet is anybody's reply.
pub(crate) const POSSIBLE: u32 = flags::NAT | flags::ANSWERS_ROUTED | flags::PROBES;

#[inline(always)]
pub(crate) fn process(packet: &Packet, scratch: &mut Scratch) -> Result<u32, Cause> {
    let settings = lookup::settings()?;
    if settings.flags & flags::PROBES != 0 {
        stages::probe(packet)?;
    }
    let (network, key) = (&scratch.network, &scratch.key);
    // A server reached by nat comes first: its packets must be translated before anything else.
    if settings.flags & flags::NAT != 0
        && let Some(found) = connection::find(&Wanted::answer(settings, key))
    {
        check_receiver(packet)?;
        return forward::nat::outbound(packet, network, key, &found);
    }
    route(packet, settings, network, key)
}

/// An answer of a server that answers by itself, or its ICMP error. `key` is its direction.
#[inline(always)]
pub(crate) fn route(
    packet: &Packet,
    settings: &Settings,
    network: &Network,
    key: &FlowKey,
) -> Result<u32, Cause> {
    if settings.flags & flags::ANSWERS_ROUTED == 0 {
        return Err(Cause::NoService);
    }
    let Some(service) = lookup::service(key.source.halves(), key.source_port, key.protocol) else {
        return Err(Cause::NoService);
    };
    if service.flags & service_flags::ANSWERS_ROUTED == 0 {
        return Err(Cause::NoService);
    }
    check_receiver(packet)?;
    lease::check(service.lease)?;
    forward::route(packet, network, key)
}

#[inline(always)]
fn check_receiver(packet: &Packet) -> Result<(), Cause> {
    if lookup::is_for_us(packet) { Ok(()) } else { Err(Cause::NotForUs) }
}
