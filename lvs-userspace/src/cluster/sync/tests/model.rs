//! Two tables without a kernel: the same rules, the simplest data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lvs_common::address::Address;
use lvs_common::adoption::{Adoption, action, outcome};
use lvs_common::connection::{ENTRIES_PER_BUCKET, Entry, flags};
use lvs_common::destination::{Destination, forward};
use lvs_common::service::{Service, ServiceKey, owner, protocol, scheduler, service_flags};
use lvs_common::settings::Settings;
use lvs_common::tcp_state::state;

use super::super::{Directory, Source, Target, to_ticks};
use crate::control::Snapshot;
use crate::dataplane::MapError;

/// Services of the plan, and destinations of each.
pub(super) const SERVICES: u32 = 3;
pub(super) const DESTINATIONS: u32 = 4;

pub(super) fn service_key(service: u32) -> ServiceKey {
    let protocol = if service == 2 { protocol::UDP } else { protocol::TCP };
    ServiceKey::new(IpAddr::from([10, 0, 0, service as u8]).into(), 80, protocol)
}

/// The number of the service that has this key.
pub(super) fn service_of(key: &ServiceKey) -> u32 {
    u32::from(key.address.v4_octets()[3])
}

/// The same plan with other indices: those of services begin at `service`, those of destinations at `destination`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Indices {
    pub(super) service: u32,
    pub(super) destination: u32,
    pub(super) generation: u32,
}

pub(super) const LEFT: Indices = Indices { service: 3, destination: 10, generation: 5 };
pub(super) const RIGHT: Indices = Indices { service: 40, destination: 100, generation: 2 };

impl Indices {
    pub(super) const fn destination_of(&self, service: u32, number: u32) -> u32 {
        self.destination + service * DESTINATIONS + number
    }

    /// A plan of the first `services` services.
    pub(super) fn snapshot(&self, services: u32) -> Snapshot {
        let mut snapshot = Snapshot { settings: Some(Settings::defaults()), ..Snapshot::default() };
        for number in 0..services {
            let service = Service {
                index: self.service + number,
                ring: Service::NO_RING,
                ring_slots: 1,
                members: 0,
                member_count: 0,
                scheduler: scheduler::LC,
                flags: service_flags::TRACKED,
                owner: owner::FILE,
                lease: 0,
            };
            snapshot.services.insert(service_key(number), service);
            for server in 0..DESTINATIONS {
                let destination = Destination {
                    next_hop: [0; 6],
                    port: 0,
                    source: [0; 6],
                    mtu: 0,
                    interface: 0,
                    generation: self.generation,
                    address: IpAddr::from([10, 0, 1, server as u8]).into(),
                    source_address: Address::UNSPECIFIED,
                    service: self.service + number,
                    forward: forward::DR,
                    flags: 0,
                    lease: 0,
                    reserved: 0,
                };
                snapshot.destinations.insert(self.destination_of(number, server), destination);
            }
        }
        snapshot
    }

    /// Of a director that is active for `mine`.
    pub(super) fn directory(&self, mine: impl Fn(u32) -> bool) -> Directory {
        self.directory_of(SERVICES, mine)
    }

    pub(super) fn directory_of(&self, services: u32, mine: impl Fn(u32) -> bool) -> Directory {
        Directory::of(&self.snapshot(services), |key| mine(service_of(key)))
    }
}

/// What both directors should agree on: client, ports, service, destination; state and whether it is embryonic.
type Flow = (Address, u16, u16, u32, u32);
type Life = (u8, bool);

/// A table of entries, and the indices they are written in.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) indices: Indices,
    pub(super) entries: Vec<Option<Entry>>,
    versions: Vec<u16>,
    pub(super) marked: BTreeSet<u32>,
    /// All servers are nat's, who could not tell two connections of one client's port apart.
    pub(super) is_nat: bool,
    random: u64,
}

