//! What one sender has told.

use std::collections::HashSet;
use std::time::Duration;

use lvs_common::adoption::{Adoption, action, outcome};
use lvs_common::connection::{ENTRIES_PER_BUCKET, flags};
use lvs_common::service::protocol;

use super::super::directory::Known;
use super::super::wire::{Body, Cell, CellEntry, Header, NUMBERS, Told};
use super::super::{DestinationKey, Directory, Peer, Target, grace, to_ticks};
use super::tenants::Tenants;
use super::{Here, ReceiverStats};
use crate::dataplane::MapError;

/// Entries looked at together when those nobody told of are removed.
const STRANGERS_AT_ONCE: usize = 1024;

#[derive(Debug)]
pub(super) struct Session {
    peer: Peer,
    pub(super) id: u64,
    version: u8,
    /// Of the sender's table.
    buckets: u32,
    pub(super) heard: Duration,
    highest: u64,
    bits: u64,
    owes_report: bool,
    is_current: bool,
    bulk: (u32, u32),
    names: Vec<Option<Name>>,
    /// Services that the sender is active for, of those in this director's plan.
    told_of: HashSet<u32>,
    /// Something of the bulk could not be held: no room, or another entry stood in its way.
    is_short: bool,
    /// What has been removed since may have made room for it.
    has_room_again: bool,
    /// Something was told that this director's plan did not know, or expects of another director.
    pub(super) is_ahead: bool,
    tenants: Tenants,
}

/// What a number of the session stands for.
#[derive(Clone, Copy, Debug)]
struct Name {
    key: DestinationKey,
    known: Option<Known>,
    /// Somebody else has become active for its service since it was explained.
    is_ceded: bool,
}

impl Session {
    pub(super) fn new(peer: Peer, header: &Header, buckets: u32, now: Duration) -> Self {
        Self {
            peer,
            id: header.session,
            version: header.version,
            buckets,
            heard: now,
            highest: 0,
            bits: 0,
            owes_report: false,
            is_current: false,
            bulk: (0, 0),
            names: Vec::new(),
            told_of: HashSet::new(),
            is_short: false,
            has_room_again: false,
            is_ahead: false,
            tenants: Tenants::new(peer),
        }
    }

    pub(super) const fn is_current(&self) -> bool {
        self.is_current
    }

    /// Whether another bulk might tell of connections that this one has found no room for.
    pub(super) const fn has_room_again(&self) -> bool {
        self.has_room_again
    }

    pub(super) fn stats(&self, stats: ReceiverStats) -> ReceiverStats {
        let (bulk_total, bulk_left) = self.bulk;
        let services = self.told_of.len() as u32;
        let is_current = self.is_current;
        ReceiverStats { is_following: true, is_current, bulk_total, bulk_left, services, ..stats }
    }

    /// Which datagrams have come, if there is something new to say of that, by the receiver that is in this life.
    pub(super) fn report(&mut self, receiver: u64) -> Option<(Header, Body)> {
        if !std::mem::take(&mut self.owes_report) {
            return None;
        }
        let header = Header { version: self.version, session: self.id, receiver, sequence: 0 };
        Some((header, Body::Report { highest: self.highest, bits: self.bits }))
    }

    /// Another plan, or others are active. Whether only another session can say what is: the sender is active for a service
    /// again that was somebody else's meanwhile.
    pub(super) fn rename(&mut self, directory: &Directory) -> bool {
        self.told_of.clear();
        let mut is_back = false;
        for name in self.names.iter_mut().flatten() {
            name.known = directory.find(&name.key).copied();
            let Some(Known { service, .. }) = name.known else { continue };
            is_back |= name.is_ceded && directory.is_at(service, self.peer);
            name.is_ceded |= !directory.is_told_by(service, self.peer);
            self.told_of.extend((!name.is_ceded).then_some(service));
        }
        is_back
    }

