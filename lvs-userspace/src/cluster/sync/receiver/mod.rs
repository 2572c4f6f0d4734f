//! Takes over the connections of the services the other director is active for.

mod tenants;

use std::collections::HashSet;
use std::time::Duration;

use lvs_common::adoption::{Adoption, action, outcome};
use lvs_common::connection::{ENTRIES_PER_BUCKET, flags};
use lvs_common::service::protocol;

use super::directory::Known;
use super::wire::{self, Body, Cell, CellEntry, Header, NUMBERS, Told};
use super::{DestinationKey, Directory, SILENCE, Target, grace, to_ticks};
use crate::dataplane::MapError;
use tenants::Tenants;

/// Between two requests for a session.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// Entries looked at together when those nobody told of are removed.
const STRANGERS_AT_ONCE: usize = 1024;

/// Since its start, but for the last five, which are of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    pub sessions: u64,
    pub datagrams: u64,
    pub inserted: u64,
    pub updated: u64,
    pub removed: u64,
    /// Connections that were not taken over: their destination or service is not in this director's plan (yet),
    pub unresolved: u64,
    /// or there is no room.
    pub full: u64,
    /// Datagrams that did not come, or too late.
    pub gaps: u64,
    /// Datagrams that came too late, twice, or of another session.
    pub stale: u64,
    /// Datagrams that made no sense.
    pub refused: u64,
    pub is_following: bool,
    /// Everything of this session's bulk has arrived.
    pub is_current: bool,
    /// Everything of some bulk has.
    pub is_complete: bool,
    /// Buckets of the bulk: all, and those that were on their way when the sender said so last.
    pub bulk_total: u32,
    pub bulk_left: u32,
}

/// Follows one sender.
#[derive(Debug)]
pub struct Receiver {
    /// Which receiver this is to the sender: another one with each session.
    life: u64,
    /// When the sender was asked for a session.
    asked: Option<Duration>,
    /// The session that it offers.
    offered: u64,
    session: Option<Session>,
    is_complete: bool,
    stats: ReceiverStats,
}

#[derive(Debug)]
struct Session {
    id: u64,
    version: u8,
    heard: Duration,
    highest: u64,
    bits: u64,
    owes_report: bool,
    is_current: bool,
    bulk: (u32, u32),
    names: Vec<Option<Name>>,
    /// Something was told that this director's plan did not know.
    is_ahead: bool,
    tenants: Tenants,
}

/// What a number of the session stands for.
#[derive(Clone, Copy, Debug)]
struct Name {
    key: DestinationKey,
    known: Option<Known>,
}

impl Receiver {
    /// `life` is random: no earlier receiver had one near it.
    pub fn new(life: u64) -> Self {
        Self {
            life,
            asked: None,
            offered: 0,
            session: None,
            is_complete: false,
            stats: ReceiverStats::default(),
        }
    }

    /// This director holds all connections there were at some moment since it began, and what was told since.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The directory has taken the place of `former`.
    pub fn plan_changed(&mut self, former: &Directory, directory: &Directory) {
        let Some(session) = &mut self.session else { return };
        for name in session.names.iter_mut().flatten() {
            name.known = directory.find(&name.key).copied();
        }
        // What was refused has to be told again. And what this director was active for until now, the other one was
        // not asked to tell of: only another bulk can say what of it is no more.
        if session.is_ahead || directory.has_given_up(former) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.session = None;
        self.life = self.life.wrapping_add(1);
        self.offered = 0;
        self.asked = None;
    }

