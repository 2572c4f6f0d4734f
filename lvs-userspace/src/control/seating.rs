//! Gives every wanted service its indices: positions, destinations, chunks.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lvs_common::service::{MEMBERS_PER_CHUNK, Service, ServiceKey, scheduler};

use super::adopt::observed;
use super::allocate::Region;
use super::diff::Target;
use super::mirror::{Seat, Seats, region_of};
use super::plan::{Plan, Server, Wanted, display};
use super::state::State;

/// What there is not enough of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortage(pub &'static str);

/// Removed destinations that may serve again: their index by service index and real server.
pub(super) type Revivable = BTreeMap<(u32, Server), u32>;

impl State {
    /// The targets of all services of `plan`. One that does not fit stays as it is installed, or out.
    pub(super) fn admit_all<'a>(&mut self, plan: &'a Plan, now: Duration) -> Vec<Target<'a>> {
        let revivable: Revivable = self
            .holdings
            .removed
            .keys()
            .filter_map(|index| Some((index, self.kernel.destinations.get(index)?)))
            .map(|(index, destination)| ((destination.service, Server::of(destination)), *index))
            .collect();
        let mut targets = Vec::with_capacity(plan.services.len());
        for (key, wanted) in &plan.services {
            match self.admit(*key, Cow::Borrowed(wanted), &revivable, now) {
                Ok(target) => targets.push(target),
                Err(shortage) => targets.extend(self.hold_back(*key, wanted, shortage, now)),
            }
        }
        targets
    }

    /// Leaves a service as it is until there is room for what is wanted.
    pub(super) fn hold_back(
        &mut self,
        key: ServiceKey,
        wanted: &Wanted,
        Shortage(what): Shortage,
        now: Duration,
    ) -> Option<Target<'static>> {
        self.incomplete = true;
        self.warnings.push(format!(
            "service {} ({}) does not fit: no free {what}; it stays as it was until there is room",
            wanted.name,
            display(&key)
        ));
        let (service, seats) = self.previous(&key)?;
        self.admit(key, Cow::Owned(observed(&self.kernel, &key, &service, &seats)), &Revivable::new(), now)
            .ok()
    }

    fn previous(&self, key: &ServiceKey) -> Option<(Service, Seats)> {
        let service = self.kernel.services.get(key).filter(|_| !self.holdings.broken.contains(key))?;
        Some((*service, self.kernel.seats(service).ok()?))
    }

    fn admit<'a>(
        &mut self,
        key: ServiceKey,
        wanted: Cow<'a, Wanted>,
        revivable: &Revivable,
        now: Duration,
    ) -> Result<Target<'a>, Shortage> {
        let previous = self.previous(&key);
        let index = match self.holdings.services.get(&key) {
            Some(index) => *index,
            None => self.holdings.service_indices.allocate().ok_or(Shortage("service index"))?,
        };
        self.holdings.services.insert(key, index);

        let stage = self.stage(&key, previous.as_ref().map(|(service, _)| service), &wanted, now);
        let mut fresh = BTreeSet::new();
        let placed = self.place(index, stage.scheduler, &wanted, previous.as_ref(), revivable, &mut fresh);
        let (seats, region) = placed.inspect_err(|_| self.release_destinations(&fresh))?;
        let (pool, tracked) = self.staged_pool(&key, &wanted, &stage, &seats, now);
        let revived =
            seats.iter().flatten().any(|seat| self.holdings.removed.contains_key(&seat.destination));
        let value = Service {
            index,
            ring: Service::NO_RING,
            // Of the ring, once that is known; without one, how many members take new flows.
            ring_slots: match pool {
                Some(_) => 0,
                None => seats.iter().flatten().filter(|seat| seat.weight > 0).count() as u32,
            },
            members: region.first,
            member_count: seats.len() as u32,
            scheduler: stage.scheduler,
            flags: wanted.flags(tracked),
            owner: wanted.owner,
            // By the plan, for those too that stay as they are.
            lease: 0,
        };
        Ok(Target { key, wanted, previous, value, seats, pool, fresh, revived })
    }

    fn place(
        &mut self,
        service: u32,
        scheduler: u8,
        wanted: &Wanted,
        previous: Option<&(Service, Seats)>,
        revivable: &Revivable,
        fresh: &mut BTreeSet<u32>,
    ) -> Result<(Seats, Region), Shortage> {
        let former: &[Option<Seat>] = previous.map_or(&[], |(_, seats)| seats);
        let seats = self.seat(service, scheduler, wanted, former, revivable, fresh)?;
        let region = self.region(previous.map(|(service, _)| service), seats.len() as u32)?;
        Ok((seats, region))
    }

    /// Who stays keeps the position; a new server takes the lowest one that nobody holds now. A position
    /// whose holder leaves is not given away in the same breath, since the installed ring still names it.
    fn seat(
        &mut self,
        service: u32,
        scheduler: u8,
        wanted: &Wanted,
        former: &[Option<Seat>],
        revivable: &Revivable,
        fresh: &mut BTreeSet<u32>,
    ) -> Result<Seats, Shortage> {
        let mut seats: Seats = vec![None; former.len()];
        let mut newcomers = wanted.servers.clone();
        for (seat, former) in seats.iter_mut().zip(former) {
            if let Some(former) = former
                && let Some(weight) = newcomers.remove(&former.server)
            {
                *seat = Some(Seat { weight: member_weight(scheduler, weight), ..*former });
            }
        }
        let mut position = 0;
        for (server, weight) in newcomers {
            let destination = match revivable.get(&(service, server)) {
                Some(index) => *index,
                None => {
                    let index = self.holdings.destinations.allocate().ok_or(Shortage("destination"))?;
                    fresh.insert(index);
                    index
                }
            };
            while position < former.len() && former[position].is_some() {
                position += 1;
            }
            if position == seats.len() {
                seats.push(None);
            }
            seats[position] = Some(Seat { server, weight: member_weight(scheduler, weight), destination });
            position += 1;
        }
        seats.truncate(seats.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        Ok(seats)
    }

    /// The chunks for `member_count` positions: those it has, cut to size, or others where they do not
    /// suffice.
    fn region(&mut self, previous: Option<&Service>, member_count: u32) -> Result<Region, Shortage> {
        let former = previous.map_or(Region::EMPTY, region_of);
        let chunks = member_count.div_ceil(MEMBERS_PER_CHUNK as u32);
        if chunks <= former.chunks {
            return Ok(Region { first: if chunks == 0 { 0 } else { former.first }, chunks });
        }
        self.holdings.chunks.allocate(chunks).ok_or(Shortage("run of member chunks"))
    }

    /// Gives back what a target that will not come about was given.
    pub(super) fn release(&mut self, target: &Target<'_>) {
        self.release_destinations(&target.fresh);
        let region = region_of(&target.value);
        let former = target.previous.as_ref().map_or(Region::EMPTY, |(service, _)| region_of(service));
        if region.chunks > former.chunks {
            self.holdings.chunks.release(region);
        }
    }

    fn release_destinations(&mut self, fresh: &BTreeSet<u32>) {
        for index in fresh {
            self.holdings.destinations.release(*index);
        }
    }
}

/// What the members' scan compares: lc knows no weights.
const fn member_weight(scheduler: u8, weight: u32) -> u32 {
    if scheduler == scheduler::LC && weight > 1 { 1 } else { weight }
}
