//! A new agent takes over what an earlier one left in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lvs_common::destination::destination_flags::{REMOVED, RESETS};
use lvs_common::ring::Slot;
use lvs_common::service::{Service, ServiceKey, owner};

use super::Snapshot;
use super::allocate::Region;
use super::mirror::{Mirror, Seat, Seats, hashed_ring, region_of, ring_of};
use super::plan::{Wanted, display};
use super::rings::Ring;
use super::state::{Capacity, Holdings, State};
use crate::scheduler::Columns;

impl State {
    /// Takes over the maps of the compiled-in sizes.
    pub fn adopt(snapshot: Snapshot) -> Self {
        Self::adopt_with(snapshot, Capacity::default())
    }

    /// Takes over what the maps hold. A service that cannot be right (a crash leaves none of those, since
    /// every prefix of a plan makes sense) is built anew by the next [`super::Event::Desired`], and what
    /// nobody refers to is cleared away by it.
    pub fn adopt_with(snapshot: Snapshot, capacity: Capacity) -> Self {
        let mut state = Self::new(Mirror::new(snapshot), Holdings::new(capacity));
        let mut warnings = Vec::new();
        let Self { kernel, holdings, plan, .. } = &mut state;
        for (index, destination) in &kernel.destinations {
            holdings.destinations.claim(*index);
            if destination.has(REMOVED) {
                holdings.removed.insert(*index, false);
            }
        }
        for (index, slots) in &kernel.rings {
            holdings.ring_indices.claim(*index);
            holdings
                .rings
                .insert(*index, Ring::new(None, Columns::adopt(slots.clone(), Duration::ZERO), None));
        }
        let named = named_positions(kernel);
        let mut taken = BTreeSet::new();
        for (key, service) in &kernel.services {
            match sound(kernel, holdings, &named, &mut taken, service) {
                Ok(seats) => {
                    holdings.services.insert(*key, service.index);
                    if hashed_ring(service).is_some() && service.is_tracked() {
                        holdings.tracked_since.insert(*key, Duration::ZERO);
                    }
                    if service.owner != owner::FILE {
                        plan.services.insert(*key, observed(kernel, key, service, &seats));
                    }
                }
                Err(reason) => {
                    warnings.push(format!("service {} was found in the kernel but {reason}", display(key)));
                    holdings.broken.insert(*key);
                }
            }
        }
        reserve_leftovers(kernel, holdings);
        state.warnings = warnings;
        state
    }
}

/// Every position a ring names, by ring.
fn named_positions(kernel: &Mirror) -> BTreeMap<u32, BTreeSet<u16>> {
    let positions = |slots: &Vec<Slot>| slots.iter().flat_map(|slot| [slot.current(), slot.base()]).collect();
    kernel.rings.iter().map(|(index, slots)| (*index, positions(slots))).collect()
}

/// The seats of `service` when everything it refers to is there and belongs to it alone; its index and
/// its chunks are then taken.
fn sound(
    kernel: &Mirror,
    holdings: &mut Holdings,
    named: &BTreeMap<u32, BTreeSet<u16>>,
    taken: &mut BTreeSet<u32>,
    service: &Service,
) -> Result<Seats, String> {
    let seats = kernel.seats(service)?;
    let own: BTreeSet<u32> = seats.iter().flatten().map(|seat| seat.destination).collect();
    if own.len() != seats.iter().flatten().count() || !own.is_disjoint(taken) {
        return Err("shares a destination with another position".to_owned());
    }
    if let Some(ring) = ring_of(service) {
        let slots = kernel.rings.get(&ring).map_or(0, Vec::len);
        if slots != service.ring_slots as usize {
            return Err(format!("its ring {ring} has {slots} slots, not {}", service.ring_slots));
        }
        let seated = |position: &u16| {
            *position == Slot::NOBODY || seats.get(usize::from(*position)).is_some_and(Option::is_some)
        };
        if !named.get(&ring).is_some_and(|positions| positions.iter().all(seated)) {
            return Err(format!("its ring {ring} names a position without a destination"));
        }
    }
    let region = region_of(service);
    if !holdings.chunks.claim(region) {
        return Err("its members overlap with those of another service".to_owned());
    }
    if !holdings.service_indices.claim(service.index) {
        holdings.chunks.release(region);
        return Err(format!("its index {} belongs to another service", service.index));
    }
    taken.extend(own);
    Ok(seats)
}

/// What broken services read, and the service indices that destinations without a service name, must
/// not be handed out while they may still be read.
fn reserve_leftovers(kernel: &Mirror, holdings: &mut Holdings) {
    let broken: Vec<Service> =
        holdings.broken.iter().filter_map(|key| kernel.services.get(key)).copied().collect();
    for service in broken {
        let region = region_of(&service);
        let chunks = region.first..region.first.saturating_add(region.chunks);
        for (&first, _) in kernel.members.range(chunks) {
            let chunk = Region { first, chunks: 1 };
            if holdings.chunks.claim(chunk) {
                holdings.leaving_regions.push(chunk);
            }
        }
        holdings.service_indices.claim(service.index);
    }
    for destination in kernel.destinations.values() {
        holdings.service_indices.claim(destination.service);
    }
}

/// The plan an installed service fulfils. The kernel knows no names.
pub(super) fn observed(kernel: &Mirror, key: &ServiceKey, service: &Service, seats: &Seats) -> Wanted {
    let resets = |seat: &&Seat| {
        kernel.destinations.get(&seat.destination).is_some_and(|destination| destination.has(RESETS))
    };
    Wanted {
        name: display(key),
        owner: service.owner,
        scheduler: service.scheduler,
        tracked: service.is_tracked(),
        probed: false,
        servers: seats.iter().flatten().map(|seat| (seat.server, seat.weight)).collect(),
        resets: seats.iter().flatten().filter(resets).map(|seat| seat.server).collect(),
    }
}
