//! What votes are worth, and until when a group is held by them.

use std::time::Duration;

use super::seat::State;
use super::{Node, Notice, Output, Task, Why};
use crate::cluster::identity::NodeId;

impl Node {
    /// Until when a claim for `epoch` has a majority, and until when new connections are safe with it: the
    /// newest evidence may be as old as two beats.
    pub(super) fn lease_of(&self, index: usize, epoch: u64, now: Duration) -> (Duration, Duration) {
        let others = self.settings.quorum() - 1;
        let mut evidence: Vec<Duration> =
            self.peers.iter().filter_map(|peer| self.vote(index, epoch, peer.node, now)).collect();
        evidence.sort_unstable_by(|one, other| other.cmp(one));
        match evidence.get(others - 1) {
            Some(newest) => (*newest + self.settings.lease(), *newest + self.settings.heard()),
            None => (Duration::ZERO, Duration::ZERO),
        }
    }

    /// When the newest message was sent on which a member has given its vote.
    fn vote(&self, index: usize, epoch: u64, member: NodeId, now: Duration) -> Option<Duration> {
        let peer = self.peers.iter().find(|peer| peer.node == member)?;
        if self.settings.is_weak() && !peer.is_heard(now, self.settings.alone_after()) {
            return self.may_go_alone(index, now).then_some(now);
        }
        let promise = peer.says(self.group(index))?.promise?;
        let is_ours = promise.to == self.settings.node && promise.epoch == epoch;
        is_ours.then(|| peer.echo_time(&self.sent)).flatten()
    }

    /// Without a voter: a director that hears nobody goes on, unless it has reason to think that it is the one
    /// that is cut off, or has not listened for long enough. One whose lease has ended may have been replaced: it
    /// begins anew, by asking who answers.
    fn may_go_alone(&self, index: usize, now: Duration) -> bool {
        if matches!(self.seats[index].state, State::Holding { serves, ends, .. } if !serves || ends <= now) {
            return false;
        }
        let listened = now.saturating_sub(self.awake_since) >= self.settings.deadtime;
        self.seats[index].fitness.is_fit && (listened || self.awake_since == self.started)
    }

    /// Between this beat and the next. Where evidence gets old it is asked for more often: a lost message must
    /// not cost the lease.
    pub(super) fn interval(&self, now: Duration) -> Duration {
        let keepalive = self.settings.keepalive;
        let is_old = self.seats.iter().enumerate().any(|(index, seat)| {
            seat.claim().is_some_and(|epoch| {
                let (_, fresh_until) = self.lease_of(index, epoch, now);
                fresh_until < now + keepalive * 5 / 4
            })
        });
        if is_old { keepalive / 4 } else { keepalive }
    }

    /// Goes on holding, or stops.
    pub(super) fn hold_on(&mut self, index: usize, now: Duration) {
        let State::Holding { epoch, ends, serves, .. } = self.seats[index].state else { return };
        match self.reason_to_yield(index, epoch, now) {
            Some(Why::Superseded) => return self.give_up(index, Why::Superseded, now),
            Some(why) => self.hand_over(index, why, now),
            None => self.seats[index].handover = None,
        }
        let State::Holding { fresh_until, .. } = self.seats[index].state else { return };
        let (mut new_ends, mut new_fresh) = self.lease_of(index, epoch, now);
        let has_returned = self.has_returned(index, new_fresh, now);
        if !has_returned {
            // What was promised stays promised, also by a member that is in another life now: none votes for anybody
            // else before the dead time has passed.
            new_ends = new_ends.max(ends);
            new_fresh = new_fresh.max(fresh_until);
        }
        let seat = &mut self.seats[index];
        if seat.handover.is_some() {
            new_fresh = fresh_until;
        }
        if has_returned || seat.hold.is_some_and(|(until, _)| now >= until) {
            seat.hold = None;
            seat.is_held = false;
        }
        let group = self.group(index);
        if new_ends > now {
            if (new_ends, new_fresh) != (ends, fresh_until) {
                self.outputs.push(Output::Lease { group, epoch, ends: new_ends, fresh_until: new_fresh });
            }
            if !serves {
                self.order(Task::Serve { group, epoch });
                self.tell(Notice::Holds { group, epoch });
            }
            self.seats[index].state =
                State::Holding { epoch, ends: new_ends, fresh_until: new_fresh, serves: true };
            self.advance_hold(index, now);
            return;
        }
        if serves {
            self.tell(Notice::Lapsed { group });
            self.seats[index].state = State::Holding { epoch, ends, fresh_until, serves: false };
        }
        let is_alone = self.settings.is_weak() && self.alive(now).next().is_none();
        if self.seats[index].ballot.epoch > epoch || self.is_forsaken(index, epoch, now) || is_alone {
            self.give_up(index, Why::Superseded, now);
        }
    }

