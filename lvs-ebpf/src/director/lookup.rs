//! From addresses and ports to what the agent has configured for them.

use core::mem::offset_of;

use lvs_common::address::{Address, Halves};
use lvs_common::cause::Cause;
use lvs_common::destination::Destination;
use lvs_common::service::{MEMBERS_PER_CHUNK, Member, MemberChunk, Service, ServiceLine, line_places};
use lvs_common::settings::{Settings, flags};
use lvs_ebpf::packet::{Bytes as _, Packet};
use network_types::eth::EthHdr;

use crate::maps::{DESTINATIONS, INTERFACES, MEMBERS, SERVICE_LINES, SETTINGS, VIPS};

#[inline(always)]
pub(crate) fn settings() -> Result<&'static Settings, Cause> {
    SETTINGS.get(0).ok_or(Cause::Inconsistent)
}

/// The service on this very port, else the one on all ports.
#[inline(always)]
pub(crate) fn service(address: Halves, port: u16, protocol: u8) -> Option<&'static Service> {
    if let Some(service) = service_on(address, port, protocol) {
        return Some(service);
    }
    if settings().ok()?.flags & flags::ANY_PORT == 0 {
        return None;
    }
    service_on(address, 0, protocol)
}

#[inline(always)]
fn service_on(address: Halves, port: u16, protocol: u8) -> Option<&'static Service> {
    let wanted = port as u32 | (protocol as u32) << 16 | 1 << 24;
    let [first, second, third] = line_places(address, port, protocol);
    let line = SERVICE_LINES.get_value(0, &first)?;
    if is_line_of(line, address, wanted) {
        return Some(&line.service);
    }
    if line.displaced == 0 {
        return None;
    }
    for place in [second, third] {
        let line = SERVICE_LINES.get_value(0, &place)?;
        if is_line_of(line, address, wanted) {
            return Some(&line.service);
        }
    }
    None
}

#[inline(always)]
fn is_line_of(line: &ServiceLine, address: Halves, wanted: u32) -> bool {
    let end = line.port as u32 | (line.protocol as u32) << 16 | (line.taken as u32) << 24;
    end == wanted && line.address.halves() == address
}

/// Whether the frame is addressed to the interface it came in by. A switch floods frames whose place it
/// does not know; what is balanced all the same must not be routed twice.
#[inline(always)]
pub(crate) fn is_for_us(packet: &Packet) -> bool {
    // SAFETY: the agent replaces values whole; a reader keeps the old one until it is done.
    let Some(interface) = (unsafe { INTERFACES.get(&packet.ingress()) }) else { return true };
    packet.read::<[u8; 6]>(offset_of!(EthHdr, dst_addr)).is_ok_and(|mac| mac == interface.mac)
}

#[inline(always)]
pub(crate) fn is_vip(address: &Address) -> bool {
    // SAFETY: the agent replaces values whole; a reader keeps the old one until it is done.
    unsafe { VIPS.get(address) }.is_some()
}

/// Sixteen members of a service: those from position `chunk * 16` on.
#[inline(always)]
pub(crate) fn member_chunk(service: &Service, chunk: u32) -> Option<&'static MemberChunk> {
    MEMBERS.get(service.members + chunk)
}

#[inline(always)]
pub(crate) fn member(service: &Service, position: u16) -> Option<Member> {
    // Also finds out who stands for nobody.
    if position as u32 >= service.member_count {
        return None;
    }
    let chunk = member_chunk(service, position as u32 / MEMBERS_PER_CHUNK as u32)?;
    let member = chunk.members[position as usize % MEMBERS_PER_CHUNK];
    (member.destination != Member::NO_DESTINATION).then_some(member)
}

#[inline(always)]
pub(crate) fn destination(index: u32) -> Option<&'static Destination> {
    DESTINATIONS.get(index)
}
