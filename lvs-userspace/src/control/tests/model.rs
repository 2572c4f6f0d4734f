//! A kernel that checks itself after every command.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lvs_common::address::Address;
use lvs_common::destination::{
    destination_flags::{REMOVED, RESETS},
    forward,
};
use lvs_common::ring::Slot;
use lvs_common::service::{MEMBERS_PER_CHUNK, Member, Service, ServiceKey, service_flags};
use lvs_common::settings::flags;

use crate::config::model::Config;
use crate::control::command::{Command, Snapshot};
use crate::control::mirror::{hashed_ring, region_of, ring_of};
use crate::control::plan::{Plan, Server};
use crate::control::rings::Class;

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub snapshot: Snapshot,
    /// Who an index belonged to in each of its lives.
    owners: BTreeMap<(u32, u32), (u32, Server)>,
    /// Which service had it seated.
    services: BTreeMap<(u32, u32), ServiceKey>,
    /// Each service's ring and seats after the last command.
    former: BTreeMap<ServiceKey, (Option<u32>, Vec<Option<u32>>)>,
    /// Positions each ring names.
    named: BTreeMap<u32, BTreeSet<u16>>,
    /// What has needed a lease and will go on needing one.
    fenced: (BTreeSet<Address>, BTreeSet<ServiceKey>),
}

impl Model {
    pub(super) fn apply(&mut self, command: &Command) {
        self.snapshot.apply(command);
        match command {
            Command::SetDestination { index, value } => {
                let owner = (value.service, Server::of(value));
                let former = self.owners.insert((*index, value.generation), owner);
                assert!(value.generation > 0, "{command:?}");
                assert!(former.is_none_or(|former| former == owner), "{command:?} belonged to {former:?}");
            }
            Command::SetRing { ring, slots } => {
                let positions = slots.iter().flat_map(|slot| [slot.current(), slot.base()]);
                self.named.insert(*ring, positions.filter(|position| *position != Slot::NOBODY).collect());
            }
            Command::DeleteRing { ring } => drop(self.named.remove(ring)),
            _ => {}
        }
        self.check(command);
        self.remember(command);
    }

    /// Seats and lives of destinations, compared with what they were before.
    fn remember(&mut self, after: &Command) {
        let mut now = BTreeMap::new();
        for (key, service) in &self.snapshot.services {
            let seats: Vec<Option<u32>> =
                self.seats(service).into_iter().map(|seat| Some(seat?.destination)).collect();
            for index in seats.iter().flatten() {
                let life = (*index, self.snapshot.destinations[index].generation);
                let former = self.services.insert(life, *key);
                assert!(former.is_none_or(|former| former == *key), "{life:?} of {former:?} after {after:?}");
            }
            let ring = ring_of(service);
            if let (Some(number), Some((former_ring, former))) = (ring, self.former.get(key))
                && *former_ring == ring
                && !matches!(after, Command::SetRing { ring, .. } if *ring == number)
            {
                for position in self.named[&number].iter().map(|position| usize::from(*position)) {
                    assert_eq!(former[position], seats[position], "position {position} after {after:?}");
                }
            }
            now.insert(*key, (ring, seats));
        }
        self.former = now;
    }

    /// From now on `config` is what is wanted.
    pub(super) fn expect(&mut self, config: &Config) {
        let mut plan = Plan::default();
        plan.replace_file(config);
        let is_wanted = |address: &Address| plan.group_addresses.contains_key(address);
        let addresses = self.snapshot.group_addresses.keys().filter(|address| is_wanted(address));
        let services = self.snapshot.services.iter().filter(|(key, service)| {
            service.lease != 0 && is_wanted(&key.address) && plan.services.contains_key(*key)
        });
        self.fenced = (addresses.copied().collect(), services.map(|(key, _)| *key).collect());
    }

    /// A lease is asked for wherever it is heeded, and never left out on the way from one plan to another.
    fn leases_are_kept(&self, after: &Command) {
        let snapshot = &self.snapshot;
        let asked = snapshot.settings.is_some_and(|settings| settings.flags & flags::LEASES != 0);
        for (key, service) in snapshot.services.iter().filter(|(_, service)| service.lease != 0) {
            assert!(snapshot.group_addresses.contains_key(&key.address), "{service:?} after {after:?}");
        }
        assert!(asked || snapshot.group_addresses.is_empty(), "nobody asks for leases after {after:?}");
        let (addresses, services) = &self.fenced;
        for address in addresses {
            assert!(snapshot.group_addresses.contains_key(address), "{address:?} is free after {after:?}");
        }
        for key in services {
            let service = snapshot.services.get(key);
            assert!(service.is_none_or(|service| service.lease != 0), "{key:?} is free after {after:?}");
        }
    }

