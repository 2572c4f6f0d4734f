//! An attempt to take a group: what is found out before, the claim, and what ends it.

use std::time::Duration;

use super::fencing::{Certainty, Fencing};
use super::{Node, Notice, Output, State, Task, Why};
use crate::cluster::identity::{GroupId, NodeId};

/// Something that has to be found out before a group is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Pending,
    Good,
    Bad(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Names what is asked for it: no two of a director's life have the same, so that an answer to an earlier question is
    /// not taken for this one's.
    number: u64,
    /// When it began to wait for what it waits for.
    since: Duration,
    /// The term that is claimed. Without a voter a claim waits for the checks.
    pub(super) epoch: Option<u64>,
    /// Nobody answers for the addresses.
    wire: Check,
    /// Until when that was listened for.
    listened: Duration,
    /// The last holder, if a program has to make sure of it.
    pub(super) silent: Option<NodeId>,
}

/// What the wire says of a group's addresses; of two, the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// Nobody answers for them.
    Silent,
    /// Nobody answers for them, and somebody else asks.
    Asked,
    /// Somebody answers for those of another group, or asks for them: the silent director may live.
    Lives,
    Answered,
}

impl Wire {
    /// What it says of a group that this was heard of another one, which the silent director would serve if it lived.
    #[must_use]
    pub const fn of_another(self) -> Self {
        match self {
            Self::Silent => Self::Silent,
            Self::Asked | Self::Lives | Self::Answered => Self::Lives,
        }
    }
}

impl Node {
    /// What [`Task::Probe`] has found, and until when it has listened.
    pub fn probed(&mut self, group: GroupId, number: u64, found: Wire, until: Duration) {
        let is_weak = self.settings.is_weak();
        self.with_attempt(group, number, |attempt| {
            attempt.listened = until;
            attempt.wire = match found {
                Wire::Answered => Check::Bad(Why::Answered),
                Wire::Lives => Check::Bad(attempt.silent.map_or(Why::Answered, Why::Lives)),
                // Two that are about to take it, and nothing else to keep them apart: neither may.
                Wire::Asked if is_weak => Check::Bad(Why::Contended),
                Wire::Silent | Wire::Asked => Check::Good,
            };
        });
    }

    fn with_attempt(&mut self, group: GroupId, number: u64, note: impl FnOnce(&mut Attempt)) {
        let Some(index) = self.index(group) else { return };
        if let State::Asking(attempt) = &mut self.seats[index].state
            && attempt.number == number
        {
            note(attempt);
        }
    }

    const fn number_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    pub(super) fn ask(&mut self, index: usize, now: Duration) {
        let node = self.settings.node;
        let group = self.group(index);
        let number = self.number_attempt();
        let seat = &mut self.seats[index];
        let last_holder = seat.last_holder(node);
        // One that is heard has given it up by itself.
        let silent = last_holder.filter(|holder| {
            !self.peers.iter().any(|peer| peer.node == *holder && peer.is_heard(now, self.settings.deadtime))
        });
        seat.state = State::Asking(Attempt {
            number,
            since: now,
            epoch: None,
            wire: Check::Pending,
            listened: now,
            silent: silent.filter(|_| self.settings.groups[index].fences),
        });
        let why = match (silent, last_holder) {
            (Some(node), _) => Why::Silent(node),
            (None, Some(node)) => Why::HandedOver(node),
            (None, None) => Why::Vacant,
        };
        if seat.stood_back.is_none() {
            self.tell(Notice::Asks { group, why });
        }
        self.probe(index, number, now);
        // A vote costs a way there and back, which the question takes too.
        if !self.settings.is_weak() {
            self.claim(index, now);
        }
    }

    /// The answer of before is too old to rest on.
    fn ask_again(&mut self, index: usize, now: Duration) {
        let number = self.number_attempt();
        if let State::Asking(attempt) = &mut self.seats[index].state {
            *attempt = Attempt { number, since: now, wire: Check::Pending, ..*attempt };
            self.probe(index, number, now);
        }
    }

    fn probe(&mut self, index: usize, attempt: u64, now: Duration) {
        let group = self.group(index);
        let State::Asking(Attempt { silent, .. }) = self.seats[index].state else { return };
        // Without a majority nobody else can say whether the silent one serves another group.
        let may_shoot = silent.is_some() && self.settings.is_weak();
        let others =
            self.settings.groups.iter().map(|settings| settings.group).filter(|other| *other != group);
        let besides = others.filter(|other| may_shoot && self.holds(*other, now).is_none()).collect();
        self.order(Task::Probe { group, attempt, besides });
    }

