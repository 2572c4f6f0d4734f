//! The validated configuration: what cannot work cannot be built.

mod alert;
mod cluster;
mod health;
mod probe;
mod vrrp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use alert::{Alert, AlertChannel, MailAlert, ProgramAlert, SyslogAlert, WebhookAlert};
pub use cluster::{
    Cluster, ClusterTiming, Failback, Fence, Group, GroupAddress, HeartbeatPath, Node, Resource, Track,
    TrackScript, Voter,
};
pub use health::{Check, Flaps, Health, OnDown, Path, Require, Timing};
pub use probe::{
    Convention, DnsProbe, ExchangeProbe, ExternalProbe, GrpcProbe, HttpProbe, LdapProbe, Login, Probe,
    RadiusProbe, Secure, SipProbe, SqlProbe, TextProbe, TextProtocol, TlsMode, Transport, UdpProbe,
};

pub use vrrp::{VrrpInstance, VrrpVersion};

use lvs_common::connection::buckets_for;

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Names of the interfaces that see client or real-server traffic; never empty, no duplicates.
    pub interfaces: Vec<String>,
    pub timeouts: Timeouts,
    pub limits: Limits,
    /// Distinct by (vip, port, protocol) and by name.
    pub services: Vec<Service>,
    /// Distinct by name.
    pub alerts: Vec<Alert>,
    /// `None`: a director of its own, which needs nobody's leave.
    pub cluster: Option<Arc<Cluster>>,
    /// Never with a cluster: the other way to find out whose the addresses are.
    pub vrrp: Vec<VrrpInstance>,
    /// Where metrics are served over HTTP; no service's address.
    pub metrics: Option<SocketAddr>,
}

impl Config {
    /// What moves between directors: the addresses of each group, or of each virtual router, in the order of the file.
    pub fn moving(&self) -> impl Iterator<Item = &[GroupAddress]> {
        let groups = self.cluster.iter().flat_map(|cluster| &cluster.groups);
        let routers = self.vrrp.iter();
        groups
            .map(|group| group.addresses.as_slice())
            .chain(routers.map(|router| router.addresses.as_slice()))
    }
}

/// Idle times of connections, in seconds (as `ipvsadm --set tcp tcpfin udp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub tcp: u32,
    pub tcp_fin: u32,
    pub udp: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { tcp: 900, tcp_fin: 120, udp: 300 }
    }
}

/// Sizes of maps; they take effect when the maps are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: u32,
    pub embryonic: u32,
    pub destinations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: lvs_common::limits::CONNECTIONS,
            embryonic: lvs_common::limits::EMBRYONIC,
            destinations: lvs_common::limits::DESTINATIONS,
        }
    }
}

impl Limits {
    /// Entries of `EMBRYONIC_ORDER`, in which the program finds a place by a mask.
    pub const fn embryonic_slots(&self) -> u32 {
        self.embryonic.next_power_of_two()
    }

    /// Buckets of the connection table, which holds the embryonic too.
    pub const fn buckets(&self) -> u32 {
        buckets_for(self.connections as u64 + self.embryonic_slots() as u64)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// The IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => lvs_common::service::protocol::TCP,
            Self::Udp => lvs_common::service::protocol::UDP,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheduler {
    Rr,
    Wrr,
    Lc,
    Wlc,
    Sh,
    Dh,
    Mh,
}

impl Scheduler {
    /// Chosen by a hash from a ring; the others need an entry for every connection.
    pub const fn is_hashing(self) -> bool {
        matches!(self, Self::Sh | Self::Dh | Self::Mh)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    Dr,
    Nat,
    Ipip,
    /// The director itself serves.
    Local,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub vip: IpAddr,
    /// 0 = all ports.
    pub port: u16,
    pub protocol: Protocol,
    pub scheduler: Scheduler,
    /// `track: always`: every flow gets an entry, even where the ring alone would answer.
    pub track_always: bool,
    /// Distinct by (address, port); may be empty (clients are refused).
    pub real_servers: Vec<RealServer>,
    pub health: Health,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealServer {
    pub address: IpAddr,
    /// Port on the real server: the service's own except with nat; 0 = the one the client dialled.
    pub port: u16,
    /// 0 = takes no new flow.
    pub weight: u32,
    pub forward: Forward,
    /// What tells whether it serves; without any it always does.
    pub checks: Vec<Arc<Check>>,
    /// It is down and its connections are reset: never by the file, but by what the checks say.
    pub resets: bool,
}
