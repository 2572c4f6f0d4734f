//! From indices of this director's maps to keys that mean the same to both, and back.

use std::collections::{HashMap, HashSet};

use lvs_common::address::Address;
use lvs_common::destination::destination_flags::REMOVED;
use lvs_common::service::ServiceKey;
use lvs_common::settings::Settings;

use super::Peer;
use crate::control::Snapshot;

/// A destination, as the wire names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationKey {
    pub service: ServiceKey,
    pub address: Address,
    /// Port on the real server; 0 = the one the client dialled.
    pub port: u16,
    /// One of [`lvs_common::destination::forward`].
    pub forward: u8,
}

/// A destination of this director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) key: DestinationKey,
    /// Index in `DESTINATIONS`,
    pub(super) index: u32,
    pub(super) generation: u32,
    /// and of its service in `SERVICE_STATES`.
    pub(super) service: u32,
    /// Every flow of the service has an entry, and counts.
    pub(super) is_tracked: bool,
    /// This director is active for the service.
    pub(super) is_mine: bool,
}

/// Which director is active for a service, as far as is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    Here,
    At(Peer),
    Unknown,
}

/// What this director's maps hold, by index and by key. To be made anew with every change of the plan or of who is
/// active for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// By index.
    destinations: Vec<Option<Known>>,
    by_key: HashMap<DestinationKey, u32>,
    /// Indices of the services that this director is active for,
    mine: HashSet<u32>,
    /// and of the others, with who is, if that is known.
    theirs: HashMap<u32, Option<Peer>>,
    timeouts: [u32; 16],
}

impl Directory {
    /// Of what the maps hold, where nothing is known of other directors but that they are active for what is not
    /// `is_mine`.
    pub fn of(snapshot: &Snapshot, is_mine: impl Fn(&ServiceKey) -> bool) -> Self {
        Self::with(snapshot, |key| if is_mine(key) { Active::Here } else { Active::Unknown })
    }

    /// Of what the maps hold. `active` says who is active for a service.
    pub fn with(snapshot: &Snapshot, active: impl Fn(&ServiceKey) -> Active) -> Self {
        let settings = snapshot.settings.unwrap_or_else(Settings::defaults);
        let mut directory = Self { timeouts: settings.timeouts, ..Self::default() };
        let mut services = HashMap::new();
        for (key, service) in &snapshot.services {
            let active = active(key);
            match active {
                Active::Here => drop(directory.mine.insert(service.index)),
                Active::At(peer) => drop(directory.theirs.insert(service.index, Some(peer))),
                Active::Unknown => drop(directory.theirs.insert(service.index, None)),
            }
            services.insert(service.index, (*key, service.is_tracked(), active == Active::Here));
        }
        let length = snapshot.destinations.last_key_value().map_or(0, |(index, _)| *index as usize + 1);
        directory.destinations = vec![None; length];
        for (index, destination) in snapshot.destinations.iter().filter(|(_, one)| !one.has(REMOVED)) {
            let Some((service, is_tracked, is_mine)) = services.get(&destination.service) else { continue };
            let (address, port, forward) = (destination.address, destination.port, destination.forward);
            let key = DestinationKey { service: *service, address, port, forward };
            directory.destinations[*index as usize] = Some(Known {
                key,
                index: *index,
                generation: destination.generation,
                service: destination.service,
                is_tracked: *is_tracked,
                is_mine: *is_mine,
            });
            directory.by_key.insert(key, *index);
        }
        directory
    }

    /// The destination at `index`, if it is still of this generation.
    pub(super) fn at(&self, index: u32, generation: u32) -> Option<&Known> {
        let known = self.destinations.get(index as usize)?.as_ref()?;
        (known.generation == generation).then_some(known)
    }

    pub(super) fn find(&self, key: &DestinationKey) -> Option<&Known> {
        self.destinations.get(*self.by_key.get(key)? as usize)?.as_ref()
    }

    /// Destinations of the services that this director is active for.
    pub(super) fn mine(&self) -> impl Iterator<Item = &Known> {
        self.destinations.iter().flatten().filter(|known| known.is_mine)
    }

    /// Whether this director is active for anything.
    pub(super) fn is_active(&self) -> bool {
        !self.mine.is_empty()
    }

    /// Whether another director tells of this service's connections. Nobody does of one that is gone.
    pub(super) fn is_theirs(&self, service: u32) -> bool {
        self.theirs.contains_key(&service)
    }

    /// Whether it is `peer` who tells of them. One that has been replaced may not know it yet, and what it says of
    /// connections that go on elsewhere is wrong.
    pub(super) fn is_told_by(&self, service: u32, peer: Peer) -> bool {
        self.theirs.get(&service).is_some_and(|active| active.is_none_or(|active| active == peer))
    }

    /// Whether it is known that `peer` is active for this service.
    pub(super) fn is_at(&self, service: u32, peer: Peer) -> bool {
        self.theirs.get(&service) == Some(&Some(peer))
    }

    /// Whether this director was active for a service, by `former`, that it is not active for any more.
    pub(super) fn has_given_up(&self, former: &Self) -> bool {
        former.mine.iter().any(|service| self.theirs.contains_key(service))
    }

    /// Whether this director is active for a service that it was not active for by `former`.
    pub(super) fn has_taken(&self, former: &Self) -> bool {
        !self.mine.is_subset(&former.mine)
    }

    /// Idle time after which a connection in this state is over, in ticks.
    pub(super) const fn timeout(&self, state: u8) -> u32 {
        self.timeouts[state as usize & 15]
    }
}
