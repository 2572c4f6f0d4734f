//! What is written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lvs_common::address::Address;
use lvs_common::destination::{Destination, destination_flags, forward};
use lvs_common::lease::GroupAddress;
use lvs_common::limits;
use lvs_common::ring::Slot;
use lvs_common::service::{Member, MemberChunk, Service, ServiceKey, Vip, owner, protocol, scheduler};
use lvs_common::settings::Settings;
use lvs_userspace::control::command::{Command, Snapshot};

use crate::lab::{BUCKETS, SMALL};

pub(crate) fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

pub(crate) fn destination(generation: u32) -> Destination {
    Destination {
        next_hop: [2, 0, 0, 0, 0, 7],
        port: 8080,
        source: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        interface: 1,
        generation,
        address: address("192.168.1.2"),
        source_address: address("10.0.0.3"),
        service: 0,
        forward: forward::NAT,
        flags: destination_flags::NEXT_HOP_KNOWN,
        lease: 0,
        reserved: 0,
    }
}

/// What a plan's commands should leave in the kernel.
pub(crate) fn plan() -> (Vec<Command>, Snapshot) {
    let key = ServiceKey::new(address("10.0.0.3"), 80, protocol::TCP);
    let other = ServiceKey::new(address("2001:db8::3"), 53, protocol::UDP);
    let mut members = [Member::FREE; 16];
    members[0] = Member { destination: 3, weight: 2 };
    let chunk = MemberChunk { members };
    let ring: Vec<Slot> = (0..limits::RING_SIZES[2]).map(|slot| Slot::single((slot % 18) as u16)).collect();
    let sequence = vec![Slot::single(0)];
    let service = |index, ring, ring_slots, member_count| Service {
        index,
        ring,
        ring_slots,
        members: 2,
        member_count,
        scheduler: scheduler::MH,
        flags: 0,
        owner: owner::FILE,
        lease: 0,
    };
    // The seed is the data plane's own.
    let settings = Settings {
        embryonic_slots: 1024,
        buckets: BUCKETS,
        connections: SMALL.connections,
        ..Settings::defaults()
    };
    let snapshot = Snapshot {
        settings: Some(settings),
        group_addresses: BTreeMap::from([(key.address, GroupAddress { lease: 2 })]),
        services: BTreeMap::from([(key, service(0, 5, ring.len() as u32, 18)), (other, service(1, 0, 1, 1))]),
        vips: BTreeMap::from([(key.address, Vip { services: 1 }), (other.address, Vip { services: 1 })]),
        members: BTreeMap::from([(2, chunk), (3, chunk)]),
        destinations: BTreeMap::from([(3, destination(1)), (63, destination(7))]),
        rings: BTreeMap::from([(5, ring), (0, sequence)]),
    };
    // The sizes that the configuration wanted; the maps' own are what must arrive.
    let wanted = Settings { embryonic_slots: 1, buckets: 1, connections: 1, ..settings };
    let mut commands = vec![Command::SetSettings(wanted)];
    let of = &snapshot;
    let groups = of.group_addresses.iter();
    commands.extend(groups.map(|(at, value)| Command::SetGroupAddress { address: *at, value: *value }));
    commands.extend(of.destinations.keys().map(|index| Command::ZeroDestination { index: *index }));
    let destinations = of.destinations.iter();
    commands.extend(destinations.map(|(i, value)| Command::SetDestination { index: *i, value: *value }));
    commands.extend(of.members.iter().map(|(i, value)| Command::SetMembers { chunk: *i, value: *value }));
    let rings = of.rings.iter();
    commands.extend(rings.map(|(ring, slots)| Command::SetRing { ring: *ring, slots: slots.clone() }));
    commands.extend(of.vips.iter().map(|(at, value)| Command::SetVip { address: *at, value: *value }));
    commands.extend(of.services.iter().map(|(key, value)| Command::SetService { key: *key, value: *value }));
    (commands, snapshot)
}

/// A service that reads ring `ring` and has no members.
pub(crate) fn service_on_ring(ring: u32) -> Command {
    let value = Service {
        index: ring,
        ring,
        ring_slots: 4093,
        members: 0,
        member_count: 0,
        scheduler: scheduler::MH,
        flags: 0,
        owner: owner::FILE,
        lease: 0,
    };
    Command::SetService { key: ServiceKey::new(address("10.0.0.3"), ring as u16 + 1, protocol::TCP), value }
}

/// The service of address `number / 4`, on one of four ports.
pub(crate) fn numbered(number: u32) -> (ServiceKey, Service) {
    let address = Address::from_v4((0x0a00_0000 + number / 4).to_be_bytes());
    let key = ServiceKey::new(address, [80, 443, 53, 0][number as usize % 4], protocol::TCP);
    let Command::SetService { value, .. } = service_on_ring(number) else { unreachable!() };
    (key, Service { member_count: number, ..value })
}
