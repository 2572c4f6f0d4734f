//! The one state of the agent: what is wanted, what is installed, and who holds which index.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lvs_common::address::Address;
use lvs_common::connection::ticks;
use lvs_common::destination::destination_flags::REMOVED;
use lvs_common::limits;
use lvs_common::ring::Slot;
use lvs_common::service::ServiceKey;
use lvs_common::settings::Settings;

use super::allocate::{Indices, Region, Regions};
use super::command::Command;
use super::history::Histories;
use super::mirror::Mirror;
use super::next_hop::{NextHop, located};
use super::plan::Plan;
use super::rings::Ring;
use super::{Event, Snapshot};
use crate::config::model::Limits;
use crate::scheduler::Columns;

/// Sizes of the maps as they were created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub services: u32,
    pub destinations: u32,
    pub member_chunks: u32,
    pub rings: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            services: limits::SERVICES,
            destinations: limits::DESTINATIONS,
            member_chunks: limits::MEMBER_CHUNKS,
            rings: limits::RINGS,
        }
    }
}

impl Capacity {
    /// Sizes of maps that are created with these limits.
    pub fn of(limits: &Limits) -> Self {
        Self { destinations: limits.destinations, ..Self::default() }
    }
}

/// Takes events, answers with commands. The commands must be carried out in order before the next event
/// is handled; where that fails, adopt what the kernel holds then and begin again.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) plan: Plan,
    pub(super) kernel: Mirror,
    pub(super) holdings: Holdings,
    /// The latest report per real server. An address that is not here was not reported on yet, and its
    /// destinations keep what an earlier agent wrote.
    pub(super) next_hops: BTreeMap<Address, Option<NextHop>>,
    pub(super) warnings: Vec<String>,
    /// Something did not fit and is tried again when room was made.
    pub(super) incomplete: bool,
    /// Services that track for a while before a change, and until when.
    pub(super) learning: BTreeMap<ServiceKey, Duration>,
    /// What the director that is followed has told of its rings.
    pub(super) told: Histories,
    /// The groups held here, by their leases; `None` without a cluster.
    pub(super) held: Option<BTreeSet<u8>>,
    /// What was adopted counts its time from the first event.
    pub(super) clocks_started: bool,
    /// Commands of the event at hand, applied to `kernel` already.
    commands: Vec<Command>,
}

/// Who holds which index.
#[derive(Clone, Debug)]
pub(super) struct Holdings {
    pub service_indices: Indices,
    /// A service that was removed keeps its index while destinations of it wait for their flows to end.
    pub services: BTreeMap<ServiceKey, u32>,
    pub destinations: Indices,
    /// Removed destinations, and whether a sweep has ended since: the first one to end may have begun
    /// before the removal and proves nothing.
    pub removed: BTreeMap<u32, bool>,
    pub chunks: Regions,
    pub ring_indices: Indices,
    pub rings: BTreeMap<u32, Ring>,
    /// Since when services with a hashed ring track, where that is not long ago.
    pub tracked_since: BTreeMap<ServiceKey, Duration>,
    /// No longer referred to, but a packet under way may still read it: free at the next tick.
    pub leaving_regions: Vec<Region>,
    pub leaving_rings: BTreeSet<u32>,
    /// Installed services that make no sense; they are built anew or removed.
    pub broken: BTreeSet<ServiceKey>,
}

impl Holdings {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            service_indices: Indices::new(capacity.services),
            services: BTreeMap::new(),
            destinations: Indices::new(capacity.destinations),
            removed: BTreeMap::new(),
            chunks: Regions::new(capacity.member_chunks),
            ring_indices: Indices::new(capacity.rings),
            rings: BTreeMap::new(),
            tracked_since: BTreeMap::new(),
            leaving_regions: Vec::new(),
            leaving_rings: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }
}

impl State {
    pub(super) fn new(kernel: Mirror, holdings: Holdings) -> Self {
        Self {
            plan: Plan::default(),
            kernel,
            holdings,
            next_hops: BTreeMap::new(),
            warnings: Vec::new(),
            incomplete: false,
            learning: BTreeMap::new(),
            told: Histories::new(),
            held: None,
            clocks_started: false,
            commands: Vec::new(),
        }
    }

