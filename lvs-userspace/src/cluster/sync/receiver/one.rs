//! Follows one of them.

use std::time::Duration;

use super::super::wire::{self, Body, Header};
use super::super::{Directory, Peer, SILENCE, Target};
use super::session::Session;
use super::tenants::Owners;
use super::{Here, ReceiverStats};
use crate::dataplane::MapError;

/// Between two requests for a session.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long a sender that seems to have begun anew may be silent: one that has not says something each half second.
const DOUBT: Duration = Duration::from_millis(750);
/// Lives of a receiver that follow one another in one process of the other director's, at the most.
const LIVES: u64 = 1 << 32;

/// Follows one sender.
#[derive(Debug)]
pub(super) struct Receiver {
    peer: Peer,
    /// Which receiver this is to the sender: another one with each session.
    life: u64,
    /// When the sender was asked for a session.
    asked: Option<Duration>,
    /// The session that it offers, and the buckets of its table.
    offered: u64,
    buckets: u32,
    session: Option<Session>,
    /// The life of the other director's own receiver of this one.
    other: Option<u64>,
    /// Since when that director seems to have begun anew, if it has said nothing more in this session.
    doubted: Option<Duration>,
    /// It has said more, so somebody repeats old requests of its: they are not heeded again in this session.
    is_trusted: bool,
    /// This session was asked for since there is room again for what the one before could not hold.
    is_second: bool,
    is_complete: bool,
    stats: ReceiverStats,
}

impl Receiver {
    pub(super) fn new(peer: Peer, life: u64) -> Self {
        Self {
            peer,
            life,
            asked: None,
            offered: 0,
            buckets: 0,
            session: None,
            other: None,
            doubted: None,
            is_trusted: false,
            is_second: false,
            is_complete: false,
            stats: ReceiverStats::default(),
        }
    }

    pub(super) const fn peer(&self) -> Peer {
        self.peer
    }

    pub(super) fn plan_changed(&mut self, former: &Directory, directory: &Directory) {
        let Some(session) = &mut self.session else { return };
        let is_back = session.rename(directory);
        // What was refused has to be told again. And what this director or a third one was active for until now, the other
        // one was not asked to tell of: only another bulk can say what of it is no more.
        if is_back || session.is_ahead || directory.has_given_up(former) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.session = None;
        self.life = self.life.wrapping_add(1);
        self.offered = 0;
        self.asked = None;
        self.doubted = None;
        self.is_trusted = false;
    }

    pub(super) fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        let Some(session) = &mut self.session else { return self.ask(now) };
        if self.doubted.is_some_and(|doubted| session.heard > doubted) {
            self.doubted = None;
            self.is_trusted = true;
        }
        let patience = if self.doubted.is_some() { DOUBT } else { SILENCE };
        if now.saturating_sub(session.heard) > patience {
            self.leave();
            return self.ask(now);
        }
        let (header, report) = session.report(self.life)?;
        Some(wire::encode(&header, &report))
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

    /// See [`Receivers::hear_join`](super::Receivers::hear_join).
    pub(super) fn hear_join(&mut self, now: Duration, life: u64) {
        let other = self.other.replace(life);
        if other.is_some_and(|other| life.wrapping_sub(other) >= LIVES)
            && self.session.is_some()
            && !self.is_trusted
        {
            self.doubted.get_or_insert(now);
        }
    }

    /// See [`Receivers::receive`](super::Receivers::receive).
    pub(super) fn receive(
        &mut self,
        header: &Header,
        body: &Body,
        (now, target, owners, directory): (Duration, &mut impl Target, &mut Owners, &Directory),
    ) -> Result<(), MapError> {
        if header.receiver != self.life {
            self.stats.stale += 1;
            return Ok(());
        }
        if let Body::Offer { buckets } = body {
            if self.session.is_none() && self.offered != header.session {
                (self.offered, self.buckets) = (header.session, *buckets);
                self.asked = None;
            }
            return Ok(());
        }
        if self.session.is_none() && self.offered != 0 && header.session == self.offered {
            self.stats.sessions += 1;
            self.session = Some(Session::new(self.peer, header, self.buckets, now));
        }
        let Some(session) = self.session.as_mut().filter(|session| session.id == header.session) else {
            self.stats.stale += 1;
            return Ok(());
        };
        let mut here = Here { now, target, owners, directory, stats: &mut self.stats };
        let taken = session.receive(header, body, &mut here);
        if taken.is_err() {
            self.leave();
        } else if session.has_room_again() && !self.is_second {
            self.leave();
            self.is_second = true;
        } else if session.is_current() {
            self.is_second = false;
            // What was refused is not here.
            self.is_complete |= !session.is_ahead;
        }
        taken
    }

    pub(super) fn stats(&self) -> ReceiverStats {
        let stats = ReceiverStats { is_complete: self.is_complete, ..self.stats };
        self.session.as_ref().map_or(stats, |session| session.stats(stats))
    }
}