impl Table {
    pub(super) fn new(indices: Indices, buckets: u32, seed: u64) -> Self {
        let places = buckets as usize * ENTRIES_PER_BUCKET;
        Self {
            indices,
            entries: vec![None; places],
            versions: vec![0; places],
            marked: BTreeSet::new(),
            is_nat: false,
            random: seed,
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below
    }

    fn mark(&mut self, place: usize) {
        self.marked.insert((place / ENTRIES_PER_BUCKET) as u32);
    }

    /// A free place, wherever; `None` when a few tries have found none.
    fn free(&mut self) -> Option<usize> {
        (0..self.entries.len() * 4).find_map(|_| {
            let place = self.random(self.entries.len());
            self.entries[place].is_none().then_some(place)
        })
    }

    fn place_of(&self, wanted: &Entry) -> Option<usize> {
        let same = |entry: &Entry| {
            (entry.client, entry.client_port, entry.virtual_port, entry.service)
                == (wanted.client, wanted.client_port, wanted.virtual_port, wanted.service)
        };
        self.entries.iter().position(|entry| entry.as_ref().is_some_and(same))
    }

    fn store(&mut self, mut entry: Entry) -> Option<usize> {
        let place = self.free()?;
        entry.version = self.versions[place];
        self.entries[place] = Some(entry);
        self.mark(place);
        Some(place)
    }

    fn retire(&mut self, place: usize) {
        if self.entries[place].take().is_some() {
            self.versions[place] = self.versions[place].wrapping_add(1);
            self.mark(place);
        }
    }

    /// A connection of `client` begins, if there is room; one of the same client ends.
    pub(super) fn begin(&mut self, now: Duration, client: u16, service: u32, destination: u32) {
        let udp = if service == 2 { flags::UDP } else { 0 };
        let entry = Entry {
            last_seen: to_ticks(now),
            version: 0,
            state: if udp == 0 { state::SYN_RECEIVED } else { state::UDP } as u8,
            flags: flags::EMBRYONIC | flags::COUNTED | udp,
            client: if client.is_multiple_of(2) {
                IpAddr::from([10, 1, (client >> 8) as u8, client as u8]).into()
            } else {
                IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, client]).into()
            },
            client_port: 1024 + client,
            virtual_port: if client.is_multiple_of(3) { 8080 } else { 80 },
            service: self.indices.service + service,
            destination: self.indices.destination_of(service, destination),
            generation: self.indices.generation,
            sequence: 0,
            displaced: 0,
        };
        if let Some(place) = self.place_of(&entry) {
            self.retire(place);
        }
        self.store(entry);
    }

    /// Something happens to an entry: it goes on, changes its state, or ends.
    pub(super) fn live(&mut self, now: Duration) {
        let place = self.random(self.entries.len());
        let what = self.random(8);
        let Some(entry) = &mut self.entries[place] else { return };
        entry.last_seen = to_ticks(now);
        match what {
            0 => self.retire(place),
            1 => {
                entry.state = state::FIN_WAIT as u8;
                self.mark(place);
            }
            2..=4 => {
                entry.state =
                    if entry.flags & flags::UDP == 0 { state::ESTABLISHED } else { state::UDP } as u8;
                entry.flags &= !flags::EMBRYONIC;
                self.mark(place);
            }
            // Packets alone mark nothing.
            _ => {}
        }
    }

    pub(super) fn touch_all(&mut self, now: Duration) {
        self.entries.iter_mut().flatten().for_each(|entry| entry.last_seen = to_ticks(now));
    }

    /// Retires what is idle for too long.
    pub(super) fn age(&mut self, now: Duration) {
        let timeouts = Settings::defaults().timeouts;
        for place in 0..self.entries.len() {
            let Some(entry) = self.entries[place] else { continue };
            let idle = to_ticks(now).wrapping_sub(entry.last_seen).cast_signed();
            if idle > timeouts[entry.state as usize].cast_signed() {
                self.retire(place);
            }
        }
    }

    /// Every connection, in terms that mean the same in both tables.
    pub(super) fn flows(&self) -> BTreeMap<Flow, Life> {
        let flows = self.entries.iter().flatten().map(|entry| {
            let service = entry.service - self.indices.service;
            let destination = entry.destination - self.indices.destination;
            let flow = (entry.client, entry.client_port, entry.virtual_port, service, destination);
            (flow, (entry.state, entry.flags & flags::EMBRYONIC != 0))
        });
        flows.collect()
    }
}

impl Source for Table {
    fn read(&self, bucket: u32) -> Option<[Option<Entry>; ENTRIES_PER_BUCKET]> {
        self.entries[bucket as usize * ENTRIES_PER_BUCKET..][..ENTRIES_PER_BUCKET].try_into().ok()
    }
}

impl Target for Table {
    fn places(&self) -> u32 {
        self.entries.len() as u32
    }

    fn entry(&self, place: u32) -> Option<Entry> {
        self.entries[place as usize]
    }

    fn apply(&mut self, records: &mut [Adoption]) -> Result<(), MapError> {
        for record in records {
            match record.action {
                action::HOLD => self.hold(record),
                action::DROP => {
                    let place = record.place as usize;
                    let stands = self.entries[place].is_some_and(|entry| entry.version == record.version);
                    record.outcome = if stands { outcome::REMOVED } else { outcome::ABSENT };
                    if stands {
                        self.retire(place);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Table {
    fn hold(&mut self, record: &mut Adoption) {
        if record.generation != self.indices.generation {
            record.outcome = outcome::UNKNOWN_DESTINATION;
            return;
        }
        let wanted = Entry {
            last_seen: record.last_seen,
            version: 0,
            state: record.state,
            flags: record.flags,
            client: record.client,
            client_port: record.client_port,
            virtual_port: record.virtual_port,
            service: record.service,
            destination: record.destination,
            generation: record.generation,
            sequence: 0,
            displaced: 0,
        };
        let mut place = self.place_of(&wanted);
        let begins = record.flags & flags::EMBRYONIC;
        if let Some(former) = place
            && let Some(entry) = self.entries[former]
            && (entry.destination != record.destination || begins & !entry.flags != 0)
        {
            self.retire(former);
            place = None;
        }
        if let Some(place) = place {
            self.entries[place] = Some(Entry { version: self.versions[place], ..wanted });
            record.outcome = outcome::UPDATED;
            (record.place, record.version) = (place as u32, self.versions[place]);
        } else if self.is_nat && self.entries.iter().flatten().any(|entry| is_alike(entry, &wanted)) {
            record.outcome = outcome::REFUSED;
        } else if let Some(place) = self.store(wanted) {
            record.outcome = outcome::INSERTED;
            (record.place, record.version) = (place as u32, self.versions[place]);
        } else {
            record.outcome = outcome::FULL;
        }
    }
}

fn is_alike(one: &Entry, other: &Entry) -> bool {
    let seen = |entry: &Entry| (entry.client, entry.client_port, entry.destination);
    seen(one) == seen(other)
}
