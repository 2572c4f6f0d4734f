//! What happens, and when.

use std::time::Duration;

use lvs_userspace::cluster::beat::Beat;
use lvs_userspace::cluster::election::Wire;
use lvs_userspace::cluster::identity::{GroupId, NodeId};

#[derive(Debug)]
pub(in crate::sim) enum What {
    Tick {
        director: usize,
        wake: u64,
    },
    Arrives {
        to: usize,
        beat: Box<Beat>,
    },
    /// Outputs are carried out.
    Work {
        director: usize,
        life: u64,
    },
    /// A director asks on the wire.
    Question {
        director: usize,
        life: u64,
        about: GroupId,
        attempt: u64,
    },
    Asked {
        by: usize,
        to: usize,
        about: GroupId,
        attempt: u64,
    },
    /// `attempt`: of the question that it answers.
    Answered {
        to: usize,
        about: GroupId,
        attempt: Option<u64>,
    },
    Listened {
        director: usize,
        life: u64,
        group: GroupId,
        attempt: u64,
    },
    Probed {
        director: usize,
        life: u64,
        group: GroupId,
        attempt: u64,
        found: Wire,
        until: Duration,
    },
    Announces {
        director: usize,
        group: GroupId,
    },
    /// A director's power is off.
    Shot {
        director: usize,
    },
    /// The program that fences has ended.
    Fenced {
        director: usize,
        life: u64,
        group: GroupId,
        node: NodeId,
        done: bool,
    },
    /// The connections of a group have been told.
    Tidied {
        director: usize,
        life: u64,
        group: GroupId,
    },
    Begins(usize),
    Ends(usize),
    /// Operators want nothing special any more.
    Restore,
    /// A planned restart has come to its end.
    Restart {
        director: usize,
    },
    Look,
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) time: Duration,
    pub(super) order: u64,
    pub(super) what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.time, self.order) == (other.time, other.order)
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.order).cmp(&(other.time, other.order))
    }
}
