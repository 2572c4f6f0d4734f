//! One member's vote on one group: it is given to one claimant at a time.

use std::time::Duration;

use crate::cluster::beat::{GroupBeat, Promise};
use crate::cluster::identity::NodeId;

#[derive(Clone, Debug, Default)]
pub struct Ballot {
    /// The highest term of office anybody has named.
    pub epoch: u64,
    pub promise: Option<Promise>,
    /// The one before the vote was one's own.
    former: Option<Promise>,
    /// The promise binds until then, in the member's own time.
    until: Duration,
}

impl Ballot {
    /// Of a member that does not remember what it has promised in an earlier life: it gives no vote to anybody
    /// else than `None` before `until`.
    pub const fn silent_until(until: Duration) -> Self {
        Self { epoch: 0, promise: None, former: None, until }
    }

    /// Hears what `from` says of the group. It must be newer than what was heard of `from` before.
    pub fn hear(&mut self, from: NodeId, said: &GroupBeat, now: Duration, deadtime: Duration) {
        self.epoch = self.epoch.max(said.epoch);
        let until = now + deadtime.max(Duration::from_millis(u64::from(said.hold)));
        match self.promise {
            Some(promise) if promise.to == from => {
                if !said.claims {
                    self.until = self.until.min(now);
                } else if said.epoch >= promise.epoch {
                    self.promise = Some(Promise { to: from, epoch: said.epoch });
                    self.until = until;
                }
            }
            former => {
                // Two that could not hear each other may have come to the same term; the vote names the holder too.
                let is_late = former.is_some_and(|promise| said.epoch < promise.epoch);
                if said.claims && !is_late && self.is_free(now) {
                    self.promise = Some(Promise { to: from, epoch: said.epoch });
                    self.until = until;
                }
            }
        }
    }

    /// Nobody is promised anything.
    pub fn is_free(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// When it became free.
    pub const fn free_since(&self) -> Duration {
        self.until
    }

    /// The vote is one's own, for a new term, until [`Self::give_up`] or [`Self::take_back`].
    pub fn take(&mut self, node: NodeId) -> u64 {
        self.former = self.promise;
        self.epoch += 1;
        self.keep(node, self.epoch);
        self.epoch
    }

    /// The vote is one's own for this term.
    pub fn keep(&mut self, node: NodeId, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        self.promise = Some(Promise { to: node, epoch });
        self.until = Duration::MAX;
    }

    /// Until when a hold of `from` is honoured, if it was asked for and has the vote.
    pub(super) fn hold_of(&self, from: NodeId, said: &GroupBeat, deadtime: Duration) -> Option<Duration> {
        let has_vote = self.promise == Some(Promise { to: from, epoch: said.epoch }) && said.claims;
        (has_vote && u128::from(said.hold) > deadtime.as_millis()).then_some(self.until)
    }

    /// An earlier life has promised this.
    pub(super) fn recall(&mut self, promise: Promise, until: Duration) {
        self.epoch = self.epoch.max(promise.epoch);
        self.promise = Some(promise);
        self.until = self.until.max(until);
    }

    /// One's own claim has come to nothing: who held the group before may hold it still, for the earlier term, and is known
    /// as its holder.
    pub const fn take_back(&mut self, now: Duration) {
        self.promise = self.former;
        self.until = now;
    }

    /// One's own term has ended.
    pub const fn give_up(&mut self, now: Duration) {
        self.until = now;
    }

    /// What was promised to others binds until `until` at the least: this member was not there to hear them.
    pub fn extend(&mut self, until: Duration) {
        self.until = self.until.max(until);
    }
}
