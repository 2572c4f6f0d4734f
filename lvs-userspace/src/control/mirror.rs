//! The kernel's maps as `control` knows them: what was read back, and every command since.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use lvs_common::address::Address;
use lvs_common::destination::destination_flags::REMOVED;
use lvs_common::limits::MEMBERS_PER_SERVICE;
use lvs_common::service::{MEMBERS_PER_CHUNK, Member, MemberChunk, Service};

use super::allocate::Region;
use super::command::{Command, Snapshot};
use super::plan::Server;
use super::rings::Class;

/// One taken position of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub server: Server,
    pub weight: u32,
    /// Index in `DESTINATIONS`.
    pub destination: u32,
}

/// The positions of a service; `None` = free.
pub(super) type Seats = Vec<Option<Seat>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    snapshot: Snapshot,
    /// Destinations that serve, by the address of their real server.
    by_address: BTreeMap<Address, BTreeSet<u32>>,
}

impl Deref for Mirror {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Mirror {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let mut mirror = Self { snapshot, by_address: BTreeMap::new() };
        for (index, destination) in &mirror.snapshot.destinations {
            if !destination.has(REMOVED) {
                mirror.by_address.entry(destination.address).or_default().insert(*index);
            }
        }
        mirror
    }

    pub(super) fn apply(&mut self, command: &Command) {
        if let Command::SetDestination { index, value } = command {
            let former = self.snapshot.destinations.get(index).map(|destination| destination.address);
            if let Some(Entry::Occupied(mut indices)) = former.map(|address| self.by_address.entry(address)) {
                indices.get_mut().remove(index);
                if indices.get().is_empty() {
                    indices.remove();
                }
            }
            if !value.has(REMOVED) {
                self.by_address.entry(value.address).or_default().insert(*index);
            }
        }
        self.snapshot.apply(command);
    }

    /// Indices of the destinations that serve from `address`.
    pub(super) fn at(&self, address: Address) -> impl Iterator<Item = u32> + '_ {
        self.by_address.get(&address).into_iter().flatten().copied()
    }

    /// The positions of `service`, or what is wrong with them.
    pub(super) fn seats(&self, service: &Service) -> Result<Seats, String> {
        if service.member_count > MEMBERS_PER_SERVICE {
            return Err(format!("has {} positions, more than {MEMBERS_PER_SERVICE}", service.member_count));
        }
        (0..service.member_count)
            .map(|position| {
                let chunk = service.members.saturating_add(position / MEMBERS_PER_CHUNK as u32);
                let Some(value) = self.members.get(&chunk) else {
                    return Err(format!("its chunk {chunk} of members is missing"));
                };
                let member = value.members[position as usize % MEMBERS_PER_CHUNK];
                if member.destination == Member::NO_DESTINATION {
                    return Ok(None);
                }
                match self.destinations.get(&member.destination) {
                    Some(destination)
                        if !destination.has(REMOVED) && destination.service == service.index =>
                    {
                        Ok(Some(Seat {
                            server: Server::of(destination),
                            weight: member.weight,
                            destination: member.destination,
                        }))
                    }
                    _ => Err(format!(
                        "position {position} names destination {}, which is not one of its own",
                        member.destination
                    )),
                }
            })
            .collect()
    }
}

/// The ring `service` reads, if any.
pub(super) fn ring_of(service: &Service) -> Option<u32> {
    (Class::of(service.scheduler).is_some() && service.ring_slots > 0).then_some(service.ring)
}

/// The ring `service` reads by a hash, if it does.
pub(super) fn hashed_ring(service: &Service) -> Option<u32> {
    ring_of(service).filter(|_| Class::of(service.scheduler) == Some(Class::Hashed))
}

/// The chunks `service` owns.
pub(super) fn region_of(service: &Service) -> Region {
    match service.member_count {
        0 => Region::EMPTY,
        count => Region { first: service.members, chunks: count.div_ceil(MEMBERS_PER_CHUNK as u32) },
    }
}

/// The chunks that hold `seats`, in order.
pub(super) fn chunks(seats: &[Option<Seat>]) -> impl Iterator<Item = MemberChunk> + '_ {
    seats.chunks(MEMBERS_PER_CHUNK).map(|seats| {
        let mut chunk = MemberChunk { members: [Member::FREE; MEMBERS_PER_CHUNK] };
        for (member, seat) in chunk.members.iter_mut().zip(seats) {
            if let Some(seat) = seat {
                *member = Member { destination: seat.destination, weight: seat.weight };
            }
        }
        chunk
    })
}
