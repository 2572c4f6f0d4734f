//! What the API answers. These types are a promise to other programs: `control` may change, they only grow.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::Diagnostics;
use crate::health::pool::Mode;

/// `GET /v1/services`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    pub services: Vec<Service>,
    pub interfaces: Vec<Interface>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    pub vip: IpAddr,
    /// 0 = all ports.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// `rr`, `wrr`, `lc`, `wlc`, `sh`, `dh` or `mh`.
    pub scheduler: String,
    /// Every flow has an entry in the connection table.
    pub tracked: bool,
    /// Who wants it: `file` or `command-line`.
    pub owner: String,
    /// Slots of its ring; 0 = it has none.
    pub ring_slots: u32,
    /// Slots in which old flows are with another destination than new ones.
    pub dual_slots: u32,
    pub destinations: Vec<Destination>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub address: IpAddr,
    /// Port on the real server; 0 = the one the client dialled.
    pub port: u16,
    /// `dr`, `nat`, `ipip` or `local`.
    pub forward: String,
    /// 0 = takes no new flow.
    pub weight: u32,
    /// Connections in the tables: in full, and closing ones with UDP flows.
    pub active: u32,
    pub inactive: u32,
    /// `null` while no MAC is known.
    pub next_hop: Option<NextHop>,
    pub behind_router: bool,
    /// Largest IP packet the way takes, in bytes; 0 = unknown.
    pub mtu: u16,
    /// It is down, and its TCP connections are reset: nothing is sent to it.
    pub resets: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// Index of the interface.
    pub interface: u32,
    /// `02:00:00:00:00:01`
    pub mac: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// `native` or `generic`.
    pub mode: String,
}

/// `GET /v1/stats`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// When it was read, on the machine's monotonic clock: rates are differences of two answers.
    pub monotonic_nanoseconds: u64,
    pub services: Vec<ServiceStats>,
    pub causes: Vec<CauseStats>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStats {
    pub name: String,
    pub vip: IpAddr,
    pub port: u16,
    pub protocol: String,
    /// The sum of the destinations it has now.
    pub traffic: Traffic,
    pub destinations: Vec<DestinationStats>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationStats {
    pub address: IpAddr,
    pub port: u16,
    pub forward: String,
    pub active: u32,
    pub inactive: u32,
    pub traffic: Traffic,
}

/// Since the destination was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub connections: u64,
    /// Client -> real server; bytes of IP packets.
    pub packets_in: u64,
    pub bytes_in: u64,
    /// Real server -> client, with nat; 0 with other methods, whose answers do not tell the real server.
    pub packets_out: u64,
    pub bytes_out: u64,
}

/// Why packets did not simply go to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseStats {
    pub name: String,
    pub description: String,
    /// What happens to the packet: `pass`, `drop` or `answer`; `note`: something else, and no packet is lost.
    pub verdict: String,
    pub packets: u64,
}

/// `GET /v1/connections?service=NAME&limit=N`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub connections: Vec<Connection>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// `tcp` or `udp`.
    pub protocol: String,
    pub client: Endpoint,
    #[serde(rename = "virtual")]
    pub dialled: Endpoint,
    /// Real server and its port; `null` when it was removed meanwhile.
    pub destination: Option<Endpoint>,
    /// As `ipvsadm -Lc` names it: `ESTABLISHED`, `SYN_RECV`, ...
    pub state: String,
    /// Idle time that is left, in seconds.
    pub expires: u64,
    /// `embryonic` (one packet of it was seen) or `established`.
    pub class: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    /// Version of the maps' layout.
    pub layout: u32,
    pub instance: String,
    pub pid: u32,
    /// Path of the configuration file.
    pub config: String,
    pub uptime_seconds: u64,
    pub interfaces: Vec<Interface>,
    pub services: usize,
    pub tables: Vec<Table>,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub name: String,
    pub used: u64,
    pub capacity: u64,
}

