//! Tells one of them.

use std::time::Duration;

use lvs_common::connection::{ENTRIES_PER_BUCKET, Entry};

use super::super::wire::{self, Body, Header};
use super::super::{Directory, Peer, SILENCE, Source};
use super::pace::Pace;
use super::rate::Rate;
use super::session::Session;
use super::{Options, SenderStats, Step};

/// Follows marks, answers a receiver.
#[derive(Debug)]
pub(super) struct Sender {
    peer: Peer,
    options: Options,
    buckets: u32,
    /// The next session. Never one of before, or old datagrams would do as new ones.
    offer: u64,
    answer: Option<Vec<u8>>,
    session: Option<Session>,
    rate: Rate,
    stats: SenderStats,
}

impl Sender {
    /// For a table of so many buckets. `life` is random: no earlier sender had one near it.
    pub(super) fn new(peer: Peer, options: Options, buckets: u32, life: u64) -> Self {
        Self {
            peer,
            options,
            buckets,
            offer: life.max(1),
            answer: None,
            session: None,
            rate: Rate::default(),
            stats: SenderStats::default(),
        }
    }

    pub(super) const fn is_followed(&self) -> bool {
        self.session.is_some()
    }

    pub(super) fn mark(&mut self, now: Duration, bucket: u32) {
        if let Some(session) = &mut self.session {
            session.waiting.mark(now, bucket);
        }
    }

    /// See [`Session::compare_times`].
    pub(super) fn compare_times(
        &mut self,
        now: Duration,
        bucket: u32,
        entries: &[Option<Entry>; ENTRIES_PER_BUCKET],
        directory: &Directory,
    ) {
        if let Some(session) = &mut self.session {
            session.compare_times(now, bucket, entries, directory);
        }
    }

    pub(super) fn plan_changed(&mut self, now: Duration, former: &Directory, directory: &Directory) {
        if let Some(session) = &mut self.session {
            session.begin_again(now, directory);
            if directory.has_taken(former) {
                session.tell_all_again();
            }
        }
    }

    pub(super) fn receive(&mut self, now: Duration, header: &Header, body: &Body, directory: &Directory) {
        match body {
            Body::Join { oldest, newest } => self.join(now, header, (*oldest, *newest), directory),
            Body::Report { highest, bits } => {
                match self.session.as_mut().filter(|session| session.is_of(header)) {
                    Some(session) => session.report(now, *highest, *bits, &mut self.stats),
                    None => self.stats.stale += 1,
                }
            }
            _ => {}
        }
    }

    fn join(&mut self, now: Duration, header: &Header, (oldest, newest): (u8, u8), directory: &Directory) {
        if self.session.as_ref().is_some_and(|session| session.is_of(header)) {
            // Sent before our first datagram came.
            return;
        }
        let version = newest.min(*wire::VERSIONS.end());
        if version < oldest.max(*wire::VERSIONS.start()) {
            self.stats.incompatible += 1;
            return;
        }
        if header.session != self.offer {
            // An old datagram, or one who does not know the offer yet. Only who reads this answer knows the next one.
            let header = Header { version, session: self.offer, receiver: header.receiver, sequence: 0 };
            self.answer = Some(wire::encode(&header, &Body::Offer { buckets: self.buckets }));
            return;
        }
        let mut session = Session::new(self.peer, self.options, self.buckets, version, header, now);
        session.begin_again(now, directory);
        self.session = Some(session);
        self.stats.sessions += 1;
        self.offer = self.offer.wrapping_add(1).max(1);
    }

    pub(super) fn poll(
        &mut self,
        now: Duration,
        source: &impl Source,
        directory: &Directory,
        pace: &mut Pace,
    ) -> Step {
        if let Some(answer) = self.answer.take() {
            return Step::Send(self.peer, answer);
        }
        let Some(session) = &mut self.session else { return Step::Wait };
        if now.saturating_sub(session.heard) > SILENCE || session.names.are_used_up() {
            self.session = None;
            return Step::Wait;
        }
        let before = self.stats.bytes;
        let step = session.poll(now, source, directory, pace, &mut self.stats);
        if let bytes @ 1.. = (self.stats.bytes - before) as usize {
            self.rate.sent(now, bytes);
        }
        step
    }

    pub(super) fn stats(&self, now: Duration) -> SenderStats {
        let stats = SenderStats { rate: self.rate.of(now), ..self.stats };
        let Some(session) = &self.session else { return stats };
        SenderStats {
            is_followed: true,
            bulk_total: self.buckets,
            bulk_left: session.left(),
            waiting: session.waiting.count(),
            lag: session.lag(now),
            ..stats
        }
    }
}
