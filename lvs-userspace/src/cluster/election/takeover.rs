//! When a group is asked for, and when it is handed over.

use std::time::Duration;

use super::peer::Peer;
use super::{Check, Mode, Node, Notice, Output, State, Why};
use crate::cluster::beat::{Fitness, GroupBeat};
use crate::cluster::identity::{GroupId, NodeId};

/// How long another director must have been the fitter one, where both are fit, before the group goes to it; or
/// ten dead times, if that is longer.
const OUTDONE: Duration = Duration::from_secs(5);

impl Node {
    pub(super) fn advance(&mut self, index: usize, now: Duration) {
        match self.seats[index].state {
            State::Idle => {
                self.note_preference(index, now);
                if self.may_ask(index, now) {
                    self.ask(index, now);
                }
            }
            State::Asking { .. } => self.ask_on(index, now),
            State::Holding { .. } => self.hold_on(index, now),
        }
        // What has just been asked for may be had at once.
        if matches!(self.seats[index].state, State::Asking { .. }) {
            self.ask_on(index, now);
        }
    }

    /// Whether anybody answered for a group's addresses.
    pub fn probed(&mut self, group: GroupId, of: u64, answered: bool) {
        self.checked(group, of, |probe, _| *probe = if answered { Check::Bad } else { Check::Good });
    }

    /// Whether the program that makes sure of a silent node's death has done so.
    pub fn fenced(&mut self, group: GroupId, of: u64, done: bool) {
        self.checked(group, of, |_, fence| *fence = if done { Check::Good } else { Check::Bad });
    }

    /// A group that was taken cannot be served here.
    pub fn failed(&mut self, group: GroupId, now: Duration) {
        if let Some(index) = self.index(group)
            && self.seats[index].state != State::Idle
        {
            self.give_up(index, Why::Resource, now);
            // Somebody else is to try first, and this director not over and over.
            let until = now + OUTDONE.max(10 * self.settings.deadtime);
            self.seats[index].yields_until = until;
            self.seats[index].not_before = until;
        }
    }

    fn checked(&mut self, group: GroupId, of: u64, note: impl FnOnce(&mut Check, &mut Check)) {
        let Some(index) = self.index(group) else { return };
        if attempt(self.seats[index].state) == Some(of)
            && let State::Asking { probe, fence, .. } = &mut self.seats[index].state
        {
            note(probe, fence);
        }
    }

    fn may_ask(&self, index: usize, now: Duration) -> bool {
        let seat = &self.seats[index];
        let settings = &self.settings;
        let all_heard = self.directors().all(|peer| peer.heard.is_some());
        let listened_until =
            if all_heard { self.started } else { self.started + settings.initdead.max(settings.deadtime) };
        let awake_at = if self.awake_since == self.started {
            self.started
        } else {
            self.awake_since + settings.deadtime
        };
        if seat.mode == Mode::Released
            || !seat.is_ready
            || !seat.fitness.is_fit
            || !seat.ballot.is_free(now)
            || now < seat.not_before
            || now < listened_until
            || now < awake_at
        {
            return false;
        }
        let group = self.group(index);
        if self.alive(now).any(|peer| peer.says(group).is_some_and(|said| said.claims)) {
            return false;
        }
        // Each that would do better gets the dead time to ask first.
        let better = self.alive(now).filter(|peer| self.is_better(index, peer)).count();
        let free_since = seat.ballot.free_since().max(listened_until).max(awake_at);
        now >= free_since + settings.deadtime * u32::try_from(better).unwrap_or(u32::MAX)
    }

    /// Another director would be the better holder.
    fn is_better(&self, index: usize, peer: &Peer) -> bool {
        let seat = &self.seats[index];
        let Some(said) = peer.says(self.group(index)) else { return false };
        if !said.is_ready || !said.fitness.is_fit {
            return false;
        }
        if seat.is_wanted != said.wants {
            return said.wants;
        }
        if seat.mode == Mode::Standby {
            return true;
        }
        let rank = |node| self.settings.rank(index, node);
        said.fitness > seat.fitness
            || said.fitness == seat.fitness && rank(peer.node) < rank(self.settings.node)
    }