    /// What is to be sent now, its proof yet to be added. To be asked after datagrams have come, and every 100 ms.
    pub fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        let Some(session) = &mut self.session else { return self.ask(now) };
        if now.saturating_sub(session.heard) > SILENCE {
            self.leave();
            return self.ask(now);
        }
        if !std::mem::take(&mut session.owes_report) {
            return None;
        }
        let (version, receiver) = (session.version, self.life);
        let header = Header { version, session: session.id, receiver, sequence: 0 };
        Some(wire::encode(&header, &Body::Report { highest: session.highest, bits: session.bits }))
    }

    fn ask(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.asked.is_some_and(|asked| now.saturating_sub(asked) < ASK_AGAIN) {
            return None;
        }
        self.asked = Some(now);
        let (oldest, newest) = (*wire::VERSIONS.start(), *wire::VERSIONS.end());
        let header = Header { version: newest, session: self.offered, receiver: self.life, sequence: 0 };
        Some(wire::encode(&header, &Body::Join { oldest, newest }))
    }

    /// A sender's datagram. An error is the table's, and ends the session: what was told is asked for again.
    pub fn receive(
        &mut self,
        now: Duration,
        header: &Header,
        body: &Body,
        target: &mut impl Target,
        directory: &Directory,
    ) -> Result<(), MapError> {
        if header.receiver != self.life {
            self.stats.stale += 1;
            return Ok(());
        }
        if let Body::Offer { .. } = body {
            if self.session.is_none() && self.offered != header.session {
                self.offered = header.session;
                self.asked = None;
            }
            return Ok(());
        }
        if self.session.is_none() && self.offered != 0 && header.session == self.offered {
            self.stats.sessions += 1;
            self.session = Some(Session::new(header, now, target.places()));
        }
        let Some(session) = self.session.as_mut().filter(|session| session.id == header.session) else {
            self.stats.stale += 1;
            return Ok(());
        };
        if header.sequence <= session.highest {
            self.stats.stale += 1;
            return Ok(());
        }
        self.stats.gaps += header.sequence - session.highest - 1;
        self.stats.datagrams += 1;
        session.count(header.sequence);
        session.heard = now;
        let taken = session.take(now, body, target, directory, &mut self.stats);
        match taken {
            Ok(true) => session.bits |= 1,
            Ok(false) => self.stats.refused += 1,
            Err(_) => self.leave(),
        }
        self.is_complete |= self.session.as_ref().is_some_and(|session| session.is_current);
        taken.map(drop)
    }

    pub fn stats(&self) -> ReceiverStats {
        let stats = ReceiverStats { is_complete: self.is_complete, ..self.stats };
        let Some(session) = &self.session else { return stats };
        let (bulk_total, bulk_left) = session.bulk;
        ReceiverStats { is_following: true, is_current: session.is_current, bulk_total, bulk_left, ..stats }
    }
}

impl Session {
    fn new(header: &Header, now: Duration, places: u32) -> Self {
        Self {
            id: header.session,
            version: header.version,
            heard: now,
            highest: 0,
            bits: 0,
            owes_report: false,
            is_current: false,
            bulk: (0, 0),
            names: Vec::new(),
            is_ahead: false,
            tenants: Tenants::new(places),
        }
    }

    /// Takes note of a datagram that came, not yet of what it says.
    fn count(&mut self, sequence: u64) {
        let shift = u32::try_from(sequence - self.highest).unwrap_or(u32::MAX);
        self.bits = self.bits.checked_shl(shift).unwrap_or(0);
        self.highest = sequence;
        self.owes_report = true;
    }

    /// Whether the datagram was understood and has taken effect.
    fn take(
        &mut self,
        now: Duration,
        body: &Body,
        target: &mut impl Target,
        directory: &Directory,
        stats: &mut ReceiverStats,
    ) -> Result<bool, MapError> {
        match body {
            Body::Names(names) => {
                for (number, key) in names {
                    let known = directory.find(key).copied();
                    let length = self.names.len().max(*number as usize + 1).min(NUMBERS as usize);
                    self.names.resize(length, None);
                    if let Some(name) = self.names.get_mut(*number as usize) {
                        *name = Some(Name { key: *key, known });
                    }
                }
                Ok(true)
            }
            Body::Cells(all) => self.take_cells(now, all, target, directory, stats),
            Body::Progress { total, left, .. } => {
                self.bulk = (*total, *left);
                if *left == 0 && !self.is_current {
                    self.remove_strangers(target, directory, stats)?;
                    self.is_current = true;
                }
                Ok(true)
            }
            Body::Join { .. } | Body::Offer { .. } | Body::Report { .. } => Ok(false),
        }
    }

