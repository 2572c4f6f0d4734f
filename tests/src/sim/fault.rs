//! What goes wrong, and is mended.

use std::time::Duration;

use super::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Heartbeats from one member to another.
    CutOneWay {
        from: usize,
        to: usize,
    },
    /// Heartbeats of a member, the voter perhaps.
    Isolate {
        member: usize,
    },
    /// Heartbeats and the service's wire of a director.
    Unplug {
        director: usize,
    },
    /// The service's wire of a director: its agent sees that its link is down.
    PullServiceLink {
        director: usize,
    },
    Stop {
        director: usize,
    },
    Kill {
        director: usize,
    },
    Crash {
        director: usize,
    },
    Freeze {
        director: usize,
    },
    /// Scores move a little, as servers come and go.
    Unsettle {
        director: usize,
    },
    Loss {
        per_mille: u32,
    },
    RestartVoter,
    /// An operator gives everything up on a director.
    Standby {
        director: usize,
    },
    /// A planned restart, within its hold.
    PlannedRestart {
        director: usize,
    },
}

impl Fault {
    /// A question on the service's wire may not be answered.
    pub(super) const fn cuts_wire(self) -> bool {
        matches!(self, Self::Unplug { .. } | Self::PullServiceLink { .. } | Self::Freeze { .. })
    }

    /// Beats may not arrive, or are not sent.
    pub(super) const fn silences(self) -> bool {
        match self {
            Self::CutOneWay { .. }
            | Self::Isolate { .. }
            | Self::Unplug { .. }
            | Self::Stop { .. }
            | Self::Kill { .. }
            | Self::Crash { .. }
            | Self::Freeze { .. }
            | Self::Loss { .. }
            | Self::PlannedRestart { .. } => true,
            Self::PullServiceLink { .. }
            | Self::Unsettle { .. }
            | Self::RestartVoter
            | Self::Standby { .. } => false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) fault: Fault,
    pub(super) begins: Duration,
    pub(super) ends: Duration,
}

/// Faults within the first `span`, all mended at its end.
pub(super) fn plan(
    random: &mut Random,
    directors: usize,
    has_voter: bool,
    unit: Duration,
    span: Duration,
) -> Vec<Timed> {
    let members = directors + usize::from(has_voter);
    let count = random.below(9);
    let mut faults = Vec::new();
    for _ in 0..count {
        let director = random.below(directors);
        let fault = match random.below(16) {
            0 | 1 => Fault::CutOneWay { from: random.below(members), to: random.below(members) },
            2 | 3 => Fault::Isolate { member: random.below(members) },
            4 => Fault::Unplug { director },
            5 => Fault::PullServiceLink { director },
            6 | 7 => Fault::Stop { director },
            8 | 9 => Fault::Kill { director },
            10 => Fault::Crash { director },
            11 => Fault::Freeze { director },
            12 => Fault::Unsettle { director },
            13 => Fault::Loss { per_mille: 50 + random.below(400) as u32 },
            14 => random.one_of(&[Fault::RestartVoter, Fault::Standby { director }]),
            _ => Fault::PlannedRestart { director },
        };
        let begins = random.between(Duration::ZERO..span);
        // Mostly about the dead time, where it matters; sometimes long.
        let length = if random.chance(700) {
            random.between(Duration::ZERO..unit * 3)
        } else {
            random.between(unit..unit * 20)
        };
        faults.push(Timed { fault, begins, ends: (begins + length).min(span) });
    }
    faults
}
