//! A packet for no service; it may be a real server's reply.

use lvs_common::cause::Cause;
use lvs_common::service::source_role;
use lvs_common::settings::flags;
use lvs_ebpf::packet::Packet;

use crate::scratch::Scratch;
use crate::{forward, lookup};

#[inline(always)]
pub(crate) fn process(packet: &Packet, scratch: &mut Scratch) -> Result<u32, Cause> {
    if lookup::settings()?.flags & flags::SOURCES == 0 {
        return Err(Cause::NoService);
    }
    let (network, key) = (&scratch.network, &scratch.key);
    let Some(source) = lookup::source(&mut scratch.endpoint, &key.source, key.source_port, key.protocol)
    else {
        return Err(Cause::NoService);
    };
    if !lookup::is_for_us(packet) {
        return Err(Cause::NotForUs);
    }
    if source.role == source_role::NAT_SERVER {
        forward::nat::outbound(packet, network, key)
    } else {
        forward::route(packet, network, key)
    }
}
