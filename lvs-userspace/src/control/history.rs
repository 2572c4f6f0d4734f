//! What the rings of hashing services have become by their history, which no file says.
//!
//! Who gets a new flow follows from the pool alone, so that directors agree about it. Three things do not: how many
//! slots a ring has (it keeps the number it began with), which scheduler's ring is still read before a change, and
//! which slots' flows without an entry are another server's than those that begin. The director that serves tells
//! them ([`State::history`]); the others make their rings the same ([`super::Event::Followed`]), or flows would
//! move at the takeover.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lvs_common::address::Address;
use lvs_common::lease::Lease;
use lvs_common::service::{Service, ServiceKey};
use serde::{Deserialize, Serialize};

use super::mirror::{Seats, hashed_ring};
use super::rings::Pool;
use super::state::State;
use crate::scheduler::Columns;

/// Slots told of in all, at the most: a whole change of a hundred pools. What goes beyond is not told, since a state
/// of more bytes than others take would tell them nothing at all.
const MOST_SLOTS: usize = 4_000_000;

/// One ring, and who reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingHistory {
    pub services: Vec<Reader>,
    /// One of [`lvs_common::service::scheduler`].
    pub scheduler: u8,
    pub slots: u32,
    /// Of the slots that are dual.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// All real servers that it knows; earlier releases do not say.
    #[serde(default)]
    pub members: BTreeSet<Member>,
}

impl RingHistory {
    /// As it concerns services at these addresses; `None`: none of them reads it.
    pub fn read_at(&self, vips: &BTreeSet<IpAddr>) -> Option<Self> {
        let services: Vec<Reader> =
            self.services.iter().filter(|reader| vips.contains(&reader.vip)).copied().collect();
        (!services.is_empty()).then(|| Self { services, ..self.clone() })
    }
}

/// A service by what its packets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reader {
    pub vip: IpAddr,
    /// 0 = all.
    pub port: u16,
    /// As in the IP header.
    pub protocol: u8,
}

impl Reader {
    fn of(key: &ServiceKey) -> Self {
        Self { vip: IpAddr::from(key.address), port: key.port, protocol: key.protocol }
    }

    fn key(&self) -> ServiceKey {
        ServiceKey::new(Address::from(self.vip), self.port, self.protocol)
    }
}

/// A real server of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    pub address: IpAddr,
    /// 0 = the one the client dialled.
    pub port: u16,
}

/// A real server that holds flows without an entry although others get those that begin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    pub address: IpAddr,
    /// 0 = the one the client dialled.
    pub port: u16,
    /// Its slots in ascending order: the first, then each as the distance from the one before.
    pub slots: Vec<u32>,
}

/// What was told of the ring that a service reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told {
    pub scheduler: u8,
    pub slots: u32,
    holders: Vec<Holder>,
    members: BTreeSet<Member>,
}

impl Told {
    /// Whether `pool` has servers that `former` had not, and all of them were there where this was told. Of one that was
    /// not it cannot say who holds the flows of its slots.
    pub(super) fn knows_who_came(&self, pool: &Pool, former: &Pool) -> bool {
        let came = pool.members().filter(|(address, port)| former.position(*address, *port).is_none());
        let mut came = came.map(|(address, port)| Member { address: IpAddr::from(address), port }).peekable();
        came.peek().is_some() && came.all(|member| self.members.contains(&member))
    }

    /// Gives the flows without an entry of each slot to whom they were told to belong, as far as `pool` knows it.
    pub(super) fn shape(&self, columns: &mut Columns, pool: &Pool, now: Duration) {
        let mut bases = BTreeMap::new();
        for holder in &self.holders {
            let Some(position) = pool.position(Address::from(holder.address), holder.port) else { continue };
            let mut slot = 0_u32;
            for distance in &holder.slots {
                slot = slot.saturating_add(*distance);
                bases.insert(slot as usize, position);
            }
        }
        columns.follow(&bases, now);
    }
}

/// What was told, by service.
pub(super) type Histories = BTreeMap<ServiceKey, Arc<Told>>;

pub(super) fn by_service(told: &[RingHistory]) -> Histories {
    let mut histories = Histories::new();
    for RingHistory { services, scheduler, slots, holders, members } in told {
        let (holders, members) = (holders.clone(), members.clone());
        let told = Arc::new(Told { scheduler: *scheduler, slots: *slots, holders, members });
        histories.extend(services.iter().map(|reader| (reader.key(), Arc::clone(&told))));
    }
    histories
}

