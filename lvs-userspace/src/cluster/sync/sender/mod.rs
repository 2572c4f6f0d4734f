//! Tells the other director of the connections of the services this one is active for.

mod bulk;
mod flight;
mod names;
mod pace;
mod session;

use std::time::Duration;

use super::wire::{self, Body, Header};
use super::{Directory, SILENCE, Source};
use session::Session;

/// How a sender works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes a second at the most, so that what is more important on the link is not delayed.
    pub bytes_per_second: u64,
    /// Whether connections are told of which only one packet was seen. During a flood of SYNs most are.
    pub embryonic: bool,
    /// Bytes that the proof of its origin takes of each datagram.
    pub overhead: usize,
}

impl Default for Options {
    /// A fifth of a link of 1 Gbit/s.
    fn default() -> Self {
        Self { bytes_per_second: 25_000_000, embryonic: true, overhead: 16 }
    }
}

/// Since its start, but for the last five, which are of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderStats {
    pub sessions: u64,
    /// Joins by a director of whose versions of the layout we have none.
    pub incompatible: u64,
    pub datagrams: u64,
    /// Of datagrams, without UDP and IP headers.
    pub bytes: u64,
    /// Connections told, again and again those that go on.
    pub entries: u64,
    /// Connections told to be over.
    pub removals: u64,
    /// Datagrams that were not acknowledged. What they said is said anew.
    pub lost: u64,
    /// A receiver follows.
    pub is_followed: bool,
    /// Buckets of the bulk: all, and those not acknowledged yet.
    pub bulk_total: u32,
    pub bulk_left: u32,
    /// Buckets that wait to be looked at.
    pub waiting: u32,
    /// How long a change waits until it is acknowledged, of late.
    pub lag: Duration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, its proof yet to be added, and ask again.
    Send(Vec<u8>),
    /// There is more to do: ask again.
    Again,
    /// There is more to say, which would be too much at once: ask again in a millisecond.
    Pause,
    /// Nothing until a datagram comes, a bucket is marked, or a few milliseconds have passed.
    Wait,
}

/// Follows marks, answers a receiver.
#[derive(Debug)]
pub struct Sender {
    options: Options,
    buckets: u32,
    /// The next session. Never one of before, or old datagrams would do as new ones.
    offer: u64,
    answer: Option<Vec<u8>>,
    session: Option<Session>,
    stats: SenderStats,
}

impl Sender {
    /// For a table of so many buckets. `life` is random: no earlier sender had one near it.
    pub fn new(options: Options, buckets: u32, life: u64) -> Self {
        let offer = life.max(1);
        Self { options, buckets, offer, answer: None, session: None, stats: SenderStats::default() }
    }

    /// Whether a receiver follows: else no marks are wanted.
    pub const fn is_followed(&self) -> bool {
        self.session.is_some()
    }

    /// A bucket has changed.
    pub fn mark(&mut self, bucket: u32) {
        if let Some(session) = &mut self.session {
            session.pending.set(bucket);
        }
    }

    /// The directory has taken the place of `former`: everything is compared with what was told. Where this director has
    /// given services up, another session tells what it still is active for.
    pub fn plan_changed(&mut self, former: &Directory, directory: &Directory) {
        if directory.has_given_up(former) {
            self.session = None;
        }
        if let Some(session) = &mut self.session {
            session.begin_again(directory);
        }
    }

    /// A receiver's datagram: Join or Report.
    pub fn receive(&mut self, now: Duration, header: &Header, body: &Body, directory: &Directory) {
        match body {
            Body::Join { oldest, newest } => self.join(now, header, (*oldest, *newest), directory),
            Body::Report { highest, bits } => {
                if let Some(session) = self.session.as_mut().filter(|session| session.is_of(header)) {
                    session.report(now, *highest, *bits, &mut self.stats);
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
        let mut session = Session::new(self.options, self.buckets, version, header, now);
        session.begin_again(directory);
        self.session = Some(session);
        self.stats.sessions += 1;
        self.offer = self.offer.wrapping_add(1).max(1);
    }

    /// What to do now. `directory` names what the source's entries refer to.
    pub fn poll(&mut self, now: Duration, source: &impl Source, directory: &Directory) -> Step {
        if let Some(answer) = self.answer.take() {
            return Step::Send(answer);
        }
        let Some(session) = &mut self.session else { return Step::Wait };
        if now.saturating_sub(session.heard) > SILENCE || session.names.are_used_up() {
            self.session = None;
            return Step::Wait;
        }
        session.poll(now, source, directory, &mut self.stats)
    }

    pub fn stats(&self) -> SenderStats {
        let Some(session) = &self.session else { return self.stats };
        SenderStats {
            is_followed: true,
            bulk_total: self.buckets,
            bulk_left: session.left(),
            waiting: session.pending.count(),
            lag: session.lag(),
            ..self.stats
        }
    }
}
