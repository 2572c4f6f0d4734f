//! Who holds flows in the slots of rings that still consult the connection table.
//!
//! A slot that retired keeps asking for entries, since flows of its former holder live on. Only a walk
//! through the whole connection table can tell that there are none left.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use lvs_common::connection::Connection;
use lvs_common::flow::{FlowKey, hash_address, slot_of};
use lvs_common::service::{Service, ServiceKey, scheduler};

use super::command::Command;
use super::mirror::hashed_ring;
use super::state::State;

/// One walk: ask [`State::census`] for it, show it every connection, give it back as
/// [`super::Event::Counted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    began: Duration,
    readers: BTreeMap<ServiceKey, Reader>,
    /// By ring: slots and the positions that hold flows in them.
    holders: BTreeMap<u32, HashSet<(u32, u16)>>,
}

/// A service that reads one of the rings in question.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reader {
    service: Service,
    /// Generation and position by index of the destination.
    positions: BTreeMap<u32, (u32, u16)>,
}

impl Census {
    /// Takes note of one entry of `CONNECTIONS`.
    pub fn see(&mut self, flow: &FlowKey, connection: &Connection) {
        let key = ServiceKey::new(flow.destination, flow.destination_port, flow.protocol);
        let any_port = ServiceKey { port: 0, ..key };
        let Some(reader) = self.readers.get(&key).or_else(|| self.readers.get(&any_port)) else { return };
        let Some(&(generation, position)) = reader.positions.get(&connection.destination) else { return };
        if generation != connection.generation {
            return;
        }
        let hash = match reader.service.scheduler {
            scheduler::SH => hash_address(&flow.source),
            scheduler::DH => hash_address(&flow.destination),
            _ => flow.hash(),
        };
        let slot = slot_of(hash, reader.service.ring_slots);
        self.holders.entry(reader.service.ring).or_default().insert((slot, position));
    }
}

impl State {
    /// The census that is due, if any: ask about once in a timeout, since it takes a walk through all
    /// connections that begins after this call.
    pub fn census(&self, now: Duration) -> Option<Census> {
        let unsettled: BTreeSet<u32> = self
            .holdings
            .rings
            .iter()
            .filter(|(_, ring)| ring.columns.is_unsettled())
            .map(|(number, _)| *number)
            .collect();
        let readers: BTreeMap<ServiceKey, Reader> = self
            .kernel
            .services
            .iter()
            .filter(|(_, service)| hashed_ring(service).is_some_and(|ring| unsettled.contains(&ring)))
            .filter(|(_, service)| self.is_filled_here(service))
            .filter_map(|(key, service)| Some((*key, self.reader(service)?)))
            .collect();
        (!readers.is_empty()).then(|| Census { began: now, readers, holders: BTreeMap::new() })
    }

    fn reader(&self, service: &Service) -> Option<Reader> {
        let seats = self.kernel.seats(service).ok()?;
        let positions = (0..)
            .zip(seats)
            .filter_map(|(position, seat)| {
                let index = seat?.destination;
                let destination = self.kernel.destinations.get(&index)?;
                Some((index, (destination.generation, position)))
            })
            .collect();
        Some(Reader { service: *service, positions })
    }

    /// Settles the slots in which all entries agree with the ring.
    pub(super) fn counted(&mut self, mut census: Census, now: Duration) {
        let rings: BTreeSet<u32> = census.readers.values().map(|reader| reader.service.ring).collect();
        for number in rings {
            // Flows of a service that came to the ring meanwhile were not looked at.
            let complete =
                self.kernel.services.iter().filter(|(_, service)| hashed_ring(service) == Some(number)).all(
                    |(key, _)| census.readers.get(key).is_some_and(|reader| reader.service.ring == number),
                );
            let Some(ring) = self.holdings.rings.get_mut(&number).filter(|_| complete) else { continue };
            let holders = census.holders.remove(&number).unwrap_or_default();
            let holders = holders.into_iter().map(|(slot, position)| (slot as usize, position));
            if ring.columns.settle(holders, census.began, now) > 0 {
                let slots = ring.columns.slots().to_vec();
                self.emit(Command::SetRing { ring: number, slots });
            }
        }
    }
}
