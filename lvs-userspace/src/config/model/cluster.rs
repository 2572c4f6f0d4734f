//! Directors that watch each other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Several directors of which one holds each group of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// This director's name among `nodes`; the host name if `None`.
    pub node: Option<String>,
    /// Two or more, the preferred one first; distinct by name and address.
    pub nodes: Vec<Node>,
    /// A third party that breaks ties.
    pub voter: Option<Voter>,
    /// Ways beside the nodes' addresses on which beats travel.
    pub paths: Vec<HeartbeatPath>,
    /// UDP port of the beats.
    pub port: u16,
    /// The keys that authenticate every message.
    pub key_file: PathBuf,
    pub timing: ClusterTiming,
    /// Whether a director that was preferred takes a group back.
    pub auto_failback: Failback,
    /// Between two announcements of addresses that are held.
    pub refresh: Option<Duration>,
    pub track: Track,
    /// Never empty; distinct by name; no address is in two of them.
    pub groups: Vec<Group>,
}

impl Cluster {
    /// The director called `name`.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// Each is one path: beats go from the first address of one node to the first of another, from the second
    /// to the second, and so on. May be empty where there are other paths.
    pub addresses: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub name: String,
    pub address: SocketAddr,
}

/// Times of the heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterTiming {
    /// Between two beats.
    pub keepalive: Duration,
    /// A node that is silent for longer on a path is told of, and a beat that comes later is late.
    pub warntime: Duration,
    /// A node that is silent for so long on all paths is dead.
    pub deadtime: Duration,
    /// How long a director that starts waits for others.
    pub initdead: Duration,
    /// How long the agent's main task may be busy before its director counts as hung.
    pub watchdog: Duration,
    /// How long a planned restart may take.
    pub hold: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    Off,
    /// After the preferred director has been well for so long.
    After(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatPath {
    Multicast {
        interface: String,
        group: IpAddr,
        /// Hops.
        ttl: u8,
    },
    Broadcast {
        interface: String,
        /// 255.255.255.255, which every network takes for its own, or the network's.
        address: Ipv4Addr,
    },
    Serial {
        device: PathBuf,
        /// Bits a second.
        baud: u32,
    },
}

/// What makes a director fit to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// Interfaces that must be up, with a carrier. A director without them is unfit.
    pub interfaces: Vec<String>,
    /// Addresses that must answer a ping. A director that reaches none of them is cut off.
    pub gateways: Vec<IpAddr>,
    /// Programs that must exit with 0, and how much fitter a director is for it.
    pub scripts: Vec<TrackScript>,
    /// Files that must exist.
    pub files: Vec<PathBuf>,
}

impl Track {
    pub const MOST_GATEWAYS: usize = 16;
    pub const MOST_SCRIPTS: usize = 24;
    pub const MOST_FILES: usize = 24;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackScript {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
}

/// Addresses that move as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// Names of nodes, the preferred one first: those of the file, in another order perhaps.
    pub order: Vec<String>,
    /// Never empty.
    pub addresses: Vec<GroupAddress>,
    /// Programs that are started with `start`, first to last, when the group comes, and with `stop`, last to
    /// first, when it goes.
    pub resources: Vec<Resource>,
    /// Run before a group is taken from a director that does not answer.
    pub fence: Option<Fence>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAddress {
    pub address: IpAddr,
    /// Bits of the network.
    pub prefix: u8,
    pub interface: String,
    /// As `ip address` shows it.
    pub label: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Program and arguments, which the silent node's name follows; never empty.
    pub command: Vec<String>,
    pub timeout: Duration,
    /// Whether the group is taken although the program has failed.
    pub take_on_failure: bool,
}
