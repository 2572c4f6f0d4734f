//! Takes over the connections of the services that other directors are active for.

mod one;
mod session;
mod tenants;

use std::time::Duration;

use lvs_common::adoption::{Adoption, outcome};

use super::wire::{Body, Header};
use super::{Directory, Peer, Target};
use crate::dataplane::MapError;
use one::Receiver;
use tenants::Owners;

/// Of one sender: since the start, but for the last six, which are of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    pub sessions: u64,
    pub datagrams: u64,
    pub inserted: u64,
    pub updated: u64,
    pub removed: u64,
    /// Connections that were not taken over: their destination or service is not in this director's plan (yet), or is
    /// another director's to tell of,
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
    /// Services that the sender is active for, as far as it has explained destinations of theirs.
    pub services: u32,
}

/// What a receiver acts on.
struct Here<'a, T> {
    now: Duration,
    target: &'a mut T,
    owners: &'a mut Owners,
    directory: &'a Directory,
    stats: &'a mut ReceiverStats,
}

/// Follows all other directors.
#[derive(Debug)]
pub struct Receivers {
    /// By peer.
    receivers: Vec<Receiver>,
    owners: Owners,
}

impl Receivers {
    /// A receiver for each of `lives`, which are random: no earlier receiver had one near it.
    pub fn new(lives: impl IntoIterator<Item = u64>) -> Self {
        let receivers = (0..u8::MAX).zip(lives).map(|(peer, life)| Receiver::new(Peer(peer), life));
        Self { receivers: receivers.collect(), owners: Owners::default() }
    }

    /// The directory has taken the place of `former`.
    pub fn plan_changed(&mut self, former: &Directory, directory: &Directory) {
        self.receivers.iter_mut().for_each(|receiver| receiver.plan_changed(former, directory));
    }

    /// What is to be sent now and to whom, its proof yet to be added. To be asked after datagrams have come, and every
    /// 100 ms, until there is nothing.
    pub fn poll(&mut self, now: Duration) -> Option<(Peer, Vec<u8>)> {
        self.receivers.iter_mut().find_map(|receiver| Some((receiver.peer(), receiver.poll(now)?)))
    }

    /// Another director asks this one for a session, as the receiver that it is in this life. If that is not the life of
    /// before, it has begun anew, and does not know of the session in which it told this one: without that, nothing would
    /// be asked of it before it has been silent for long.
    pub fn hear_join(&mut self, now: Duration, from: Peer, life: u64) {
        if let Some(receiver) = self.receivers.get_mut(from.index()) {
            receiver.hear_join(now, life);
        }
    }

    /// A sender's datagram. An error is the table's, and ends the session: what was told is asked for again.
    pub fn receive(
        &mut self,
        now: Duration,
        from: Peer,
        (header, body): (&Header, &Body),
        target: &mut impl Target,
        directory: &Directory,
    ) -> Result<(), MapError> {
        if self.owners.is_empty() {
            self.owners = Owners::of(target.places());
        }
        let Some(receiver) = self.receivers.get_mut(from.index()) else { return Ok(()) };
        receiver.receive(header, body, (now, target, &mut self.owners, directory))
    }

    /// `None` of a director that is none.
    pub fn stats(&self, of: Peer) -> Option<ReceiverStats> {
        self.receivers.get(of.index()).map(Receiver::stats)
    }
}

impl<T: Target> Here<'_, T> {
    /// Whether another director than `peer` is expected to tell of a service.
    fn is_anothers(&self, service: u32, peer: Peer) -> bool {
        self.directory.is_theirs(service) && !self.directory.is_told_by(service, peer)
    }

    /// Removes entries, by place and version. One of a service that `peer` does not tell of stays, whatever it says: it
    /// may have been told of by that one until a moment ago.
    fn remove(&mut self, peer: Peer, entries: impl Iterator<Item = (u32, u16)>) -> Result<(), MapError> {
        let is_its = |(place, version): &(u32, u16)| {
            let entry = self.target.entry(*place);
            entry.is_some_and(|entry| {
                entry.version == *version && self.directory.is_told_by(entry.service, peer)
            })
        };
        let mut records: Vec<_> =
            entries.filter(is_its).map(|(place, version)| Adoption::drop(place, version)).collect();
        self.target.apply(&mut records)?;
        let removed = records.iter().filter(|record| record.outcome == outcome::REMOVED).count();
        self.stats.removed += removed as u64;
        Ok(())
    }
}