    /// Begins with what another kernel holds.
    pub(super) fn adopt(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
    }

    pub(super) fn apply_all(&mut self, commands: &[Command]) {
        for command in commands {
            self.apply(command);
        }
    }

    /// Destination per position.
    pub(super) fn seats(&self, service: &Service) -> Vec<Option<Member>> {
        (0..service.member_count as usize)
            .map(|position| {
                let chunk =
                    &self.snapshot.members[&(service.members + (position / MEMBERS_PER_CHUNK) as u32)];
                let member = chunk.members[position % MEMBERS_PER_CHUNK];
                (member.destination != Member::NO_DESTINATION).then_some(member)
            })
            .collect()
    }

    /// The answers of every server that may get a packet are recognised, and have a VIP to leave from.
    pub(super) fn heeds_its_services(&self) {
        let settings = self.snapshot.settings.map_or(0, |settings| settings.flags);
        for (key, service) in &self.snapshot.services {
            let seats = self.seats(service);
            let servers: Vec<_> =
                seats.iter().flatten().map(|seat| self.snapshot.destinations[&seat.destination]).collect();
            let (nat, _) = answers(servers.iter().map(|server| server.forward));
            let routed = service.flags & service_flags::ANSWERS_ROUTED != 0;
            let needed = flags_for(key, nat, routed);
            assert_eq!(settings & needed, needed, "settings lack a flag for {key:?}");
            for server in servers.iter().filter(|server| server.forward == forward::NAT) {
                assert_eq!(server.source_address, key.address, "answers from another address");
            }
        }
    }

    fn check(&self, after: &Command) {
        self.heeds_its_services();
        self.leases_are_kept(after);
        let (mut destinations, mut chunks, mut indices) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (key, service) in &self.snapshot.services {
            assert!(indices.insert(service.index), "two services have one index after {after:?}");
            assert!(self.snapshot.vips.contains_key(&key.address), "no VIP after {after:?}");
            let region = region_of(service);
            for chunk in region.first..region.first + region.chunks {
                assert!(chunks.insert(chunk), "two services own chunk {chunk} after {after:?}");
            }
            let seats = self.seats(service);
            for seat in seats.iter().flatten() {
                let destination = &self.snapshot.destinations[&seat.destination];
                assert!(!destination.has(REMOVED), "a member is removed after {after:?}");
                assert_eq!(destination.service, service.index, "a stranger's destination after {after:?}");
                assert!(destinations.insert(seat.destination), "a shared destination after {after:?}");
            }
            if let Some(ring) = ring_of(service) {
                let slots =
                    self.snapshot.rings.get(&ring).unwrap_or_else(|| panic!("no ring after {after:?}"));
                assert_eq!(slots.len(), service.ring_slots as usize, "{after:?}");
                for position in &self.named[&ring] {
                    let seat = seats.get(usize::from(*position)).copied().flatten();
                    assert!(seat.is_some(), "ring {ring} names position {position} after {after:?}");
                }
            }
        }
    }

