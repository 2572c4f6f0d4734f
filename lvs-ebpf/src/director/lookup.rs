//! From addresses and ports to what the agent has configured for them.

use core::mem::offset_of;

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::destination::Destination;
use lvs_common::service::{MEMBERS_PER_CHUNK, Member, MemberChunk, Service, ServiceKey, Source};
use lvs_common::settings::Settings;
use lvs_ebpf::packet::Packet;
use network_types::eth::EthHdr;

use crate::maps::{DESTINATIONS, INTERFACES, MEMBERS, SERVICES, SETTINGS, SOURCES, VIPS};

#[inline(always)]
pub(crate) fn settings() -> Result<&'static Settings, Cause> {
    SETTINGS.get(0).ok_or(Cause::Inconsistent)
}

/// The service on this very port, else the one on all ports. `key` is room for the key.
#[inline(always)]
pub(crate) fn service(
    key: &mut ServiceKey,
    address: &Address,
    port: u16,
    protocol: u8,
) -> Option<&'static Service> {
    *key = ServiceKey::new(*address, port, protocol);
    // SAFETY: the agent replaces values whole; a reader keeps the old one until it is done.
    if let Some(service) = unsafe { SERVICES.get(&*key) } {
        return Some(service);
    }
    key.port = 0;
    // SAFETY: as above.
    unsafe { SERVICES.get(&*key) }
}

/// Why packets from this address and port concern the director, if they do.
#[inline(always)]
pub(crate) fn source(
    key: &mut ServiceKey,
    address: &Address,
    port: u16,
    protocol: u8,
) -> Option<&'static Source> {
    *key = ServiceKey::new(*address, port, protocol);
    // SAFETY: as in `service`.
    if let Some(source) = unsafe { SOURCES.get(&*key) } {
        return Some(source);
    }
    key.port = 0;
    // SAFETY: as in `service`.
    unsafe { SOURCES.get(&*key) }
}

/// Whether the frame is addressed to the interface it came in by. A switch floods frames whose place it
/// does not know; what is balanced all the same must not be routed twice.
#[inline(always)]
pub(crate) fn is_for_us(packet: &Packet) -> bool {
    // SAFETY: as in `service`.
    let Some(interface) = (unsafe { INTERFACES.get(&packet.ingress()) }) else { return true };
    packet.read::<[u8; 6]>(offset_of!(EthHdr, dst_addr)).is_ok_and(|mac| mac == interface.mac)
}

#[inline(always)]
pub(crate) fn is_vip(address: &Address) -> bool {
    // SAFETY: as in `service`.
    unsafe { VIPS.get(address) }.is_some()
}

/// Sixteen members of a service: those from position `chunk * 16` on.
#[inline(always)]
pub(crate) fn member_chunk(service: &Service, chunk: u32) -> Option<&'static MemberChunk> {
    MEMBERS.get(service.members + chunk)
}

#[inline(always)]
pub(crate) fn member(service: &Service, position: u16) -> Option<Member> {
    let chunk = member_chunk(service, position as u32 / MEMBERS_PER_CHUNK as u32)?;
    let member = chunk.members[position as usize % MEMBERS_PER_CHUNK];
    (member.destination != Member::NO_DESTINATION).then_some(member)
}

#[inline(always)]
pub(crate) fn destination(index: u32) -> Option<&'static Destination> {
    DESTINATIONS.get(index)
}
