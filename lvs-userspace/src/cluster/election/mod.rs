//! Who holds which group. Pure: [`Node`] is given messages, facts and the time, and yields [`Output`]s.
//!
//! Every member, director or voter, has one vote for each group ([`ballot`]). Who claims a group says so in every
//! beat; who hears it and has promised nothing to another promises to support no other claim until the dead time
//! has passed since it received the beat. Its next beat carries the promise and echoes the claimant's. A
//! claimant may hold the group until [`Settings::lease`] after it has *sent* what a majority has promised on:
//! less than the dead time, and counted from earlier, so that each promise outlives the lease made of it. Two
//! majorities have a member in common, which has promised to one of them: there are never two holders.
//!
//! Two directors without a voter are each half of the members. There the vote of one that is silent counts as
//! given ([`Settings::is_weak`]), after nobody has answered for the addresses, and nobody else has asked for them.

mod attempt;
pub mod ballot;
mod fencing;
mod handover;
mod hold;
mod lease;
mod output;
mod peer;
mod seat;
mod settings;
mod takeover;
mod voter;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use attempt::Wire;
pub use handover::TELLING;
pub use hold::Refused;
pub use output::{Notice, Output, Promised, Task, Why};
pub use peer::Received;
pub use seat::Mode;
pub use settings::{GroupSettings, Settings, lease};
pub use voter::Voter;

use ballot::Ballot;
use peer::{Peer, Sent};
use seat::{Seat, State};

use super::beat::{Beat, Fitness, GroupBeat};
use super::identity::{GroupId, NodeId};

/// A lease that an earlier life of this director has left in the data plane, and that had not ended when it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    pub group: GroupId,
    pub epoch: u64,
    pub ends: Duration,
}

/// What a director has set about one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub mode: Mode,
    pub is_ready: bool,
    pub fitness: Fitness,
    pub digest: u64,
    /// The latest term that is known.
    pub epoch: u64,
}

/// One director.
#[derive(Clone, Debug)]
pub struct Node {
    settings: Settings,
    /// The other directors, then the voter.
    peers: Vec<Peer>,
    seats: Vec<Seat>,
    sent: Sent,
    next_beat: Duration,
    must_beat: bool,
    must_answer: bool,
    /// Attempts to take a group so far, and questions that were asked again.
    attempts: u64,
    last_tick: Duration,
    /// Since when it has been run without a gap that is longer than its lease.
    awake_since: Duration,
    started: Duration,
    outputs: Vec<Output>,
}

impl Node {
    /// `inherited`: all of them are gone on with. Whether one has ended is the caller's to know, who has adopted what belongs
    /// to it: one that has ended since is given up as any that lapses.
    pub fn new(settings: Settings, inherited: &[Inherited], now: Duration) -> Self {
        // With more than two directors an earlier life may have voted for one that is not heard yet.
        let promised = if settings.peers.len() > 1 { now + settings.deadtime } else { Duration::ZERO };
        let seats = settings.groups.iter().map(|group| {
            let mut seat = Seat::new(Ballot::silent_until(promised));
            let left = inherited.iter().find(|left| left.group == group.group);
            if let Some(left) = left {
                seat.ballot.keep(settings.node, left.epoch);
                let (epoch, ends) = (left.epoch, left.ends);
                seat.state = State::Holding { epoch, ends, fresh_until: ends, serves: true };
                // What was promised to the earlier life must not be cut short by beats of this one.
                seat.hold = Some((ends + settings.margin(ends.saturating_sub(now)), 0));
                seat.is_held = true;
                // Until it is told: who has served is fit to, and nobody better.
                seat.fitness = Fitness { is_fit: true, score: u16::MAX };
            }
            seat
        });
        let peers = settings.peers.iter().chain(&settings.voter).copied().map(Peer::new);
        Self {
            peers: peers.collect(),
            seats: seats.collect(),
            sent: Sent::default(),
            next_beat: now,
            must_beat: false,
            must_answer: false,
            attempts: 0,
            last_tick: now,
            awake_since: now,
            started: now,
            outputs: Vec::new(),
            settings,
        }
    }

    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is to be done since it was last asked.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// When [`Self::tick`] is due at the latest.
    pub fn next_tick(&self) -> Duration {
        if self.must_beat || self.must_answer {
            return self.last_tick;
        }
        // Checks and deferrals end at no beat's time; half a keepalive is soon enough for them.
        self.next_beat.min(self.last_tick + self.settings.keepalive / 2)
    }