    /// Everything `config` wants is there and nothing else, but that services that are `learning` stay as
    /// they are for a while.
    pub(super) fn fulfils(&self, config: &Config, learning: &BTreeMap<ServiceKey, Duration>) {
        let mut plan = Plan::default();
        plan.replace_file(config);
        assert_eq!(self.snapshot.services.len(), plan.services.len());
        let mut vips: BTreeMap<Address, u32> = BTreeMap::new();
        let mut needed = if plan.group_addresses.is_empty() { 0 } else { flags::LEASES };
        assert_eq!(self.snapshot.group_addresses, plan.group_addresses);
        for destination in self.snapshot.destinations.values() {
            let of_nat = destination.forward == forward::NAT;
            let lease = if of_nat { plan.lease_of(&destination.source_address) } else { 0 };
            assert_eq!(destination.lease, lease, "{destination:?}");
        }
        for (key, wanted) in &plan.services {
            let service = &self.snapshot.services[key];
            *vips.entry(key.address).or_default() += 1;
            assert_eq!(service.lease, plan.lease_of(&key.address), "{key:?}");
            if learning.contains_key(key) {
                assert!(service.is_tracked());
            } else {
                assert_eq!((service.scheduler, service.is_tracked()), (wanted.scheduler, wanted.tracked));
            }
            let seats = self.seats(service);
            let servers: BTreeSet<Server> = seats
                .iter()
                .flatten()
                .map(|seat| Server::of(&self.snapshot.destinations[&seat.destination]))
                .collect();
            assert_eq!(servers, wanted.servers.keys().copied().collect());
            for seat in seats.iter().flatten() {
                let destination = &self.snapshot.destinations[&seat.destination];
                let resets = wanted.resets.contains(&Server::of(destination));
                assert_eq!(destination.has(RESETS), resets, "{destination:?}");
            }
            let (nat, routed) = answers(servers.iter().map(|server| server.forward));
            assert_eq!(service.flags & service_flags::ANSWERS_ROUTED != 0, routed);
            needed |= flags_for(key, nat, routed);
            assert!(seats.last().is_none_or(Option::is_some), "the last position is free");
            self.rings_as_wanted(service, &seats);
        }
        let installed: BTreeMap<Address, u32> =
            self.snapshot.vips.iter().map(|(address, vip)| (*address, vip.services)).collect();
        assert_eq!(installed, vips);
        self.heeds_its_services();
        assert_eq!(self.snapshot.settings.expect("settings").flags, needed);
    }

    fn rings_as_wanted(&self, service: &Service, seats: &[Option<Member>]) {
        let serving: BTreeSet<u16> = (0..)
            .zip(seats)
            .filter(|(_, seat)| seat.is_some_and(|seat| seat.weight > 0))
            .map(|(position, _)| position)
            .collect();
        let Some(ring) = ring_of(service) else {
            assert_eq!(
                service.ring_slots as usize,
                if Class::of(service.scheduler).is_some() { 0 } else { serving.len() }
            );
            return;
        };
        let slots = &self.snapshot.rings[&ring];
        let current: BTreeSet<u16> =
            slots.iter().map(Slot::current).filter(|position| *position != Slot::NOBODY).collect();
        assert_eq!(current, serving);
        if Class::of(service.scheduler) == Some(Class::Walked) {
            assert!(slots.iter().all(|slot| !slot.consults_table()));
        }
    }

    /// The destination that holds the flows without an entry, per slot of each untracked hashed service.
    pub(super) fn holders(&self) -> BTreeMap<ServiceKey, (u32, Vec<Option<u32>>)> {
        let hashed = self
            .snapshot
            .services
            .iter()
            .filter(|(_, service)| hashed_ring(service).is_some() && !service.is_tracked());
        hashed
            .map(|(key, service)| {
                let seats = self.seats(service);
                let holder =
                    |slot: &Slot| Some(seats.get(usize::from(slot.base())).copied().flatten()?.destination);
                let slots = self.snapshot.rings[&service.ring].iter().map(holder).collect();
                (*key, (service.index, slots))
            })
            .collect()
    }

    /// No flow without an entry lost its server, unless the server was removed.
    pub(super) fn keeps(&self, former: &BTreeMap<ServiceKey, (u32, Vec<Option<u32>>)>) {
        for (key, (index, slots)) in self.holders() {
            let Some((former_index, former)) = former.get(&key) else { continue };
            if *former_index != index {
                continue;
            }
            assert_eq!(slots.len(), former.len(), "a hashed ring changed its size");
            let seats = self.seats(&self.snapshot.services[&key]);
            let seated: BTreeSet<u32> = seats.iter().flatten().map(|seat| seat.destination).collect();
            for (former, holder) in former.iter().zip(&slots) {
                if let Some(former) = former.filter(|former| seated.contains(former)) {
                    assert_eq!(*holder, Some(former));
                }
            }
        }
    }
}

/// Whether some server answers by nat, and whether some answers by itself.
fn answers(forwards: impl Iterator<Item = u8>) -> (bool, bool) {
    forwards.fold((false, false), |(nat, routed), forward| {
        (nat || forward == forward::NAT, routed || matches!(forward, forward::DR | forward::IPIP))
    })
}

/// The flags that one service needs.
fn flags_for(key: &ServiceKey, nat: bool, routed: bool) -> u32 {
    let any_port = key.port == 0;
    [(nat, flags::NAT), (routed, flags::ANSWERS_ROUTED), (any_port, flags::ANY_PORT)]
        .into_iter()
        .filter(|(needed, _)| *needed)
        .fold(0, |all, (_, flag)| all | flag)
}
