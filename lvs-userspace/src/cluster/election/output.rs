//! What an election has done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::beat::Beat;
use crate::cluster::identity::{GroupId, NodeId};

/// To be done at once, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To all other members.
    Send(Beat),
    /// To be written to the data plane. Both are of the clock that the election is given.
    Lease {
        group: GroupId,
        epoch: u64,
        ends: Duration,
        fresh_until: Duration,
    },
    Do(Task),
}

/// To be done by somebody who has time for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// The group is held, for the first time or again: its addresses are to be put up and announced.
    Serve {
        group: GroupId,
        epoch: u64,
    },
    /// The group's addresses are to be taken away.
    Withdraw {
        group: GroupId,
    },
    /// The group is held and a node that was not heard is heard again: who listened to it has to be told.
    Announce {
        group: GroupId,
    },
    /// The group is about to be given up: its connections are to be told to whoever may take it:
    /// [`super::Node::tidied`].
    Tidy {
        group: GroupId,
    },
    /// Find out what the wire says of the group's addresses: [`super::Node::probed`]. `besides`: groups whose addresses are
    /// asked about too, where that can be done: [`super::Wire::of_another`].
    Probe {
        group: GroupId,
        attempt: u64,
        besides: Vec<GroupId>,
    },
    /// Run the program that makes sure that `node` is dead: [`super::Node::fenced`]. No other one is ordered for the group
    /// before that.
    Fence {
        group: GroupId,
        node: NodeId,
    },
    /// Another director was promised a hold: a next life of this one has to know ([`super::Node::recall`]).
    Remember(Promised),
    Tell(Notice),
}

/// A hold that another director was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    pub group: GroupId,
    pub to: NodeId,
    pub epoch: u64,
    /// By the clock that the election is given.
    pub until: Duration,
}

/// For people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// All paths have been silent for the dead time.
    Dead {
        node: NodeId,
    },
    /// Heard for the first time, or again.
    Alive {
        node: NodeId,
    },
    Asks {
        group: GroupId,
        why: Why,
    },
    Holds {
        group: GroupId,
        epoch: u64,
    },
    /// The lease has ended: no majority is heard.
    Lapsed {
        group: GroupId,
    },
    GaveUp {
        group: GroupId,
        why: Why,
    },
    /// Nothing was taken.
    StoodBack {
        group: GroupId,
        why: Why,
    },
    /// The planned restart may take until then.
    Held {
        group: GroupId,
        until: Duration,
    },
    /// The node was not run for longer than its lease.
    Paused {
        duration: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody has it, and nobody had it.
    Vacant,
    /// Its holder has not been heard for the dead time.
    Silent(NodeId),
    /// Its holder has given it up.
    HandedOver(NodeId),
    Operator,
    /// Another director is fitter.
    Fitter(NodeId),
    /// A preferred director asks for it.
    Preferred(NodeId),
    /// Another one holds it for a later term.
    Superseded,
    /// Somebody answers for its addresses.
    Answered,
    /// The director that had it is silent, and somebody answers for another group, or asks for it.
    Lives(NodeId),
    /// Nobody has its addresses, and somebody else asks for them too.
    Contended,
    /// The program that fences has failed.
    NotFenced,
    /// No majority has voted for it.
    NoQuorum,
    /// A resource could not be started.
    Resource,
}
