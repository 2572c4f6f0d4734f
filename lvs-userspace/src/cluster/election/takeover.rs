//! When a group is asked for, and when it is handed over. [`super::attempt`] is what is between.

use std::time::Duration;

use super::handover::Handover;
use super::peer::Peer;
use super::{Mode, Node, State, Why};
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
            State::Asking(_) => self.ask_on(index, now),
            State::Holding { .. } => self.hold_on(index, now),
        }
        // What has just been asked for may be had at once.
        if matches!(self.seats[index].state, State::Asking(_)) {
            self.ask_on(index, now);
        }
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

    /// Why a group that is held should go to somebody else.
    pub(super) fn reason_to_yield(&mut self, index: usize, epoch: u64, now: Duration) -> Option<Why> {
        if self.settings.is_weak() && self.is_surpassed(index, epoch, now) {
            return Some(Why::Superseded);
        }
        if self.is_outvoted(index, epoch, now) {
            return Some(Why::Superseded);
        }
        if matches!(self.seats[index].handover, Some(Handover { why: Why::Operator, .. })) {
            return Some(Why::Operator);
        }
        let group = self.group(index);
        let own = self.seats[index].fitness;
        // Who was not told the connections gets it only where this director cannot serve them either.
        let ready: Vec<(NodeId, GroupBeat)> = self
            .alive(now)
            .filter(|peer| peer.is_told || !own.is_fit)
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
