//! What the API answers. These types are a promise to other programs: `control` may change, they only grow.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::Diagnostics;

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