    /// A message has arrived, on whichever path. [`Self::tick`] is to follow.
    pub fn receive(&mut self, beat: &Beat, now: Duration) -> Received {
        // Before anything else: what the message says must not look newer than a pause before it.
        self.notice_pause(now);
        let Settings { node, life, deadtime, .. } = self.settings;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == beat.sender) else {
            return Received::Stranger;
        };
        let was_heard = peer.is_heard(now, deadtime);
        let received = peer.receive(beat, node, life, &self.sent, now, deadtime);
        match received {
            Received::Stranger | Received::Old => return received,
            Received::Unproved => self.must_answer |= !beat.is_answer,
            Received::Accepted => {
                let binds = deadtime.max(Duration::from_millis(u64::from(beat.deadtime)));
                for said in &beat.groups {
                    if let Some(index) = self.index(said.group) {
                        self.seats[index].ballot.hear(beat.sender, said, now, binds);
                        self.remember(index, beat.sender, said);
                    }
                }
                self.must_answer |= !beat.is_answer && beat.groups.iter().any(|said| said.claims);
                self.forget_fencing(beat.sender);
                if !was_heard {
                    self.tell(Notice::Alive { node: beat.sender });
                    self.announce_again();
                }
            }
        }
        received
    }

    /// Time has passed, or something has been told.
    pub fn tick(&mut self, now: Duration) {
        self.notice_pause(now);
        self.notice_deaths(now);
        self.last_tick = now;
        for index in 0..self.seats.len() {
            self.advance(index, now);
        }
        if now >= self.next_beat || self.must_beat {
            self.beat(false, now);
        } else if self.must_answer {
            self.beat(true, now);
        }
    }

    /// How well this director could serve a group.
    pub fn set_fitness(&mut self, group: GroupId, fitness: Fitness) {
        self.with(group, |seat| seat.fitness = fitness);
    }

    /// Whether its state is complete.
    pub fn set_ready(&mut self, group: GroupId, is_ready: bool) {
        self.with(group, |seat| seat.is_ready = is_ready);
    }

    /// Whether another director has been told all connections of this one, and goes on being told. Without anybody who says
    /// so all have.
    pub fn set_told(&mut self, node: NodeId, is_told: bool) {
        self.peers.iter_mut().filter(|peer| peer.node == node).for_each(|peer| peer.is_told = is_told);
    }

    pub fn set_digest(&mut self, group: GroupId, digest: u64) {
        self.with(group, |seat| seat.digest = digest);
    }

    /// What a director says of a group, if it is heard.
    pub fn says(&self, node: NodeId, group: GroupId, now: Duration) -> Option<&GroupBeat> {
        let peer = self.peers.iter().find(|peer| peer.node == node)?;
        peer.says(group).filter(|_| peer.is_heard(now, self.settings.deadtime))
    }

    /// Since when a member has been heard without a gap of the dead time.
    pub fn alive_since(&self, node: NodeId, now: Duration) -> Option<Duration> {
        let peer = self.peers.iter().find(|peer| peer.node == node)?;
        peer.is_heard(now, self.settings.deadtime).then_some(peer.since)
    }

    /// The term for which this director holds a group, if its lease lasts.
    pub fn holds(&self, group: GroupId, now: Duration) -> Option<u64> {
        match self.seats[self.index(group)?].state {
            State::Holding { epoch, ends, .. } if ends > now => Some(epoch),
            _ => None,
        }
    }

    /// The director that claims a group for the latest term, as far as known here.
    pub fn holder(&self, group: GroupId, now: Duration) -> Option<NodeId> {
        let index = self.index(group)?;
        let own = self.seats[index].claim().map(|epoch| (epoch, self.settings.node));
        let claims = self.peers.iter().filter(|peer| peer.is_heard(now, self.settings.deadtime));
        let claims = claims.filter_map(|peer| {
            peer.says(group).filter(|said| said.claims).map(|said| (said.epoch, peer.node))
        });
        claims.chain(own).max().map(|(_, node)| node)
    }

    pub fn mode(&self, group: GroupId) -> Option<Mode> {
        Some(self.seats[self.index(group)?].mode)
    }

    /// What can be told of a group.
    pub fn view(&self, group: GroupId) -> View {
        let Some(index) = self.index(group) else { return View::default() };
        let Seat { mode, is_ready, fitness, digest, ref ballot, .. } = self.seats[index];
        View { mode, is_ready, fitness, digest, epoch: ballot.epoch }
    }

    /// Whether this is the present life of a member.
    pub fn knows_life(&self, node: NodeId, life: u64) -> bool {
        self.peers.iter().any(|peer| peer.node == node && peer.life() == Some(life))
    }

    fn index(&self, group: GroupId) -> Option<usize> {
        self.settings.groups.iter().position(|settings| settings.group == group)
    }

    fn group(&self, index: usize) -> GroupId {
        self.settings.groups[index].group
    }

    fn with(&mut self, group: GroupId, change: impl FnOnce(&mut Seat)) {
        if let Some(index) = self.index(group) {
            change(&mut self.seats[index]);
        }
    }

    fn order(&mut self, task: Task) {
        self.outputs.push(Output::Do(task));
    }

    fn tell(&mut self, notice: Notice) {
        self.order(Task::Tell(notice));
    }

    /// A node that was stopped does not know what has happened: it waits as long as one that hears nothing.
    fn notice_pause(&mut self, now: Duration) {
        let duration = now.saturating_sub(self.last_tick);
        if duration <= self.settings.lease() {
            return;
        }
        self.last_tick = now;
        self.awake_since = now;
        self.tell(Notice::Paused { duration });
        let until = now + self.settings.deadtime;
        for seat in &mut self.seats {
            seat.ballot.extend(until);
            seat.preferred_since = None;
            seat.outdone_since = None;
        }
    }

    fn notice_deaths(&mut self, now: Duration) {
        let deadtime = self.settings.deadtime;
        let dead: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|peer| peer.is_heard(self.last_tick, deadtime) && !peer.is_heard(now, deadtime))
            .map(|peer| peer.node)
            .collect();
        for node in dead {
            self.tell(Notice::Dead { node });
        }
    }

    /// Somebody who was cut off may have taught others where the addresses are.
    fn announce_again(&mut self) {
        for index in 0..self.seats.len() {
            if matches!(self.seats[index].state, State::Holding { serves: true, .. }) {
                let group = self.group(index);
                self.order(Task::Announce { group });
            }
        }
    }

    fn beat(&mut self, is_answer: bool, now: Duration) {
        let settings = &self.settings;
        let groups = settings.groups.iter().enumerate().map(|(index, GroupSettings { group, .. })| {
            let seat = &self.seats[index];
            let claim = seat.claim();
            let hold = seat.hold.map_or(Duration::ZERO, |(until, _)| until.saturating_sub(now));
            GroupBeat {
                group: *group,
                epoch: claim.unwrap_or(seat.ballot.epoch),
                claims: claim.is_some(),
                hold: if claim.is_some() { milliseconds(hold) } else { 0 },
                promise: seat.ballot.promise.filter(|_| !seat.ballot.is_free(now)),
                is_ready: seat.is_available(now),
                wants: claim.is_none() && self.wants(index, now),
                fitness: seat.fitness,
                digest: seat.digest,
            }
        });
        let groups = groups.collect();
        let sequence = self.sent.next(now);
        let beat = Beat {
            sender: settings.node,
            life: settings.life,
            sequence,
            is_answer,
            keepalive: milliseconds(settings.keepalive),
            deadtime: milliseconds(settings.deadtime),
            echoes: self.peers.iter().flat_map(Peer::echoes).collect(),
            groups,
        };
        self.outputs.push(Output::Send(beat));
        self.must_answer = false;
        if !is_answer {
            self.must_beat = false;
            self.next_beat = now + self.interval(now);
        }
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
