//! Who watches the real servers, and what follows.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::{Probe, RealServer};

/// What a service makes of its real servers' checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub require: Require,
    pub on_down: OnDown,
    /// How long a real server that has recovered must stay so before it returns.
    pub recovery_delay: Duration,
    /// How long the weight of a real server that returns grows.
    pub slow_start: Duration,
    pub flaps: Option<Flaps>,
    /// Fewer real servers than this are not enough; at least 1.
    pub quorum: u32,
    /// So many are enough again; at least `quorum`.
    pub quorum_recovery: u32,
    /// Some real server is checked through the path, also while it is taken out.
    pub probes_the_path: bool,
    /// Who serves while there are not enough; its weight is 1 and it has no checks.
    pub fallback: Option<RealServer>,
    /// The file that the agent serves when the director itself is the fallback; only of a tcp service with a port.
    pub page: Option<PathBuf>,
    /// When less than so many percent of the real servers are left, the others are kept; 0 = never.
    pub panic_threshold: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            require: Require::All,
            on_down: OnDown::Remove,
            recovery_delay: Duration::ZERO,
            slow_start: Duration::ZERO,
            flaps: None,
            quorum: 1,
            quorum_recovery: 1,
            probes_the_path: false,
            fallback: None,
            page: None,
            panic_threshold: 0,
        }
    }
}

/// Whoever fails `limit` times `within` a time returns only after `hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaps {
    pub limit: u32,
    pub within: Duration,
    pub hold: Duration,
}

/// How many checks of a real server must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    All,
    Any,
}

/// What becomes of a real server that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDown {
    /// It leaves the service; its flows are steered anew.
    Remove,
    /// Weight 0: it keeps its flows.
    Quiesce,
    /// Weight 0: its TCP connections are reset by the director, and datagrams are steered anew.
    Reset,
}

/// One check of one address. Its definition is its identity: equal ones are one check, whatever services
/// ask for it and however often the file is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Check {
    pub address: IpAddr,
    pub port: u16,
    /// Address that the probe is sent from, if not the one the kernel chooses.
    pub source: Option<IpAddr>,
    /// Interface that the probe leaves and its answer comes in by, if not the one of the route.
    pub interface: Option<String>,
    /// How the probe gets there, if not as any other packet of this machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    pub timing: Timing,
    pub probe: Probe,
}

/// The path of the clients' packets to one real server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Path {
    /// dr: to the VIP, in a frame for the real server.
    Direct { vip: IpAddr },
    /// ipip: to the VIP, inside an outer header.
    Tunnel { vip: IpAddr },
    /// nat: from an address off the real server's links, so that the answer takes its default route.
    Translated { client: IpAddr },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Timing {
    /// From the beginning of one probe to the beginning of the next.
    pub interval: Duration,
    /// The same while results contradict the verdict; at most `interval`.
    pub fast_interval: Duration,
    /// For a whole probe: connecting, asking, being answered.
    pub timeout: Duration,
    /// Probes in a row that must pass before a server that is down counts as up; at least 1.
    pub rise: u32,
    /// Probes in a row that must fail before a server that is up counts as down; at least 1.
    pub fall: u32,
    /// Intervals are longer or shorter by up to so many percent, so that checks spread.
    pub jitter: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            jitter: 10,
        }
    }
}