    pub(super) fn receive<T: Target>(
        &mut self,
        header: &Header,
        body: &Body,
        here: &mut Here<'_, T>,
    ) -> Result<(), MapError> {
        if header.sequence <= self.highest {
            here.stats.stale += 1;
            return Ok(());
        }
        here.stats.gaps += header.sequence - self.highest - 1;
        here.stats.datagrams += 1;
        self.count(header.sequence);
        self.heard = here.now;
        if self.take(body, here)? {
            self.bits |= 1;
        } else {
            here.stats.refused += 1;
        }
        Ok(())
    }

    /// Takes note of a datagram that came, not yet of what it says.
    fn count(&mut self, sequence: u64) {
        let shift = u32::try_from(sequence - self.highest).unwrap_or(u32::MAX);
        self.bits = self.bits.checked_shl(shift).unwrap_or(0);
        self.highest = sequence;
        self.owes_report = true;
    }

    /// Whether the datagram was understood and has taken effect.
    fn take<T: Target>(&mut self, body: &Body, here: &mut Here<'_, T>) -> Result<bool, MapError> {
        match body {
            Body::Names(names) => {
                for (number, key) in names {
                    let known = here.directory.find(key).copied();
                    self.told_of.extend(known.map(|known| known.service));
                    // The sender knows more than this director of who is active, or less.
                    self.is_ahead |= known.is_some_and(|known| here.is_anothers(known.service, self.peer));
                    let length = self.names.len().max(*number as usize + 1).min(NUMBERS as usize);
                    self.names.resize(length, None);
                    if let Some(name) = self.names.get_mut(*number as usize) {
                        *name = Some(Name { key: *key, known, is_ceded: false });
                    }
                }
                Ok(true)
            }
            Body::Cells(all) => self.take_cells(all, here),
            Body::Progress { total, left, .. } => {
                self.bulk = (*total, *left);
                if *left > 0 {
                    // Another bulk: the sender has become active for more.
                    self.is_current = false;
                } else if !self.is_current {
                    let removed = here.stats.removed;
                    self.remove_strangers(here)?;
                    self.is_current = true;
                    self.has_room_again = self.is_short && here.stats.removed > removed;
                    self.is_short = false;
                }
                Ok(true)
            }
            Body::Join { .. } | Body::Offer { .. } | Body::Report { .. } => Ok(false),
        }
    }

    fn take_cells<T: Target>(&mut self, all: &[Told], here: &mut Here<'_, T>) -> Result<bool, MapError> {
        // Memory is taken as cells are spoken of.
        if all.iter().any(|told| told.bucket >= self.buckets) {
            return Ok(false);
        }
        let spoken = all.iter().flat_map(|told| {
            (told.bucket * ENTRIES_PER_BUCKET as u32..)
                .zip(&told.cells)
                .filter(|(_, cell)| **cell != Cell::Unsaid)
        });
        let (mut gone, mut held) = (Vec::new(), Vec::new());
        for (cell, said) in spoken {
            match said {
                Cell::Unsaid => {}
                Cell::Empty => gone.push(cell),
                Cell::Entry(entry) => {
                    // Its explanation was lost: also this has to be said again.
                    let Some(Some(name)) = self.names.get(entry.destination as usize) else {
                        return Ok(false);
                    };
                    match name.known.filter(|known| here.directory.is_told_by(known.service, self.peer)) {
                        Some(known) => held.push((cell, record(here.now, entry, &known, here.directory))),
                        None => {
                            self.is_ahead |=
                                name.known.is_none_or(|known| here.directory.is_theirs(known.service));
                            here.stats.unresolved += 1;
                            // Whatever stood there is gone.
                            gone.push(cell);
                        }
                    }
                }
            }
        }
        // First who leaves, so that there is room for who comes.
        let left: Vec<_> =
            gone.into_iter().filter_map(|cell| self.tenants.leave(here.owners, cell)).collect();
        here.remove(self.peer, left.into_iter())?;
        let refused = self.hold(held, here)?;
        // Those in whose way was who has left only now.
        let refused = self.hold(refused, here)?;
        self.is_short |= !refused.is_empty();
        let nonsense = refused.iter().filter(|(_, record)| record.outcome == outcome::REFUSED).count();
        here.stats.unresolved += nonsense as u64;
        here.stats.full += (refused.len() - nonsense) as u64;
        Ok(true)
    }