    fn ask(&mut self, index: usize, now: Duration) {
        let node = self.settings.node;
        let group = self.group(index);
        let seat = &mut self.seats[index];
        let last_holder = seat.last_holder(node);
        // One that is heard has given it up by itself.
        let silent = last_holder.filter(|holder| {
            !self.peers.iter().any(|peer| peer.node == *holder && peer.is_heard(now, self.settings.deadtime))
        });
        let fences = self.settings.groups[index].fences;
        seat.state = State::Asking {
            since: now,
            epoch: None,
            probe: Check::Pending,
            fence: if fences && silent.is_some() { Check::Pending } else { Check::Good },
        };
        let why = match (silent, last_holder) {
            (Some(node), _) => Why::Silent(node),
            (None, Some(node)) => Why::HandedOver(node),
            (None, None) => Why::Vacant,
        };
        if seat.stood_back.is_none() {
            self.outputs.push(Output::Tell(Notice::Asks { group, why }));
        }
        let of = attempt(seat.state).unwrap_or(0);
        self.outputs.push(Output::Probe { group, epoch: of });
        if let (true, Some(node)) = (fences, silent) {
            self.outputs.push(Output::Fence { group, epoch: of, node });
        }
        // A vote costs a way there and back, which the checks take too.
        if !self.settings.is_weak() {
            self.claim(index, now);
        }
    }

    fn claim(&mut self, index: usize, now: Duration) {
        let node = self.settings.node;
        let seat = &mut self.seats[index];
        if let State::Asking { epoch, since, .. } = &mut seat.state {
            // A program that fences may have taken its time.
            *since = now;
            *epoch = Some(seat.ballot.take(node));
            self.must_beat = true;
        }
    }

    fn ask_on(&mut self, index: usize, now: Duration) {
        let State::Asking { since, epoch, probe, fence } = self.seats[index].state else { return };
        if probe == Check::Bad {
            return self.stand_back(index, Why::Answered, now);
        }
        if fence == Check::Bad {
            return self.stand_back(index, Why::NotFenced, now);
        }
        let group = self.group(index);
        let is_checked = probe == Check::Good && fence == Check::Good;
        // A program that fences has a time limit of its own.
        let is_overdue = now.saturating_sub(since) >= 2 * self.settings.deadtime && fence != Check::Pending;
        let Some(epoch) = epoch else {
            let claimed = self.alive(now).any(|peer| peer.says(group).is_some_and(|said| said.claims));
            if claimed || !self.seats[index].ballot.is_free(now) {
                return self.stand_back(index, Why::Superseded, now);
            }
            if is_checked {
                self.claim(index, now);
            } else if is_overdue {
                self.stand_back(index, Why::NoQuorum, now);
            }
            return;
        };
        // What the wire said while the other director was still heard says nothing of what it does now.
        let alone = self.settings.alone_after();
        let is_alone = self.settings.is_weak() && !self.peers.iter().any(|peer| peer.is_heard(now, alone));
        if is_alone && now.saturating_sub(since) > self.settings.deadtime / 4 {
            return self.stand_back(index, Why::NoQuorum, now);
        }
        let (ends, fresh_until) = self.lease_of(index, epoch, now);
        if ends > now && is_checked {
            let seat = &mut self.seats[index];
            seat.state = State::Holding { epoch, ends, fresh_until, serves: true };
            seat.stood_back = None;
            seat.is_wanted = false;
            self.outputs.push(Output::Lease { group, epoch, ends, fresh_until });
            self.outputs.push(Output::Serve { group, epoch });
            self.tell(Notice::Holds { group, epoch });
            return;
        }
        if self.is_surpassed(index, epoch, now) {
            return self.stand_back(index, Why::Superseded, now);
        }
        if is_overdue {
            self.stand_back(index, Why::NoQuorum, now);
        }
    }

