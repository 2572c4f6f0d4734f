//! Making sure that a silent director is off, where the group has a program for it: once, and not before the group can
//! be had.

use std::time::Duration;

use super::{Node, State, Task, Why};
use crate::cluster::identity::{GroupId, NodeId};

/// What became of a group's program. It outlives the attempt that needed it: another one waits for its end, and does not
/// have the same node shot again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fencing {
    /// `is_heard`: so was the node since the program began, which therefore says nothing of what it does later.
    Running { node: NodeId, is_heard: bool },
    /// It has made sure of the node, which was not heard since.
    Done { node: NodeId },
}

/// Whether a group may be taken from the director that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// The program has to be run.
    Due(NodeId),
    /// The program runs, or the director has yet to hear that it is replaced.
    Pending,
    Certain,
}

impl Node {
    /// `silent`: the last holder, if it has to be made sure of.
    pub(super) fn certainty(&self, index: usize, silent: Option<NodeId>, now: Duration) -> Certainty {
        let Some(silent) = silent else { return Certainty::Certain };
        let deadtime = self.settings.deadtime;
        let heard = || self.peers.iter().filter(|peer| peer.is_heard(now, deadtime));
        if let Some(peer) = heard().find(|peer| peer.node == silent) {
            let claims = peer.says(self.group(index)).is_some_and(|said| said.claims);
            return if claims { Certainty::Pending } else { Certainty::Certain };
        }
        // Whoever has promised it another group hears it: it serves there, and has lost this one in order.
        if heard().any(|peer| peer.supports(silent)) {
            return Certainty::Certain;
        }
        match self.seats[index].fencing {
            Some(Fencing::Done { node }) if node == silent => Certainty::Certain,
            Some(Fencing::Running { .. }) => Certainty::Pending,
            Some(Fencing::Done { .. }) | None => Certainty::Due(silent),
        }
    }

    pub(super) fn fence(&mut self, index: usize, node: NodeId) {
        let group = self.group(index);
        self.seats[index].fencing = Some(Fencing::Running { node, is_heard: false });
        self.order(Task::Fence { group, node });
    }

    /// Whether the program that makes sure of a silent node's death has done so.
    pub fn fenced(&mut self, group: GroupId, node: NodeId, done: bool, now: Duration) {
        let Some(index) = self.index(group) else { return };
        let seat = &mut self.seats[index];
        let is_heard = match seat.fencing {
            Some(Fencing::Running { node: of, is_heard }) if of == node => is_heard,
            Some(_) | None => return,
        };
        seat.fencing = (done && !is_heard).then_some(Fencing::Done { node });
        if let State::Asking(attempt) = seat.state
            && attempt.silent == Some(node)
            && !done
        {
            self.stand_back(index, Why::NotFenced, now);
        }
    }

    /// A node lives, whatever was made sure of before.
    pub(super) fn forget_fencing(&mut self, of: NodeId) {
        for seat in &mut self.seats {
            match &mut seat.fencing {
                Some(Fencing::Running { node, is_heard }) if *node == of => *is_heard = true,
                Some(Fencing::Done { node }) if *node == of => seat.fencing = None,
                Some(_) | None => {}
            }
        }
    }
}