    /// Has the connections of these cells held; answers those that could not be, as long as others are where they are.
    fn hold<T: Target>(
        &mut self,
        held: Vec<(u32, Adoption)>,
        here: &mut Here<'_, T>,
    ) -> Result<Vec<(u32, Adoption)>, MapError> {
        if held.is_empty() {
            return Ok(held);
        }
        let (cells, mut records): (Vec<u32>, Vec<Adoption>) = held.iter().copied().unzip();
        here.target.apply(&mut records)?;
        let mut refused = Vec::new();
        let mut left = Vec::new();
        for ((cell, record), (_, asked)) in cells.into_iter().zip(records).zip(held) {
            let again = (cell, Adoption { outcome: record.outcome, ..asked });
            match record.outcome {
                outcome::INSERTED | outcome::UPDATED => {
                    let is_new = record.outcome == outcome::INSERTED;
                    *(if is_new { &mut here.stats.inserted } else { &mut here.stats.updated }) += 1;
                    left.extend(self.tenants.enter(here.owners, cell, record.place, record.version));
                }
                outcome::FULL | outcome::REFUSED => {
                    left.extend(self.tenants.leave(here.owners, cell));
                    refused.push(again);
                }
                outcome::CONTENDED => refused.push(again),
                _ => {
                    self.is_ahead |= record.outcome == outcome::UNKNOWN_DESTINATION;
                    here.stats.unresolved += 1;
                    left.extend(self.tenants.leave(here.owners, cell));
                }
            }
        }
        // A connection may have moved into another of these cells meanwhile.
        left.retain(|(place, version)| !self.tenants.holds(here.owners, *place, *version));
        here.remove(self.peer, left.into_iter())?;
        Ok(refused)
    }

    /// The bulk has told of everything the sender is active for: what of that it did not tell of is no more. It has
    /// explained the destinations of those services. A director that is active for nothing, as one that has just begun,
    /// takes nothing away.
    fn remove_strangers<T: Target>(&mut self, here: &mut Here<'_, T>) -> Result<(), MapError> {
        let mut strangers = Vec::with_capacity(STRANGERS_AT_ONCE);
        for place in 0..here.target.places() {
            if let Some(entry) = here.target.entry(place)
                && self.told_of.contains(&entry.service)
                && !self.tenants.holds(here.owners, place, entry.version)
            {
                strangers.push((place, entry.version));
            }
            if strangers.len() == STRANGERS_AT_ONCE {
                here.remove(self.peer, strangers.drain(..))?;
            }
        }
        here.remove(self.peer, strangers.into_iter())
    }
}

/// A connection in this director's own terms.
fn record(now: Duration, entry: &CellEntry, known: &Known, directory: &Directory) -> Adoption {
    let age = to_ticks(Duration::from_millis(u64::from(entry.age)));
    let last_seen = to_ticks(now).wrapping_sub(age).wrapping_add(grace(directory.timeout(entry.state)));
    let is_udp = known.key.service.protocol == protocol::UDP;
    Adoption {
        client: entry.client,
        client_port: entry.client_port,
        virtual_port: entry.virtual_port.unwrap_or(known.key.service.port),
        service: known.service,
        destination: known.index,
        generation: known.generation,
        last_seen,
        state: entry.state,
        flags: if is_udp { flags::UDP } else { 0 }
            | if known.is_tracked { flags::COUNTED } else { 0 }
            | if entry.is_embryonic { flags::EMBRYONIC } else { 0 },
        action: action::HOLD,
        ..Adoption::NONE
    }
}