    fn claim(&mut self, index: usize, now: Duration) {
        let node = self.settings.node;
        let seat = &mut self.seats[index];
        if let State::Asking(attempt) = &mut seat.state {
            // A program that fences may have taken its time.
            attempt.since = now;
            attempt.epoch = Some(seat.ballot.take(node));
            self.must_beat = true;
        }
    }

    pub(super) fn ask_on(&mut self, index: usize, now: Duration) {
        let State::Asking(attempt) = self.seats[index].state else { return };
        if let Check::Bad(why) = attempt.wire {
            return self.stand_back(index, why, now);
        }
        match attempt.epoch {
            None => self.ask_before_claim(index, attempt, now),
            Some(epoch) => self.ask_for_votes(index, attempt, epoch, now),
        }
        // A program that fences has a time limit of its own, and the claim lasts while it has a majority.
        if let State::Asking(attempt) = &mut self.seats[index].state
            && now.saturating_sub(attempt.since) >= 2 * self.settings.deadtime
        {
            self.stand_back(index, Why::NoQuorum, now);
        }
    }

    /// Without a majority to be had nothing is claimed before all is found out.
    fn ask_before_claim(&mut self, index: usize, attempt: Attempt, now: Duration) {
        let group = self.group(index);
        let claimed = self.alive(now).any(|peer| peer.says(group).is_some_and(|said| said.claims));
        if claimed || !self.seats[index].ballot.is_free(now) {
            return self.stand_back(index, Why::Superseded, now);
        }
        if attempt.wire != Check::Good {
            return;
        }
        let is_old = now.saturating_sub(attempt.listened) > self.settings.unclaimed_for();
        match self.certainty(index, attempt.silent, now) {
            Certainty::Pending => self.wait_on(index, now),
            _ if is_old => self.ask_again(index, now),
            Certainty::Due(node) => self.fence(index, node),
            Certainty::Certain => self.claim(index, now),
        }
    }

    fn ask_for_votes(&mut self, index: usize, attempt: Attempt, epoch: u64, now: Duration) {
        let Attempt { wire, listened, silent, .. } = attempt;
        let group = self.group(index);
        let certainty = self.certainty(index, silent, now);
        // What the wire said while the other director was still heard says nothing of what it does now.
        let alone = self.settings.alone_after();
        let is_alone = self.settings.is_weak() && !self.peers.iter().any(|peer| peer.is_heard(now, alone));
        let was_alone = !self.peers.iter().any(|peer| peer.is_heard(listened, alone));
        let is_old = now.saturating_sub(listened) > self.settings.unclaimed_for();
        if is_alone && wire == Check::Good && (is_old || !was_alone) {
            // It is silent now, which a program that fences has to make sure of: from the beginning.
            return if self.settings.groups[index].fences {
                self.stand_back(index, Why::NoQuorum, now);
            } else {
                self.ask_again(index, now);
            };
        }
        let (ends, fresh_until) = self.lease_of(index, epoch, now);
        if ends > now && wire == Check::Good {
            match certainty {
                Certainty::Due(node) => self.fence(index, node),
                Certainty::Pending => self.wait_on(index, now),
                Certainty::Certain => {
                    let seat = &mut self.seats[index];
                    seat.state = State::Holding { epoch, ends, fresh_until, serves: true };
                    seat.stood_back = None;
                    seat.is_wanted = false;
                    self.outputs.push(Output::Lease { group, epoch, ends, fresh_until });
                    self.order(Task::Serve { group, epoch });
                    self.tell(Notice::Holds { group, epoch });
                    return;
                }
            }
        }
        if self.is_surpassed(index, epoch, now) {
            self.stand_back(index, Why::Superseded, now);
        }
    }

    /// A program's end takes what it takes.
    fn wait_on(&mut self, index: usize, now: Duration) {
        let seat = &mut self.seats[index];
        if let (State::Asking(attempt), Some(Fencing::Running { .. })) = (&mut seat.state, seat.fencing) {
            attempt.since = now;
        }
    }

    pub(super) fn stand_back(&mut self, index: usize, why: Why, now: Duration) {
        let group = self.group(index);
        let rank = self.settings.rank(index, self.settings.node);
        let wait = self.settings.deadtime * u32::try_from(1 + rank).unwrap_or(1);
        let seat = &mut self.seats[index];
        if seat.claim().is_some() {
            seat.ballot.take_back(now);
            self.must_beat = true;
        }
        seat.state = State::Idle;
        seat.not_before = now + wait;
        // Where votes were split it is still the one to try first; else somebody else may do better.
        if !matches!(why, Why::NoQuorum | Why::Superseded | Why::Contended) {
            seat.yields_until = seat.not_before;
        }
        if seat.stood_back != Some(why) {
            seat.stood_back = Some(why);
            self.tell(Notice::StoodBack { group, why });
        }
    }
}
