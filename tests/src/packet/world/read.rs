//! What the maps hold, read back.

use std::net::IpAddr;

use aya::maps::{Array, Map, MapData};
use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::connection::{Connection, TableState, flags};
use lvs_common::counters::Counters;
use lvs_common::destination::{Load, destination_flags};
use lvs_common::flow::FlowKey;
use lvs_common::names;
use lvs_common::ring::Slot;
use lvs_common::service::{MEMBERS_PER_CHUNK, Service, ServiceKey};
use lvs_userspace::control::Snapshot;

use super::World;
use crate::packet::frame::address;

impl World {
    /// What the maps hold, read back.
    pub fn snapshot(&self) -> Snapshot {
        self.dataplane().snapshot().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn read_causes(&self) -> Vec<(Cause, u64)> {
        self.dataplane().readback().causes().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn read_counters(&self) -> Vec<Counters> {
        let all = 0..self.destinations;
        self.dataplane().readback().counters(all).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Active and inactive connections of the destination at `index`.
    pub fn load(&self, index: u32) -> Load {
        let loads = self.dataplane().readback().loads(index..index + 1);
        loads.unwrap_or_else(|error| panic!("{error}"))[0]
    }

    /// Every connection: its key, itself, and whether it is embryonic.
    pub fn connections(&self) -> Vec<(FlowKey, Connection, bool)> {
        let readback = self.dataplane().readback();
        let batches = readback.connections().unwrap_or_else(|error| panic!("{error}"));
        let entries = batches.flat_map(|batch| batch.unwrap_or_else(|error| panic!("{error}")));
        entries.map(|entry| (entry.key, entry.connection, entry.embryonic)).collect()
    }

    /// The only connection.
    pub fn connection(&self) -> (Connection, bool) {
        match self.connections().as_slice() {
            [(_, connection, embryonic)] => (*connection, *embryonic),
            others => panic!("one connection expected, found {others:?}"),
        }
    }

    /// The directions real server -> client that are translated back, and what the client dialled.
    pub fn returns(&self) -> Vec<(FlowKey, (Address, u16))> {
        let destinations = self.snapshot().destinations;
        let translated = self.connections().into_iter().filter(|(_, one, _)| one.flags & flags::NAT != 0);
        let back = translated.map(|(key, one, _)| {
            let server = &destinations[&one.destination];
            let port = if server.port == 0 { key.destination_port } else { server.port };
            let back = FlowKey::new(server.address, port, key.source, key.source_port, key.protocol);
            (back, (key.destination, key.destination_port))
        });
        back.collect()
    }

    /// The installed service.
    pub fn service(&self, vip: &str, port: u16, protocol: u8) -> Service {
        let key = ServiceKey::new(Address::from(address(vip)), port, protocol);
        *self.snapshot().services.get(&key).unwrap_or_else(|| panic!("no service {key:?}"))
    }

    /// The index in DESTINATIONS of the destination in service that has this address.
    pub fn destination(&self, text: &str) -> u32 {
        let wanted = Address::from(address(text));
        let found = self.snapshot().destinations.into_iter().find(|(_, destination)| {
            destination.address == wanted && !destination.has(destination_flags::REMOVED)
        });
        found.unwrap_or_else(|| panic!("no destination {text}")).0
    }

    /// The slots of a service's ring.
    pub fn ring(&self, service: &Service) -> Vec<Slot> {
        self.snapshot().rings.remove(&service.ring).unwrap_or_else(|| panic!("no ring {}", service.ring))
    }

    /// The address of the real server at a position.
    pub fn member(&self, service: &Service, position: u16) -> IpAddr {
        let snapshot = self.snapshot();
        let chunk = service.members + u32::from(position) / MEMBERS_PER_CHUNK as u32;
        let member = snapshot.members[&chunk].members[usize::from(position) % MEMBERS_PER_CHUNK];
        IpAddr::from(snapshot.destinations[&member.destination].address)
    }

    /// What the program has counted of its table.
    pub fn table(&self) -> TableState {
        let path = self.pins().join(names::TABLE);
        let map = MapData::from_pin(path).unwrap_or_else(|error| panic!("{error}"));
        let map: Array<_, TableState> =
            Map::from_map_data(map).and_then(Array::try_from).unwrap_or_else(|error| panic!("{error}"));
        map.get(&0, 0).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Packets from clients and from real servers that were sent on, over all destinations.
    pub fn packets(&self) -> u64 {
        self.read_counters().iter().map(|one| one.packets_in + one.packets_out).sum()
    }

    /// How often this cause was counted.
    pub fn counted(&self, cause: Cause) -> u64 {
        self.read_causes().iter().filter(|(one, _)| *one == cause).map(|(_, count)| count).sum()
    }
}
