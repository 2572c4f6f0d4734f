//! Who hears whom.

use std::time::Duration;

use super::random::Random;

/// One medium: the heartbeat's, or the service's wire. Members are directors, then the voter.
#[derive(Clone, Debug)]
pub(super) struct Network {
    members: usize,
    /// `from * members + to`.
    cut: Vec<bool>,
    /// Of a thousand messages.
    pub(super) loss: u32,
    pub(super) doubled: u32,
    pub(super) delay: Duration,
}

impl Network {
    pub(super) fn new(members: usize, loss: u32, doubled: u32, delay: Duration) -> Self {
        Self { members, cut: vec![false; members * members], loss, doubled, delay }
    }

    pub(super) fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        self.cut[from * self.members + to] = cut;
    }

    /// Cuts a member off, or joins it again, in both directions.
    pub(super) fn isolate(&mut self, member: usize, cut: bool) {
        for other in (0..self.members).filter(|other| *other != member) {
            self.set_cut(member, other, cut);
            self.set_cut(other, member, cut);
        }
    }

    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        !self.cut[from * self.members + to]
    }

    /// How long each copy of a message takes; none if it is lost.
    pub(super) fn copies(&self, from: usize, to: usize, random: &mut Random) -> Vec<Duration> {
        if !self.passes(from, to) {
            return Vec::new();
        }
        let count = 1 + usize::from(random.chance(self.doubled));
        let mut delays = Vec::new();
        for _ in 0..count {
            if !random.chance(self.loss) {
                // Delays differ, so that messages overtake each other.
                delays.push(random.between(self.delay / 10..self.delay));
            }
        }
        delays
    }
}
