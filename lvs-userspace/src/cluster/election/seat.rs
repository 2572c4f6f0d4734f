//! One group, as one director sees it.

use std::time::Duration;

use super::attempt::Attempt;
use super::ballot::Ballot;
use super::fencing::Fencing;
use super::handover::Handover;
use super::output::Promised;
use crate::cluster::beat::Fitness;
use crate::cluster::identity::NodeId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    /// On the way to holding it.
    Asking(Attempt),
    Holding {
        epoch: u64,
        /// The lease, as it was written last.
        ends: Duration,
        fresh_until: Duration,
        /// The lease had not ended when it was looked at last.
        serves: bool,
    },
}

/// What an operator has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Normal,
    /// Gives the group up, and takes it only if nobody else can.
    Standby,
    /// Gives the group up, and takes it never.
    Released,
}

#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) state: State,
    pub(super) ballot: Ballot,
    pub(super) mode: Mode,
    pub(super) is_ready: bool,
    pub(super) fitness: Fitness,
    pub(super) digest: u64,
    /// Nothing is claimed before.
    pub(super) not_before: Duration,
    /// Others are to try until then.
    pub(super) yields_until: Duration,
    /// An operator wants the group here.
    pub(super) is_wanted: bool,
    /// Since when this director is preferred to the holder and as fit.
    pub(super) preferred_since: Option<Duration>,
    /// Since when another director is fitter than this one, which holds.
    pub(super) outdone_since: Option<Duration>,
    /// A planned restart: until when, and the first message that has asked for it; 0 = of an earlier life, as any lease
    /// that it has left.
    pub(super) hold: Option<(Duration, u64)>,
    pub(super) is_held: bool,
    /// The hold that another director was promised last.
    pub(super) remembered: Option<Promised>,
    /// What is held is about to go to another director.
    pub(super) handover: Option<Handover>,
    pub(super) fencing: Option<Fencing>,
    /// What was told last, so that it is not told again at each attempt.
    pub(super) stood_back: Option<super::Why>,
}

impl Seat {
    pub(super) fn new(ballot: Ballot) -> Self {
        Self {
            state: State::Idle,
            ballot,
            mode: Mode::Normal,
            is_ready: false,
            fitness: Fitness::default(),
            digest: 0,
            not_before: Duration::ZERO,
            yields_until: Duration::ZERO,
            is_wanted: false,
            preferred_since: None,
            outdone_since: None,
            hold: None,
            is_held: false,
            remembered: None,
            handover: None,
            fencing: None,
            stood_back: None,
        }
    }

    /// The term that is claimed.
    pub(super) const fn claim(&self) -> Option<u64> {
        match self.state {
            State::Idle => None,
            State::Asking(attempt) => attempt.epoch,
            State::Holding { epoch, .. } => Some(epoch),
        }
    }

    /// It could be given the group now.
    pub(super) fn is_available(&self, now: Duration) -> bool {
        self.is_ready && self.mode == Mode::Normal && now >= self.yields_until
    }

    /// Who had it, as far as known.
    pub(super) fn last_holder(&self, node: NodeId) -> Option<NodeId> {
        self.ballot.promise.map(|promise| promise.to).filter(|to| *to != node)
    }
}
