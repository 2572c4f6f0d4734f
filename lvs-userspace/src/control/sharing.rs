//! Which ring a service reads: its own changed in place, one it can share, or a new one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lvs_common::lease::Lease;
use lvs_common::ring::Slot;
use lvs_common::service::Service;

use super::diff::Target;
use super::history::Told;
use super::mirror::ring_of;
use super::rings::{Class, Pool, Ring};
use super::seating::Shortage;
use super::state::State;
use crate::scheduler::Columns;

/// Rings to publish.
pub(super) type Changed = BTreeMap<u32, Vec<Slot>>;

/// Where services come from and what they want; those that agree stay together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    pool: Pool,
    origin: Origin,
    /// What another director has told of the ring.
    told: Option<Arc<Told>>,
}

/// What the flows of a service rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// This ring, and entries where it says so.
    Ring(u32),
    /// Entries, which may name anyone.
    Entries,
    /// Nothing: there are no flows yet, or every packet looks for its entry in any case.
    Nothing,
}

impl State {
    /// Fills in `ring` and `ring_slots` of every target, and answers with the rings that change.
    ///
    /// Rings whose readers all want the same change are changed in place first; what the others want is
    /// then compared with the rings as they will be.
    pub(super) fn assign_rings(&mut self, targets: &mut Vec<Target<'_>>, now: Duration) -> Changed {
        let mut readers: BTreeMap<u32, usize> = BTreeMap::new();
        for ring in self.kernel.services.values().filter_map(ring_of) {
            *readers.entry(ring).or_default() += 1;
        }
        let mut tables: BTreeMap<Pool, Vec<u16>> = BTreeMap::new();
        let mut changed = Changed::new();
        let mut elsewhere = Vec::new();
        for (Move { pool, origin, told }, group) in self.moves(targets) {
            if let Origin::Ring(ring) = origin
                && self.holdings.rings.get(&ring).is_some_and(|known| known.is_for(&pool, told.as_ref()))
            {
                assign(targets, &group, ring, self.slot_count(ring));
                continue;
            }
            let table = tables.entry(pool.clone()).or_insert_with(|| pool.table());
            let mut columns = self.columns_after(origin, &pool, table, now);
            // Once: after that this director's own changes keep up with the other one's, until it says otherwise, or until a
            // server comes back that had left here and not there.
            if let Some(told) = told.as_deref().filter(|told| !self.has_followed(origin, &pool, told)) {
                told.shape(&mut columns, &pool, now);
            }
            match origin {
                Origin::Ring(ring) if self.is(ring, columns.slots()) => {
                    assign(targets, &group, ring, columns.slots().len());
                    if let Some(known) = self.holdings.rings.get_mut(&ring) {
                        known.pool.get_or_insert(pool);
                        known.told = told;
                    }
                }
                Origin::Ring(ring)
                    if readers.get(&ring) == Some(&group.len())
                        && self.slot_count(ring) == columns.slots().len() =>
                {
                    assign(targets, &group, ring, columns.slots().len());
                    changed.insert(ring, columns.slots().to_vec());
                    self.holdings.rings.insert(ring, Ring::new(Some(pool), columns, told));
                }
                _ => elsewhere.push((pool, origin, columns, told, group)),
            }
        }
        let mut short = Vec::new();
        for (pool, origin, columns, told, group) in elsewhere {
            let slots = columns.slots().len();
            let ring = self.shared(&pool, origin, &columns).or_else(|| {
                let ring = self.holdings.ring_indices.allocate()?;
                changed.insert(ring, columns.slots().to_vec());
                self.holdings.rings.insert(ring, Ring::new(Some(pool), columns, told));
                Some(ring)
            });
            match ring {
                Some(ring) => assign(targets, &group, ring, slots),
                None => short.extend(group),
            }
        }
        short.sort_unstable();
        self.without_ring(targets, &short, now);
        changed
    }

