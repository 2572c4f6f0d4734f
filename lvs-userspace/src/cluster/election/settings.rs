//! What an election is told once.

use std::time::Duration;

use crate::cluster::identity::{GroupId, NodeId};

#[derive(Clone, Debug)]
pub struct Settings {
    pub node: NodeId,
    /// Chosen anew at each start, and never twice.
    pub life: u64,
    /// The other directors; never empty.
    pub peers: Vec<NodeId>,
    pub voter: Option<NodeId>,
    pub keepalive: Duration,
    pub deadtime: Duration,
    /// How long a director that starts waits for the others.
    pub initdead: Duration,
    /// How long a director that is preferred must have been well before it asks for a group; `None` = it never
    /// asks.
    pub failback: Option<Duration>,
    pub groups: Vec<GroupSettings>,
}

#[derive(Clone, Debug)]
pub struct GroupSettings {
    pub group: GroupId,
    /// All directors, the preferred one first.
    pub order: Vec<NodeId>,
    /// A program has to be run before the group is taken from a director that is silent.
    pub fences: bool,
}

impl Settings {
    /// Members with a vote.
    pub const fn members(&self) -> usize {
        1 + self.peers.len() + self.voter.is_some() as usize
    }

    /// Votes that make a holder, its own included: no two majorities are without a common member.
    pub const fn quorum(&self) -> usize {
        self.members() / 2 + 1
    }

    /// Two directors and nobody else: neither is a majority, so that the vote of one that is silent counts as
    /// given. This is weaker: if neither hears the other, both may hold.
    pub const fn is_weak(&self) -> bool {
        self.members() == 2
    }

    /// How long a vote is worth something to its receiver, from when it sent what was voted on. Less than the
    /// dead time, for which the voter keeps its promise, from when it received the same.
    pub fn lease(&self) -> Duration {
        lease(self.deadtime)
    }

    /// By how much less than a promise of `length` the lease is that is made of it: the tenth of [`Self::lease`], and a
    /// hundredth of the promise, since two clocks that are kept right by NTP may differ in speed by a thousandth
    /// (500 parts of a million each, RFC 5905, section 11.3), and those that are not by less.
    pub fn margin(&self, length: Duration) -> Duration {
        self.deadtime - self.lease() + length / 100
    }

    /// A peer is heard if its last beat is not older: two beats, and half of one for the way.
    pub fn heard(&self) -> Duration {
        self.keepalive * 5 / 2
    }

    /// When the vote of a silent director counts as given, where there is no voter: as [`Self::heard`], but before
    /// the lease ends that its last vote has made.
    pub fn alone_after(&self) -> Duration {
        self.heard().min(self.lease().saturating_sub(self.keepalive * 5 / 4))
    }

    /// How long it holds good that nobody answers for a group's addresses, or asks for them. Another director may have begun
    /// to ask when this one had ceased to listen, and takes them then: the shorter the better, but a machine that is busy
    /// needs its time.
    pub fn unclaimed_for(&self) -> Duration {
        self.deadtime / 2
    }

    /// Place of a director in the order of a group: 0 is the preferred one.
    pub fn rank(&self, group: usize, node: NodeId) -> usize {
        let order = &self.groups[group].order;
        order.iter().position(|other| *other == node).unwrap_or(order.len())
    }
}

/// See [`Settings::lease`]. The tenth that is left out covers a packet on its way and clocks that differ.
pub fn lease(deadtime: Duration) -> Duration {
    deadtime - deadtime / 10
}
