//! What is known of another member from its beats.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cluster::beat::{Beat, Echo, GroupBeat};
use crate::cluster::identity::{GroupId, NodeId};

/// Own messages whose time of sending is remembered. Answers to evidence are younger than the lease; at four
/// beats in each keepalive and as many answers this is far more than that.
const REMEMBERED: usize = 1024;

/// More than an agent can have within the dead time.
const PAST_LIVES: usize = 16;

/// When one's own messages were sent: what others have received of them dates what they say.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    sequence: u64,
    times: VecDeque<Duration>,
}

impl Sent {
    /// The number of the message that is sent now. The clock is read before the message is made.
    pub(super) fn next(&mut self, now: Duration) -> u64 {
        self.sequence += 1;
        self.times.push_back(now);
        if self.times.len() > REMEMBERED {
            self.times.pop_front();
        }
        self.sequence
    }

    /// When a message was sent, if it is young enough to matter.
    pub(super) fn at(&self, sequence: u64) -> Option<Duration> {
        let back = usize::try_from(self.sequence.checked_sub(sequence)?).ok()?;
        let index = self.times.len().checked_sub(back + 1)?;
        self.times.get(index).copied()
    }

    pub(super) const fn last(&self) -> u64 {
        self.sequence
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Accepted,
    /// The sender is in a life that has not proved yet that it is its present one. It is answered, no more.
    Unproved,
    /// Received before, or older than what was.
    Old,
    /// The sender is no member, or oneself.
    Stranger,
}

/// Another director, or the voter.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    /// The life it has proved, and the newest message of it.
    present: Option<(u64, u64)>,
    /// Those it had before: none returns, not even by a recording that is younger than the dead time.
    past: VecDeque<u64>,
    /// One it has not proved.
    unproved: Option<(u64, u64)>,
    /// When it was last heard.
    pub(super) heard: Option<Duration>,
    /// Since when it has been heard without a gap of the dead time.
    pub(super) since: Duration,
    /// The newest of one's own messages that it has received.
    echoed: Option<u64>,
    said: Vec<GroupBeat>,
    /// It has been told all connections, or nobody is told any.
    pub(super) is_told: bool,
}

impl Peer {
    pub(super) const fn new(node: NodeId) -> Self {
        Self {
            node,
            present: None,
            past: VecDeque::new(),
            unproved: None,
            heard: None,
            since: Duration::ZERO,
            echoed: None,
            said: Vec::new(),
            is_told: true,
        }
    }

    /// Takes a message of this peer, received by a node in its `life` that has sent `sent`.
    ///
    /// A new life proves itself by an echo of a message that was sent within `fresh`, which is the dead time: a
    /// recording of an earlier life cannot have one.
    pub(super) fn receive(
        &mut self,
        beat: &Beat,
        node: NodeId,
        life: u64,
        sent: &Sent,
        now: Duration,
        fresh: Duration,
    ) -> Received {
        let echo = beat.echoes.iter().find(|echo| echo.node == node && echo.life == life);
        match self.present {
            Some((present, newest)) if present == beat.life => {
                if beat.sequence <= newest {
                    return Received::Old;
                }
            }
            _ if self.past.contains(&beat.life) => return Received::Old,
            former => {
                let proof = echo.and_then(|echo| sent.at(echo.sequence));
                if proof.is_none_or(|time| now.saturating_sub(time) > fresh) {
                    if self.unproved.is_some_and(|(of, newest)| of == beat.life && beat.sequence <= newest) {
                        return Received::Old;
                    }
                    self.unproved = Some((beat.life, beat.sequence));
                    return Received::Unproved;
                }
                if let Some((life, _)) = former {
                    self.past.push_back(life);
                    if self.past.len() > PAST_LIVES {
                        self.past.pop_front();
                    }
                }
                self.echoed = None;
                self.unproved = None;
            }
        }
        self.present = Some((beat.life, beat.sequence));
        // The life that it takes for the present one comes first. What it promises was not said to another.
        let of_present = beat.echoes.iter().find(|echo| echo.node == node);
        if let Some(echo) = of_present.filter(|echo| echo.life == life)
            && echo.sequence <= sent.last()
        {
            self.echoed = self.echoed.max(Some(echo.sequence));
        }
        self.said.clone_from(&beat.groups);
        if !self.is_heard(now, fresh) {
            self.since = now;
        }
        self.heard = Some(now);
        Received::Accepted
    }

    pub(super) fn life(&self) -> Option<u64> {
        self.present.map(|(life, _)| life)
    }

    /// What is echoed to it: its present life first, then one that has not proved itself, which needs that to do so.
    pub(super) fn echoes(&self) -> impl Iterator<Item = Echo> {
        let lives = self.present.into_iter().chain(self.unproved);
        lives.map(|(life, sequence)| Echo { node: self.node, life, sequence })
    }

    /// It has received this message of one's own, or a later one.
    pub(super) fn echoed_since(&self, sequence: u64) -> bool {
        self.echoed.is_some_and(|echoed| echoed >= sequence)
    }

    pub(super) fn says(&self, group: GroupId) -> Option<&GroupBeat> {
        self.said.iter().find(|said| said.group == group)
    }

    /// It has promised a group to this node.
    pub(super) fn supports(&self, node: NodeId) -> bool {
        self.said.iter().any(|said| said.promise.is_some_and(|promise| promise.to == node))
    }

    /// When the newest message that it has received was sent.
    pub(super) fn echo_time(&self, sent: &Sent) -> Option<Duration> {
        sent.at(self.echoed?)
    }

    /// Its last message is not older than `limit`.
    pub(super) fn is_heard(&self, now: Duration, limit: Duration) -> bool {
        self.heard.is_some_and(|heard| now.saturating_sub(heard) < limit)
    }
}