    /// What `event` makes necessary, in the order of publication. `now` is the monotonic time.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Command> {
        if !self.clocks_started {
            self.clocks_started = true;
            for ring in self.holdings.rings.values_mut() {
                *ring = Ring::new(None, Columns::adopt(ring.columns.slots().to_vec(), now), None);
            }
            self.holdings.tracked_since.values_mut().for_each(|since| *since = now);
        }
        match event {
            Event::Desired(config) => {
                self.plan.replace_file(&config);
                self.reconcile(now);
            }
            Event::NextHop { address, next_hop } => self.relocate(Address::from(address), next_hop),
            Event::Swept { references } => self.swept(&references, now),
            Event::Counted(census) => self.counted(census, now),
            Event::Followed(told) => self.follow(told, now),
            Event::Held(leases) => self.hold(leases, now),
            Event::Tick => self.tick(now),
        }
        std::mem::take(&mut self.commands)
    }

    /// What the kernel's maps hold once all commands so far are carried out.
    pub fn snapshot(&self) -> &Snapshot {
        &self.kernel
    }

    /// What the operator should know about the plan in force.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn emit(&mut self, command: Command) {
        self.kernel.apply(&command);
        self.commands.push(command);
    }

    fn relocate(&mut self, address: Address, next_hop: Option<NextHop>) {
        let indices: Vec<u32> = self.kernel.at(address).collect();
        for index in indices {
            let Some(destination) = self.kernel.destinations.get(&index) else { continue };
            let value = located(*destination, next_hop.as_ref());
            if value != *destination {
                self.emit(Command::SetDestination { index, value });
            }
        }
        self.next_hops.insert(address, next_hop);
    }

    fn swept(&mut self, references: &BTreeMap<u32, u32>, now: Duration) {
        let Holdings { removed, destinations, .. } = &mut self.holdings;
        removed.retain(|index, swept| {
            let over = *swept && references.get(index).is_none_or(|connections| *connections == 0);
            *swept = true;
            if over {
                destinations.release(*index);
            }
            !over
        });
        self.retry(now);
    }

    fn tick(&mut self, now: Duration) {
        self.retire_slots(now);
        for ring in std::mem::take(&mut self.holdings.leaving_rings) {
            self.emit(Command::DeleteRing { ring });
            self.holdings.rings.remove(&ring);
            self.holdings.ring_indices.release(ring);
        }
        for region in std::mem::take(&mut self.holdings.leaving_regions) {
            self.holdings.chunks.release(region);
        }
        self.release_services();
        self.retry(now);
    }

    fn retry(&mut self, now: Duration) {
        if self.incomplete || self.learning.values().any(|until| *until <= now) {
            self.reconcile(now);
        }
    }

    /// `base := current` in slots that were dual for the longest time a connection can be idle.
    fn retire_slots(&mut self, now: Duration) {
        let longest = self.longest_timeout();
        let Holdings { rings, leaving_rings, .. } = &mut self.holdings;
        let retired: Vec<(u32, Vec<Slot>)> = rings
            .iter_mut()
            .filter(|(number, _)| !leaving_rings.contains(number))
            .filter_map(|(number, ring)| {
                ring.retire(longest, now).then(|| (*number, ring.columns.slots().to_vec()))
            })
            .collect();
        for (ring, slots) in retired {
            self.emit(Command::SetRing { ring, slots });
        }
    }

    pub(super) fn longest_timeout(&self) -> Duration {
        let timeouts = self.kernel.settings.unwrap_or_else(Settings::defaults).timeouts;
        let longest = timeouts.into_iter().max().unwrap_or(0);
        Duration::from_millis(ticks::to_milliseconds(longest))
    }

    /// The index of a service that is gone is free when no destination names it any more.
    fn release_services(&mut self) {
        let Self { kernel, holdings, .. } = self;
        let mut used: BTreeSet<u32> = kernel
            .services
            .iter()
            .filter(|(key, _)| !holdings.broken.contains(key))
            .map(|(_, service)| service.index)
            .collect();
        let waiting = kernel
            .destinations
            .iter()
            .filter(|(index, value)| !value.has(REMOVED) || holdings.removed.contains_key(index));
        used.extend(waiting.map(|(_, destination)| destination.service));
        holdings.services.retain(|_, index| used.contains(index));
        holdings.service_indices.release_all_but(&used);
    }
}
