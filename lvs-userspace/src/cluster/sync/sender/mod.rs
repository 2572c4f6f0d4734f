//! Tells all other directors of the connections of the services this one is active for.

mod bulk;
mod flight;
mod names;
mod one;
mod pace;
mod rate;
mod session;
mod sweep;
mod waiting;

use std::time::Duration;

use super::wire::{Body, Header};
use super::{Directory, Peer, Source};
use one::Sender;
use pace::Pace;
use sweep::Sweep;

/// How a director tells.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes a second at the most, to all others together, so that what is more important on the link is not delayed.
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

/// Of one receiver: since the start, but for the last seven, which are of now.
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
    /// Datagrams of receivers that were of another session.
    pub stale: u64,
    /// A receiver follows.
    pub is_followed: bool,
    /// Buckets of the bulk: all, and those not acknowledged yet.
    pub bulk_total: u32,
    pub bulk_left: u32,
    /// Buckets that wait to be looked at.
    pub waiting: u32,
    /// How long ago the oldest change was made that is not acknowledged.
    pub lag: Duration,
    /// Bytes of the last second.
    pub rate: u64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, its proof yet to be added, and ask again.
    Send(Peer, Vec<u8>),
    /// There is more to do: ask again.
    Again,
    /// There is more to say, which would be too much at once: ask again in a millisecond.
    Pause,
    /// Nothing until a datagram comes, a bucket is marked, or a few milliseconds have passed.
    Wait,
}

/// Follows marks, answers receivers.
#[derive(Debug)]
pub struct Senders {
    /// By peer.
    senders: Vec<Sender>,
    /// The one whose turn it is.
    turn: usize,
    pace: Pace,
    sweep: Sweep,
    /// This director is active for something.
    is_active: bool,
}

impl Senders {
    /// For a table of so many buckets, and a receiver for each of `lives`, which are random: no earlier sender had one
    /// near it.
    pub fn new(options: Options, buckets: u32, lives: impl IntoIterator<Item = u64>) -> Self {
        let senders = (0..u8::MAX).zip(lives);
        Self {
            senders: senders.map(|(peer, life)| Sender::new(Peer(peer), options, buckets, life)).collect(),
            turn: 0,
            pace: Pace::new(options.bytes_per_second, Duration::ZERO),
            sweep: Sweep::new(buckets),
            is_active: true,
        }
    }

    /// Whether anybody wants to know of changes. Without a receiver, and without a service to tell of, marks may stay
    /// where they are: when that changes all buckets are looked at anyway.
    pub fn wants_marks(&self) -> bool {
        self.is_active && self.senders.iter().any(Sender::is_followed)
    }

    /// A bucket has changed.
    pub fn mark(&mut self, now: Duration, bucket: u32) {
        self.senders.iter_mut().for_each(|sender| sender.mark(now, bucket));
    }

    /// The directory has taken the place of `former`: everything is compared with what was told. Of services that this
    /// director has given up nothing is said any more.
    pub fn plan_changed(&mut self, now: Duration, former: &Directory, directory: &Directory) {
        self.is_active = directory.is_active();
        self.senders.iter_mut().for_each(|sender| sender.plan_changed(now, former, directory));
    }

    /// A receiver's datagram: Join or Report.
    pub fn receive(
        &mut self,
        now: Duration,
        from: Peer,
        header: &Header,
        body: &Body,
        directory: &Directory,
    ) {
        if let Some(sender) = self.senders.get_mut(from.index()) {
            sender.receive(now, header, body, directory);
        }
    }

    /// What to do now. `directory` names what the source's entries refer to.
    pub fn poll(&mut self, now: Duration, source: &impl Source, directory: &Directory) -> Step {
        if self.wants_marks() {
            self.sweep.go_on(now, source, directory, &mut self.senders);
        }
        let mut next = Step::Wait;
        let count = self.senders.len();
        for _ in 0..count {
            let sender = &mut self.senders[self.turn];
            self.turn = (self.turn + 1) % count;
            match (sender.poll(now, source, directory, &mut self.pace), &next) {
                (step @ Step::Send(..), _) => return step,
                (step @ Step::Again, _) | (step @ Step::Pause, Step::Wait) => next = step,
                (Step::Pause | Step::Wait, _) => {}
            }
        }
        next
    }

    /// `None` of a director that is none.
    pub fn stats(&self, now: Duration, of: Peer) -> Option<SenderStats> {
        self.senders.get(of.index()).map(|sender| sender.stats(now))
    }
}
