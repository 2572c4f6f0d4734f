//! What operators want.

use std::time::Duration;

use super::{Mode, Node, Notice, Output, Promised, State, Task, Why};
use crate::cluster::beat::{GroupBeat, Promise};
use crate::cluster::identity::{GroupId, NodeId};

/// Why an order was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such group.
    Unknown,
    /// No other director could take it.
    Nobody,
    /// The one that would take it has not been told all connections.
    Untold,
    /// It is not held here.
    NotHeld,
    /// It is not ready or not fit here.
    Unfit,
}

impl Node {
    /// Gives a group up to another director, and takes it again only if no other can.
    pub fn standby(&mut self, group: GroupId, now: Duration) -> Result<(), Refused> {
        let index = self.index(group).ok_or(Refused::Unknown)?;
        let holds = self.seats[index].claim().is_some();
        if holds {
            let heir = self.heir(index, now).ok_or(Refused::Nobody)?;
            // An unfit director loses them anyway.
            if !heir.is_told && self.seats[index].fitness.is_fit {
                return Err(Refused::Untold);
            }
        }
        self.seats[index].mode = Mode::Standby;
        if holds {
            self.hand_over(index, Why::Operator, now);
        }
        Ok(())
    }

    /// Gives a group up, and takes it never.
    pub fn release(&mut self, group: GroupId, now: Duration) -> Result<(), Refused> {
        let index = self.index(group).ok_or(Refused::Unknown)?;
        self.seats[index].mode = Mode::Released;
        if self.seats[index].state != State::Idle {
            self.hand_over(index, Why::Operator, now);
        }
        Ok(())
    }

    /// Ends [`Mode::Standby`] and [`Mode::Released`], and asks the holder for the group.
    pub fn take(&mut self, group: GroupId, now: Duration) -> Result<(), Refused> {
        let index = self.index(group).ok_or(Refused::Unknown)?;
        let seat = &mut self.seats[index];
        if !seat.is_ready || !seat.fitness.is_fit {
            return Err(Refused::Unfit);
        }
        seat.mode = Mode::Normal;
        seat.handover = None;
        seat.not_before = seat.not_before.min(now);
        seat.yields_until = seat.yields_until.min(now);
        seat.is_wanted = seat.claim().is_none();
        self.must_beat = true;
        Ok(())
    }

    /// Gives everything up, for good.
    pub fn leave(&mut self, now: Duration) {
        for index in 0..self.seats.len() {
            self.seats[index].mode = Mode::Released;
            if self.seats[index].state != State::Idle {
                self.hand_over(index, Why::Operator, now);
            }
        }
        self.must_beat = true;
        self.tick(now);
    }

    /// Asks the others to honour what is held for so long without beats. [`Notice::Held`] says that a majority
    /// does.
    pub fn hold(&mut self, length: Duration, now: Duration) -> Result<(), Refused> {
        let mut holds = false;
        let first = self.sent.last() + 1;
        for seat in &mut self.seats {
            if matches!(seat.state, State::Holding { serves: true, .. }) {
                seat.hold = Some((now + length, first));
                seat.is_held = false;
                holds = true;
            }
        }
        self.must_beat = true;
        if holds { Ok(()) } else { Err(Refused::NotHeld) }
    }

    /// What an earlier life of this director has promised binds it still.
    pub fn recall(&mut self, promised: &[Promised]) {
        for Promised { group, to, epoch, until } in promised {
            self.with(*group, |seat| {
                if seat.state == State::Idle {
                    seat.ballot.recall(Promise { to: *to, epoch: *epoch }, *until);
                }
            });
        }
    }

    /// A hold that was promised outlasts this life perhaps.
    pub(super) fn remember(&mut self, index: usize, to: NodeId, said: &GroupBeat) {
        let deadtime = self.settings.deadtime;
        let seat = &mut self.seats[index];
        let Some(until) = seat.ballot.hold_of(to, said, deadtime) else { return };
        let (group, epoch) = (said.group, said.epoch);
        let is_known = seat
            .remembered
            .is_some_and(|known| (known.to, known.epoch) == (to, epoch) && until <= known.until);
        if !is_known {
            // Beats take different times, and each would move the end a little.
            let promised = Promised { group, to, epoch, until: until + deadtime };
            seat.remembered = Some(promised);
            self.order(Task::Remember(promised));
        }
    }

    /// Takes the longer lease when a majority has promised it.
    pub(super) fn advance_hold(&mut self, index: usize, now: Duration) {
        let State::Holding { epoch, .. } = self.seats[index].state else { return };
        let Some((until, first)) = self.seats[index].hold else { return };
        if self.seats[index].is_held {
            return;
        }
        let group = self.group(index);
        let promised = self.peers.iter().filter(|peer| {
            let promise = peer.says(group).and_then(|said| said.promise);
            let is_ours =
                promise.is_some_and(|promise| promise.to == self.settings.node && promise.epoch == epoch);
            let is_silent = self.settings.is_weak() && !peer.is_heard(now, self.settings.heard());
            is_silent || is_ours && peer.echoed_since(first)
        });
        if promised.count() + 1 < self.settings.quorum() {
            return;
        }
        let ends = until.saturating_sub(self.settings.margin(until.saturating_sub(now)));
        self.seats[index].is_held = true;
        self.seats[index].state = State::Holding { epoch, ends, fresh_until: ends, serves: true };
        self.outputs.push(Output::Lease { group, epoch, ends, fresh_until: ends });
        self.tell(Notice::Held { group, until: ends });
    }
}