    /// A majority votes for this life: what an earlier one was promised is needed no longer, and nobody is to wait for the
    /// end of it if this one dies. The lease is cut short before any beat says so.
    fn has_returned(&self, index: usize, fresh_until: Duration, now: Duration) -> bool {
        let is_inherited = matches!(self.seats[index].hold, Some((_, 0)));
        // One that hears nobody yet has nobody's vote.
        let is_heard = !self.settings.is_weak() || self.alive(now).next().is_some();
        is_inherited && is_heard && fresh_until > now
    }

    /// A majority has promised the group to another director; or another one claims it for a later term, and so many have
    /// not promised it to this one that no majority is left for it. Its lease is of a time that it has slept through, its
    /// clock with it.
    pub(super) fn is_outvoted(&self, index: usize, epoch: u64, now: Duration) -> bool {
        let (group, own, quorum) = (self.group(index), self.settings.node, self.settings.quorum());
        let heard = self.peers.iter().filter(|peer| peer.is_heard(now, self.settings.deadtime));
        let promised: Vec<Option<NodeId>> =
            heard.filter_map(|peer| Some(peer.says(group)?.promise.map(|promise| promise.to))).collect();
        let mut others = self.settings.peers.iter();
        let has_majority = |other| promised.iter().filter(|to| **to == Some(other)).count() >= quorum;
        let against = promised.iter().filter(|to| **to != Some(own)).count();
        let is_lost = !self.settings.is_weak() && self.peers.len() + 1 - against < quorum;
        (is_lost && self.is_surpassed(index, epoch, now)) || others.any(|other| has_majority(*other))
    }

    /// Somebody else has a vote, for the same term or a later one.
    fn is_forsaken(&self, index: usize, epoch: u64, now: Duration) -> bool {
        let group = self.group(index);
        let heard = self.peers.iter().filter(|peer| peer.is_heard(now, self.settings.deadtime));
        let mut promises = heard.filter_map(|peer| peer.says(group)?.promise);
        promises.any(|promise| promise.to != self.settings.node && promise.epoch >= epoch)
    }

    /// The lease ends now, and with it the claim.
    pub(super) fn give_up(&mut self, index: usize, why: Why, now: Duration) {
        let group = self.group(index);
        let deadtime = self.settings.deadtime;
        if let State::Holding { epoch, .. } = self.seats[index].state {
            let (ends, fresh_until) = (Duration::ZERO, Duration::ZERO);
            self.outputs.push(Output::Lease { group, epoch, ends, fresh_until });
            self.order(Task::Withdraw { group });
            self.tell(Notice::GaveUp { group, why });
        }
        let seat = &mut self.seats[index];
        match seat.state {
            State::Holding { .. } => seat.ballot.give_up(now),
            State::Asking(attempt) if attempt.epoch.is_some() => seat.ballot.take_back(now),
            State::Asking(_) | State::Idle => {}
        }
        seat.state = State::Idle;
        seat.hold = None;
        seat.is_held = false;
        seat.handover = None;
        seat.is_wanted = false;
        seat.preferred_since = None;
        seat.outdone_since = None;
        seat.yields_until = now + 2 * deadtime;
        seat.not_before = seat.yields_until;
        self.must_beat = true;
    }
}
