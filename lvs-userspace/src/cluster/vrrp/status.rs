//! What can be told of the virtual routers.

use std::net::IpAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// One virtual router, as this machine sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterStatus {
    pub name: String,
    pub interface: String,
    /// The number by which the machines know it (VRID).
    pub router_id: u8,
    /// Of the protocol.
    pub version: u8,
    /// `active`, `backup`, or `initialize` while this machine takes no part.
    pub state: String,
    /// Of this machine.
    pub priority: u8,
    /// What the active machine's advertisements come from, as far as is known here.
    pub active: Option<IpAddr>,
    pub active_priority: Option<u8>,
    /// Since this machine is one of the virtual router, by this name and interval.
    pub counts: Counts,
    /// Milliseconds since another machine's last advertisement.
    pub last_received: Option<u64>,
    /// The MAC of its addresses, where that is not the interface's.
    pub virtual_mac: Option<String>,
    /// Whether it takes over from a machine of lower priority.
    pub preempts: bool,
    /// Milliseconds until it does so, while it lets such a machine go on.
    pub preempts_in: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Advertisements, to everybody.
    pub sent: u64,
    /// Advertisements by other machines that were listened to.
    pub received: u64,
    /// Packets that were not: damaged, from elsewhere, of another version or interval.
    pub ignored: u64,
    /// How often this machine has become active.
    pub turns: u64,
}

/// Who was heard last to be active.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) source: IpAddr,
    /// 0: it has given up.
    pub(super) priority: u8,
    pub(super) at: Instant,
}

pub(super) fn milliseconds(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}