    fn moves(&self, targets: &[Target<'_>]) -> BTreeMap<Move, Vec<usize>> {
        let mut moves: BTreeMap<Move, Vec<usize>> = BTreeMap::new();
        for (number, target) in targets.iter().enumerate() {
            if let Some(pool) = &target.pool {
                moves
                    .entry(Move {
                        pool: pool.clone(),
                        origin: self.origin(target, pool),
                        told: self.told_of(target),
                    })
                    .or_default()
                    .push(number);
            }
        }
        moves
    }

    fn origin(&self, target: &Target<'_>, pool: &Pool) -> Origin {
        let previous = target.previous.as_ref().map(|(service, _)| service);
        let ring = previous.filter(|service| match pool.class {
            Class::Walked => Class::of(service.scheduler) == Some(Class::Walked),
            Class::Hashed => {
                service.scheduler == target.value.scheduler && service.ring_slots == pool.hashed_slots()
            }
        });
        // Entries made under another scheduler, for a server that comes back, or by another director, name anyone.
        let is_joined = previous.is_none() && target.value.lease != Lease::NOT_NEEDED;
        let has_entries = target.revived
            || is_joined
            || previous.is_some_and(Service::is_tracked)
            || self.told_of(target).is_some();
        match ring.and_then(ring_of) {
            Some(ring) => Origin::Ring(ring),
            None if has_entries && pool.class == Class::Hashed => Origin::Entries,
            None => Origin::Nothing,
        }
    }

    /// What a director that is followed for it has told of the target's ring.
    fn told_of(&self, target: &Target<'_>) -> Option<Arc<Told>> {
        self.told.get(&target.key).filter(|told| told.scheduler == target.value.scheduler).cloned()
    }

    fn has_followed(&self, origin: Origin, pool: &Pool, told: &Told) -> bool {
        let Origin::Ring(ring) = origin else { return false };
        let Some(known) = self.holdings.rings.get(&ring) else { return false };
        let is_back = known.pool.as_ref().is_some_and(|former| told.knows_who_came(pool, former));
        known.told.as_deref() == Some(told) && !is_back
    }

    /// What the ring must hold for services that come from `origin`.
    fn columns_after(&self, origin: Origin, pool: &Pool, table: &[u16], now: Duration) -> Columns {
        let former = match origin {
            Origin::Ring(ring) if pool.class == Class::Hashed => self.holdings.rings.get(&ring),
            Origin::Entries => return Columns::unsettled(table, now),
            _ => None,
        };
        let Some(former) = former else { return Columns::new(table) };
        let mut columns = former.columns.clone();
        match columns.update(table, |position| pool.seats(position), now) {
            Ok(_) => columns,
            // Of another size only when it was never read by a hash.
            Err(_) => Columns::unsettled(table, now),
        }
    }

    /// A ring that others read already and that serves these services as well.
    fn shared(&self, pool: &Pool, origin: Origin, columns: &Columns) -> Option<u32> {
        let mut candidates = self.holdings.rings.iter().filter(|(number, ring)| {
            ring.pool.as_ref() == Some(pool) && !self.holdings.leaving_rings.contains(number)
        });
        let suits = |ring: &Ring| origin == Origin::Nothing || ring.columns == *columns;
        candidates.find(|(_, ring)| suits(ring)).map(|(number, _)| *number)
    }

    fn is(&self, ring: u32, slots: &[Slot]) -> bool {
        self.kernel.rings.get(&ring).is_some_and(|installed| installed == slots)
    }

    fn slot_count(&self, ring: u32) -> usize {
        self.kernel.rings.get(&ring).map_or(0, Vec::len)
    }

    /// Services for which no ring was left stay as they are.
    fn without_ring(&mut self, targets: &mut Vec<Target<'_>>, short: &[usize], now: Duration) {
        for &number in short.iter().rev() {
            let target = targets.swap_remove(number);
            self.release(&target);
            if let Some(mut held) = self.hold_back(target.key, &target.wanted, Shortage("ring"), now) {
                if let Some((previous, _)) = &held.previous {
                    held.value = *previous;
                }
                targets.push(held);
            }
        }
    }
}

fn assign(targets: &mut [Target<'_>], group: &[usize], ring: u32, slots: usize) {
    for &number in group {
        targets[number].value.ring = ring;
        targets[number].value.ring_slots = slots as u32;
    }
}
