//! A member that has a vote and wants nothing.

use std::time::Duration;

use super::ballot::Ballot;
use super::peer::{Peer, Received, Sent};
use crate::cluster::beat::{Beat, Fitness, GROUPS, GroupBeat, NODES};
use crate::cluster::identity::{GroupId, NodeId};

/// Breaks the tie of two directors. It needs no configuration: whoever has the key is heard.
#[derive(Clone, Debug)]
pub struct Voter {
    node: NodeId,
    life: u64,
    peers: Vec<Peer>,
    ballots: Vec<(GroupId, Ballot)>,
    sent: Sent,
    /// What an earlier life has promised binds no longer.
    silent_until: Duration,
}

impl Voter {
    /// `silence`: how long it gives no vote, since it may have promised one in an earlier life; the longest hold
    /// there can be.
    pub fn new(node: NodeId, life: u64, silence: Duration, now: Duration) -> Self {
        Self {
            node,
            life,
            peers: Vec::new(),
            ballots: Vec::new(),
            sent: Sent::default(),
            silent_until: now + silence,
        }
    }

    /// What became of a message, and the answer to its sender.
    pub fn receive(&mut self, beat: &Beat, now: Duration) -> (Received, Option<Beat>) {
        let known = self.peers.iter().position(|peer| peer.node == beat.sender);
        let index = match known {
            Some(index) => index,
            None if self.peers.len() == NODES || beat.sender == self.node => {
                return (Received::Stranger, None);
            }
            None => {
                self.peers.push(Peer::new(beat.sender));
                self.peers.len() - 1
            }
        };
        let deadtime = Duration::from_millis(u64::from(beat.deadtime));
        let peer = &mut self.peers[index];
        let received = peer.receive(beat, self.node, self.life, &self.sent, now, deadtime);
        match received {
            Received::Accepted => {
                beat.groups.iter().for_each(|said| self.hear(beat.sender, said, now, deadtime))
            }
            Received::Unproved => {}
            Received::Old | Received::Stranger => return (received, None),
        }
        (received, Some(self.answer(beat, now)))
    }

    /// Who has the vote for each group.
    pub fn ballots(&self) -> impl Iterator<Item = (GroupId, &Ballot)> {
        self.ballots.iter().map(|(group, ballot)| (*group, ballot))
    }

    fn hear(&mut self, from: NodeId, said: &GroupBeat, now: Duration, deadtime: Duration) {
        let index = match self.ballots.iter().position(|(group, _)| *group == said.group) {
            Some(index) => index,
            None if self.ballots.len() == GROUPS => return,
            None => {
                self.ballots.push((said.group, Ballot::silent_until(self.silent_until)));
                self.ballots.len() - 1
            }
        };
        self.ballots[index].1.hear(from, said, now, deadtime);
    }

    fn answer(&mut self, to: &Beat, now: Duration) -> Beat {
        let groups = self.ballots.iter().map(|(group, ballot)| GroupBeat {
            group: *group,
            epoch: ballot.epoch,
            claims: false,
            hold: 0,
            promise: ballot.promise.filter(|_| !ballot.is_free(now)),
            is_ready: false,
            wants: false,
            fitness: Fitness::default(),
            digest: 0,
        });
        let groups = groups.collect();
        Beat {
            sender: self.node,
            life: self.life,
            sequence: self.sent.next(now),
            is_answer: true,
            keepalive: to.keepalive,
            deadtime: to.deadtime,
            echoes: self.peers.iter().flat_map(Peer::echoes).collect(),
            groups,
        }
    }
}