impl State {
    /// What other directors have to know of the rings that services of a group read.
    pub fn history(&self) -> Vec<RingHistory> {
        let mut rings: BTreeMap<(u32, u8), Vec<(&ServiceKey, &Service)>> = BTreeMap::new();
        for (key, service) in &self.kernel.services {
            if let Some(ring) = hashed_ring(service).filter(|_| service.lease != Lease::NOT_NEEDED) {
                rings.entry((ring, service.scheduler)).or_default().push((key, service));
            }
        }
        let mut room = MOST_SLOTS;
        let mut histories = Vec::new();
        for ((ring, scheduler), readers) in rings {
            let (Some(ring), Some((_, first))) = (self.holdings.rings.get(&ring), readers.first()) else {
                continue;
            };
            // Services share a ring only where every position has the same server.
            let Ok(seats) = self.kernel.seats(first) else { continue };
            let holders = holders(&ring.columns, &seats, &mut room);
            let services = readers.iter().map(|(key, _)| Reader::of(key)).collect();
            let servers = seats.iter().flatten().map(|seat| seat.server);
            let members = servers.map(|server| Member { address: server.address.into(), port: server.port });
            let (slots, members) = (first.ring_slots, members.collect());
            histories.push(RingHistory { services, scheduler, slots, holders, members });
        }
        histories
    }

    /// What was told is in force from now on; `None`: nobody is followed, and what the rings have become stays.
    pub(super) fn follow(&mut self, told: Option<Vec<RingHistory>>, now: Duration) {
        let told = told.map(|told| by_service(&told)).unwrap_or_default();
        let is_new = told != self.told && !told.is_empty();
        self.told = told;
        if is_new {
            self.reconcile(now);
        }
    }

    /// Groups held here, by their leases; what was held and is no more is filled by others from now on.
    ///
    /// A ring asks the connection table until a census has shown that it need not. Where another director serves, its
    /// connections come at any time, so no census shows that.
    pub(super) fn hold(&mut self, leases: BTreeSet<u8>, now: Duration) {
        let is_others = |lease: u8| lease != Lease::NOT_NEEDED && !leases.contains(&lease);
        let was_others = |lease: u8| {
            let before = self.held.as_ref();
            before.is_some_and(|held| lease != Lease::NOT_NEEDED && !held.contains(&lease))
        };
        let rings: BTreeSet<u32> = self
            .kernel
            .services
            .values()
            .filter(|service| is_others(service.lease) && !was_others(service.lease))
            .filter_map(hashed_ring)
            .collect();
        self.held = Some(leases);
        for number in rings {
            let Some(ring) = self.holdings.rings.get_mut(&number) else { continue };
            if ring.columns.unsettle(now) > 0 {
                let slots = ring.columns.slots().to_vec();
                self.emit(super::Command::SetRing { ring: number, slots });
            }
        }
    }

    /// Follows, and holds, what `former` does.
    #[must_use]
    pub fn beside(mut self, former: &Self) -> Self {
        self.told.clone_from(&former.told);
        self.held.clone_from(&former.held);
        self
    }

    /// Whether all entries of such a service come from its own packets.
    pub(super) fn is_filled_here(&self, service: &Service) -> bool {
        service.lease == Lease::NOT_NEEDED
            || self.held.as_ref().is_none_or(|held| held.contains(&service.lease))
    }
}

fn holders(columns: &Columns, seats: &Seats, room: &mut usize) -> Vec<Holder> {
    let mut slots: BTreeMap<u16, (u32, Vec<u32>)> = BTreeMap::new();
    for (number, slot) in (0..).zip(columns.slots()) {
        if !slot.is_dual() || *room == 0 {
            continue;
        }
        *room -= 1;
        let (last, distances) = slots.entry(slot.base()).or_default();
        distances.push(number - *last);
        *last = number;
    }
    let known = slots.into_iter().filter_map(|(position, (_, slots))| {
        let seat = seats.get(usize::from(position)).copied().flatten()?;
        Some(Holder { address: IpAddr::from(seat.server.address), port: seat.server.port, slots })
    });
    known.collect()
}
