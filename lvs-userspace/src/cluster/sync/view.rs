//! How the synchronisation with another director goes, for people and programs. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::link::PeerStatus;
use super::{ReceiverStats, SenderStats};

/// A change that waits for longer is worth a word.
const BEHIND: Duration = Duration::from_secs(1);

/// With one other director, in both directions. Numbers are since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub node: String,
    /// Where it is told; `null` while that is not known.
    pub address: Option<String>,
    /// This director holds something that the other one is to be told of, and the other way round.
    pub sends: bool,
    pub receives: bool,
    pub sent: Sent,
    pub received: Received,
}

/// How far one direction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nobody follows: the other director does not answer.
    #[default]
    Absent,
    /// Not everything has been told yet.
    Joining,
    /// A change has been waiting for more than a second.
    Behind,
    Complete,
}

/// To the other director.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub phase: Phase,
    /// Of what there was when it began, in percent.
    pub progress: u8,
    /// How long ago the oldest change was made that is not acknowledged.
    pub lag_milliseconds: u64,
    pub bytes_per_second: u64,
    pub sessions: u64,
    /// Connections told, again those that go on; and those told to be over.
    pub connections: u64,
    pub removals: u64,
    pub datagrams: u64,
    pub bytes: u64,
    /// Datagrams that were not acknowledged; what they said was said anew.
    pub lost: u64,
    /// Version of the desired state; `null` where it is not told.
    pub state_version: Option<u64>,
}

/// From the other director.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    pub phase: Phase,
    pub progress: u8,
    pub sessions: u64,
    /// Connections taken over, again those that go on; and those taken away.
    pub connections: u64,
    pub removals: u64,
    pub datagrams: u64,
    /// Datagrams that did not come, or too late.
    pub lost: u64,
    /// Connections that were not taken over: no room,
    pub full: u64,
    /// their service or real server is not known here, or another director is expected to tell of it,
    pub unresolved: u64,
    /// or the kernel has refused.
    pub failures: u64,
    /// Version of the desired state; `null` where it has told none.
    pub state_version: Option<u64>,
}

impl Sent {
    pub fn of(stats: &SenderStats) -> Self {
        let phase = match stats {
            SenderStats { is_followed: false, .. } => Phase::Absent,
            SenderStats { bulk_left: 1.., .. } => Phase::Joining,
            SenderStats { lag, .. } if *lag > BEHIND => Phase::Behind,
            _ => Phase::Complete,
        };
        Self {
            phase,
            progress: progress(phase, stats.bulk_total, stats.bulk_left),
            lag_milliseconds: u64::try_from(stats.lag.as_millis()).unwrap_or(u64::MAX),
            bytes_per_second: stats.rate,
            sessions: stats.sessions,
            connections: stats.entries,
            removals: stats.removals,
            datagrams: stats.datagrams,
            bytes: stats.bytes,
            lost: stats.lost,
            state_version: None,
        }
    }
}

impl Received {
    pub fn of(status: &PeerStatus) -> Self {
        let stats = &status.receiver;
        let phase = match stats {
            ReceiverStats { is_following: false, .. } => Phase::Absent,
            ReceiverStats { is_current: false, .. } => Phase::Joining,
            _ => Phase::Complete,
        };
        Self {
            phase,
            progress: progress(phase, stats.bulk_total, stats.bulk_left),
            sessions: stats.sessions,
            connections: stats.inserted + stats.updated,
            removals: stats.removed,
            datagrams: stats.datagrams,
            lost: stats.gaps,
            full: stats.full,
            unresolved: stats.unresolved,
            failures: status.failures,
            state_version: None,
        }
    }
}

/// In percent; 100 only when nothing is left.
fn progress(phase: Phase, total: u32, left: u32) -> u8 {
    match phase {
        Phase::Absent => 0,
        Phase::Behind | Phase::Complete => 100,
        Phase::Joining if total == 0 => 0,
        Phase::Joining => {
            let done = u64::from(total.saturating_sub(left)) * 100 / u64::from(total);
            u8::try_from(done.min(99)).unwrap_or(99)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_joins_is_complete_and_may_fall_behind() {
        let mut stats = SenderStats::default();
        let seen = |stats: &SenderStats| {
            let sent = Sent::of(stats);
            (sent.phase, sent.progress)
        };
        assert_eq!(seen(&stats), (Phase::Absent, 0));
        stats = SenderStats { is_followed: true, bulk_total: 1000, bulk_left: 570, ..stats };
        assert_eq!(seen(&stats), (Phase::Joining, 43));
        // Explanations count as well, and so there may be more left than there were buckets.
        stats.bulk_left = 1005;
        assert_eq!(seen(&stats), (Phase::Joining, 0));
        stats.bulk_left = 1;
        assert_eq!(seen(&stats), (Phase::Joining, 99));
        stats.bulk_left = 0;
        assert_eq!(seen(&stats), (Phase::Complete, 100));
        stats.lag = Duration::from_millis(1001);
        assert_eq!(seen(&stats), (Phase::Behind, 100));
    }

    #[test]
    fn who_receives_knows_how_far_it_is() {
        let mut status = PeerStatus::default();
        let seen = |status: &PeerStatus| (Received::of(status).phase, Received::of(status).progress);
        assert_eq!(seen(&status), (Phase::Absent, 0));
        status.receiver.is_following = true;
        assert_eq!(seen(&status), (Phase::Joining, 0), "nothing was said of it yet");
        (status.receiver.bulk_total, status.receiver.bulk_left) = (200, 50);
        assert_eq!(seen(&status), (Phase::Joining, 75));
        status.receiver.is_current = true;
        assert_eq!(seen(&status), (Phase::Complete, 100));
    }
}