    fn take_cells(
        &mut self,
        now: Duration,
        all: &[Told],
        target: &mut impl Target,
        directory: &Directory,
        stats: &mut ReceiverStats,
    ) -> Result<bool, MapError> {
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
                    match name.known.filter(|known| directory.is_theirs(known.service)) {
                        Some(known) => held.push((cell, record(now, entry, &known, directory))),
                        None => {
                            self.is_ahead |= name.known.is_none();
                            stats.unresolved += 1;
                            // Whatever stood there is gone.
                            gone.push(cell);
                        }
                    }
                }
            }
        }
        // First who leaves, so that there is room for who comes.
        self.remove(&gone, target, directory, stats)?;
        let full = self.hold(held, target, directory, stats)?;
        // Those whose room was taken by who has left only now.
        let full = self.hold(full, target, directory, stats)?;
        stats.full += full.len() as u64;
        Ok(true)
    }

    /// Has the connections of these cells removed.
    fn remove(
        &mut self,
        cells: &[u32],
        target: &mut impl Target,
        directory: &Directory,
        stats: &mut ReceiverStats,
    ) -> Result<(), MapError> {
        let left = cells.iter().filter_map(|cell| self.tenants.leave(*cell)).collect::<Vec<_>>();
        remove(left.into_iter(), target, directory, stats)
    }

    /// Has the connections of these cells held; answers those for which there was no room.
    fn hold(
        &mut self,
        held: Vec<(u32, Adoption)>,
        target: &mut impl Target,
        directory: &Directory,
        stats: &mut ReceiverStats,
    ) -> Result<Vec<(u32, Adoption)>, MapError> {
        if held.is_empty() {
            return Ok(held);
        }
        let (cells, mut records): (Vec<u32>, Vec<Adoption>) = held.iter().copied().unzip();
        target.apply(&mut records)?;
        let mut full = Vec::new();
        let mut left = Vec::new();
        for ((cell, record), asked) in cells.into_iter().zip(records).zip(held) {
            match record.outcome {
                outcome::INSERTED | outcome::UPDATED => {
                    *(if record.outcome == outcome::INSERTED {
                        &mut stats.inserted
                    } else {
                        &mut stats.updated
                    }) += 1;
                    left.extend(self.tenants.enter(cell, record.place, record.version));
                }
                outcome::FULL => {
                    left.extend(self.tenants.leave(cell));
                    full.push(asked);
                }
                outcome::CONTENDED => full.push(asked),
                _ => {
                    self.is_ahead |= record.outcome == outcome::UNKNOWN_DESTINATION;
                    stats.unresolved += 1;
                    left.extend(self.tenants.leave(cell));
                }
            }
        }
        // A connection may have moved into another of these cells meanwhile.
        let left: Vec<_> =
            left.into_iter().filter(|(place, version)| !self.tenants.holds(*place, *version)).collect();
        remove(left.into_iter(), target, directory, stats)?;
        Ok(full)
    }

    /// The bulk has told of everything the sender is active for: what of that it did not tell of is no more. It has
    /// explained the destinations of those services. A director that is active for nothing, as one that has just begun,
    /// takes nothing away.
    fn remove_strangers(
        &mut self,
        target: &mut impl Target,
        directory: &Directory,
        stats: &mut ReceiverStats,
    ) -> Result<(), MapError> {
        let known = self.names.iter().flatten().filter_map(|name| name.known);
        let told_of: HashSet<u32> = known.map(|known| known.service).collect();
        let mut strangers = Vec::with_capacity(STRANGERS_AT_ONCE);
        for place in 0..target.places() {
            if let Some(entry) = target.entry(place)
                && told_of.contains(&entry.service)
                && !self.tenants.holds(place, entry.version)
            {
                strangers.push((place, entry.version));
            }
            if strangers.len() == STRANGERS_AT_ONCE {
                remove(strangers.drain(..), target, directory, stats)?;
            }
        }
        remove(strangers.into_iter(), target, directory, stats)
    }
}

/// Removes entries, by place and version. One of a service that this director is active for stays, whatever the other
/// says: it may have been so until a moment ago.
fn remove(
    entries: impl Iterator<Item = (u32, u16)>,
    target: &mut impl Target,
    directory: &Directory,
    stats: &mut ReceiverStats,
) -> Result<(), MapError> {
    let is_theirs = |(place, version): &(u32, u16)| {
        target
            .entry(*place)
            .is_some_and(|entry| entry.version == *version && directory.is_theirs(entry.service))
    };
    let mut records: Vec<_> =
        entries.filter(is_theirs).map(|(place, version)| Adoption::drop(place, version)).collect();
    target.apply(&mut records)?;
    stats.removed += records.iter().filter(|record| record.outcome == outcome::REMOVED).count() as u64;
    Ok(())
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