/// `GET /v1/health`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub services: Vec<ServiceHealth>,
    pub pace: Pace,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHealth {
    pub name: String,
    /// It has not enough real servers: a fallback serves if there is one.
    pub quorum_lost: bool,
    /// Too many real servers are down: the checks are doubted.
    pub checks_doubted: bool,
    pub servers: Vec<ServerHealth>,
}

/// One real server of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHealth {
    pub address: IpAddr,
    /// Port on the real server; 0 = the one the client dialled.
    pub port: u16,
    /// `unchecked`, `untested`, `up` or `down`.
    pub state: String,
    /// `serving`, `starting`, `out`, `recovering` or `held`.
    pub phase: String,
    /// `enabled`, `drained` or `disabled`.
    pub mode: String,
    /// How long it has been in that state.
    pub seconds: u64,
    /// The evidence for it; empty without any.
    pub reason: String,
    /// As in the file.
    pub weight: u32,
    /// As it is to be installed; `null` when the real server is left out.
    pub installed_weight: Option<u32>,
    /// Its TCP connections are reset.
    pub resets: bool,
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// As in the file: `tcp`, `http`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// What is probed, and if not straight, how: `192.168.0.1:80/.testpage`, `192.168.0.1:80 via path`.
    pub target: String,
    /// `untested`, `up` or `down`.
    pub state: String,
    pub seconds: u64,
    /// `null` before the first result.
    pub last: Option<Probe>,
    /// Latest results in a row that contradict the state.
    pub contrary: u32,
    pub probes: u64,
    pub failures: u64,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub passed: bool,
    /// Whether it says anything about the server: not if the agent's own side was at fault.
    pub conclusive: bool,
    pub summary: String,
    pub microseconds: u64,
}

/// How well the probes of all checks keep time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Begun since the agent's start.
    pub probes: u64,
    pub running: usize,
    pub most_running: usize,
    /// How many began so late; the last class has no `within_milliseconds`.
    pub late: Vec<Late>,
    pub latest_milliseconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    pub within_milliseconds: Option<u64>,
    pub probes: u64,
}

/// `GET /v1/events?after=NUMBER&limit=N`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1 since the agent's start.
    pub number: u64,
    /// Since 1970.
    pub unix_milliseconds: u64,
    pub service: String,
    /// `null` when it is about the service as a whole.
    pub server: Option<Endpoint>,
    /// `down`, `recovering`, `up`, `enabled`, `drained`, `disabled`, `quorum lost`, `quorum regained`, `checks
    /// doubted` or `checks trusted`.
    pub what: String,
    pub reason: String,
}

/// Body of `POST /v1/maintenance`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// An address, or an address and the real server's port.
    pub server: String,
    /// Name of the one service meant; all of them without one.
    #[serde(default)]
    pub service: Option<String>,
    /// `enabled`, `drained` or `disabled`.
    pub mode: Mode,
}

/// Answer of `POST /v1/maintenance`, given when the mode is in force and on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintained {
    /// Services in which the real server has that mode now.
    pub services: usize,
    /// Services of whose group this director is not the holder: there the mode is to be set, too.
    #[serde(default)]
    pub elsewhere: usize,
}

/// `POST /v1/reload`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    pub services: usize,
    /// Writes to the kernel's maps; 0 = the file wants what is installed.
    pub changes: usize,
    pub warnings: Vec<String>,
}

/// Body of `POST /v1/stop`; may be left out. It counts, whatever `lvsd` was told for signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Programs and maps stay at work, for the next agent to adopt.
    #[serde(default)]
    pub keep_forwarding: bool,
}

/// Answer of `POST /v1/stop`, given when everything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub forwarding_kept: bool,
}

/// Body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub error: String,
    /// The mistakes one by one, where it was the configuration: as `lvsctl check --json` tells them.
    #[serde(flatten)]
    pub diagnostics: Option<Diagnostics>,
}

impl Failure {
    pub(crate) fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), diagnostics: None }
    }
}

/// `POST /v1/cluster`: what becomes of a group, or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub wish: crate::runtime::Wish,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}