    /// Another director claims the group for a later term; or for the same one, and is preferred.
    pub(super) fn is_surpassed(&self, index: usize, epoch: u64, now: Duration) -> bool {
        let group = self.group(index);
        let rank = |node| self.settings.rank(index, node);
        self.alive(now).any(|peer| {
            peer.says(group).is_some_and(|said| {
                said.claims
                    && (said.epoch > epoch
                        || said.epoch == epoch && rank(peer.node) < rank(self.settings.node))
            })
        })
    }

    fn stand_back(&mut self, index: usize, why: Why, now: Duration) {
        let group = self.group(index);
        let rank = self.settings.rank(index, self.settings.node);
        let wait = self.settings.deadtime * u32::try_from(1 + rank).unwrap_or(1);
        let seat = &mut self.seats[index];
        if seat.claim().is_some() {
            seat.ballot.give_up(now);
            self.must_beat = true;
        }
        seat.state = State::Idle;
        seat.not_before = now + wait;
        // Where votes were split it is still the one to try first; else somebody else may do better.
        if !matches!(why, Why::NoQuorum | Why::Superseded) {
            seat.yields_until = seat.not_before;
        }
        if seat.stood_back != Some(why) {
            seat.stood_back = Some(why);
            self.tell(Notice::StoodBack { group, why });
        }
    }

    /// Why a group that is held should go to somebody else.
    pub(super) fn reason_to_yield(&mut self, index: usize, epoch: u64, now: Duration) -> Option<Why> {
        if self.settings.is_weak() && self.is_surpassed(index, epoch, now) {
            return Some(Why::Superseded);
        }
        if self.is_outvoted(index, now) {
            return Some(Why::Superseded);
        }
        let group = self.group(index);
        let own = self.seats[index].fitness;
        let ready: Vec<(NodeId, GroupBeat)> = self
            .alive(now)
            .filter_map(|peer| Some((peer.node, *peer.says(group)?)))
            .filter(|(_, said)| said.is_ready && said.fitness.is_fit)
            .collect();
        if let Some((node, _)) = ready.iter().find(|(_, said)| said.wants) {
            return Some(Why::Preferred(*node));
        }
        let fitter = ready.iter().filter(|(_, said)| said.fitness > own).max_by_key(|(_, said)| said.fitness);
        let seat = &mut self.seats[index];
        let Some((node, _)) = fitter else {
            seat.outdone_since = None;
            return None;
        };
        let since = *seat.outdone_since.get_or_insert(now);
        let patience = if own.is_fit { OUTDONE.max(10 * self.settings.deadtime) } else { Duration::ZERO };
        (now.saturating_sub(since) >= patience).then_some(Why::Fitter(*node))
    }

    /// Keeps the time for which this director has been as fit as the holder, and preferred to it.
    fn note_preference(&mut self, index: usize, now: Duration) {
        let group = self.group(index);
        let rank = |node| self.settings.rank(index, node);
        let seat = &self.seats[index];
        let own: Fitness = seat.fitness;
        let is_preferred = seat.is_available(now)
            && self.alive(now).any(|peer| {
                peer.says(group).is_some_and(|said| {
                    said.claims && said.fitness <= own && rank(self.settings.node) < rank(peer.node)
                })
            });
        let seat = &mut self.seats[index];
        seat.preferred_since = if is_preferred { seat.preferred_since.or(Some(now)) } else { None };
    }

    /// This director asks the holder for the group.
    pub(super) fn wants(&self, index: usize, now: Duration) -> bool {
        let seat = &self.seats[index];
        if seat.is_wanted {
            return true;
        }
        match (self.settings.failback, seat.preferred_since) {
            (Some(delay), Some(since)) => now.saturating_sub(since) >= delay.max(2 * self.settings.deadtime),
            _ => false,
        }
    }

    pub(super) fn alive(&self, now: Duration) -> impl Iterator<Item = &Peer> {
        let deadtime = self.settings.deadtime;
        self.directors().filter(move |peer| peer.is_heard(now, deadtime))
    }

    pub(super) fn directors(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().take(self.settings.peers.len())
    }
}

/// Names an attempt, so that the answer to an earlier one is not taken for this one's.
fn attempt(state: State) -> Option<u64> {
    match state {
        State::Asking { since, .. } => Some(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
        _ => None,
    }
}
