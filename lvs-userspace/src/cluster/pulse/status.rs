//! What can be told of the cluster.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::sync::view::View;

/// The cluster as this director sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub node: String,
    /// With a voter, or more than two directors, there are never two holders of a group.
    pub has_majority_rule: bool,
    pub groups: Vec<GroupStatus>,
    /// The other directors, and the voter.
    pub peers: Vec<PeerStatus>,
    pub paths: Vec<PathStatus>,
    /// Beats that were not taken, by reason.
    pub refused: Vec<(String, u64)>,
    /// The same of datagrams about connections; empty where there is no way to tell them.
    #[serde(default)]
    pub refused_connections: Vec<(String, u64)>,
    /// The same of streams for the desired state.
    #[serde(default)]
    pub refused_state: Vec<(String, u64)>,
    /// The longest time between two rounds of the thread that beats, in microseconds.
    pub longest_round: u64,
    /// Connections, with each other director; `null` where there is no way to tell them.
    #[serde(default)]
    pub synchronisation: Option<Vec<View>>,
    /// Which desired state is in force, if it is one that the cluster shares.
    #[serde(default)]
    pub desired: Option<DesiredStatus>,
}

/// A desired state: verdicts of checks, maintenance, what people were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredStatus {
    /// Whose it is; `null`: this director's own, which others follow.
    pub node: Option<String>,
    /// Counts the states of that director, in its present life.
    pub version: u64,
    /// Since it was told.
    pub age_milliseconds: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub name: String,
    /// `active`, `standby`, `released`, or `waiting` until its state is complete or while it is unfit.
    pub role: String,
    /// Who holds it, as far as is known here.
    pub holder: Option<String>,
    /// The term of office.
    pub epoch: u64,
    /// How often this director has become active for it since the agent's start; one that goes on with a lease has too.
    #[serde(default)]
    pub takeovers: u64,
    /// Milliseconds that the lease still lasts without a further beat.
    pub lease: Option<u64>,
    pub is_ready: bool,
    pub is_fit: bool,
    pub score: u16,
    /// Services, or who serves, differ from this director's at these nodes.
    pub differs_from: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    pub name: String,
    pub is_alive: bool,
    /// Since when it has been heard, in milliseconds.
    pub alive_for: Option<u64>,
    /// By path.
    pub heard: Vec<Heard>,
}

/// One node on one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    pub path: String,
    /// Milliseconds since the last message.
    pub ago: u64,
    pub received: u64,
    pub late: u64,
    pub missing: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStatus {
    pub name: String,
    pub fault: Option<String>,
    pub sent: u64,
    pub failed: u64,
    pub received: u64,
    /// Dropped: from strangers, too long, damaged.
    pub dropped: u64,
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
