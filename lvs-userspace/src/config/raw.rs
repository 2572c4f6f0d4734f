//! Every key of the file, declared once: [`record!`] makes the reader and the JSON Schema of it.

use serde_json::{Value as Json, json};

use super::alerts::raw::Alerts;
use super::cluster::raw::Cluster;
use super::health::raw::{Checks, Health};
use super::model::{self, Forward, Protocol, Scheduler};
use super::record::{List, Read, record};
use super::scalar::{InterfaceName, ListenAddress, Number, ServiceName, UnicastAddress, Version};
use super::vrrp::raw::Instances as Vrrp;
use super::words::Track;
use lvs_common::limits;

/// A month, in seconds: who needs longer has another problem, and ticks stay far from their wrap.
const LONGEST_TIMEOUT: u32 = 30 * 24 * 60 * 60;

pub(super) type ServicePort = Number<0, 65_535>;
pub(super) type RealServerPort = Number<1, 65_535>;
pub(super) type Weight = Number<0, { limits::WEIGHT }>;
pub(super) type Seconds = Number<1, LONGEST_TIMEOUT>;
/// Entries of a table of connections: 2^26 of them take 5 GB at once.
pub(super) type Entries = Number<1, { 1 << 26 }>;
pub(super) type Destinations = Number<1, { 1 << 20 }>;

pub(super) type Interfaces = List<InterfaceName, 1, 1_024>;
pub(super) type Services = List<Service, 0, { limits::SERVICES as usize }>;
pub(super) type RealServers = List<RealServer, 0, { limits::MEMBERS_PER_SERVICE as usize }>;

record! {
    /// The whole file.
    File {
        /// Version of the file's format.
        required version: Version;
        /// Every interface that sees client or real-server traffic.
        required interfaces: Interfaces;
        /// Idle time after which a connection is forgotten, in seconds.
        default timeouts: Timeouts = json!({});
        /// Sizes of the tables in the kernel; they take effect when the tables are created.
        default limits: Limits = json!({});
        /// What clients dial. `[]` for none.
        required services: Services;
        /// Who is told when real servers fail.
        default alerts: Alerts = json!([]);
        /// Directors that stand in for each other; without it, this one is alone.
        optional cluster: Cluster;
        /// Virtual routers of VRRP in which this machine takes part; not with `cluster`.
        default vrrp: Vrrp = json!([]);
        /// Where Prometheus finds metrics; nowhere if left out.
        optional metrics: Metrics;
    }
}

record! {
    /// `metrics`.
    Metrics {
        /// The address and port to listen on.
        required listen: ListenAddress;
    }
}

record! {
    /// `timeouts`.
    Timeouts {
        /// An established TCP connection.
        default tcp: Seconds = model::Timeouts::default().tcp;
        /// A TCP connection that is closing.
        default tcp_fin: Seconds = model::Timeouts::default().tcp_fin;
        /// A UDP flow.
        default udp: Seconds = model::Timeouts::default().udp;
    }
}

record! {
    /// `limits`.
    Limits {
        /// Established connections.
        default connections: Entries = model::Limits::default().connections;
        /// Connections of which only the first packet was seen; a flood of them fills this table and no other.
        default embryonic: Entries = model::Limits::default().embryonic;
        /// Real servers over all services, those that still hold connections after their removal included.
        default destinations: Destinations = model::Limits::default().destinations;
    }
}

record! {
    /// One of `services`: an address, port and protocol that clients dial, and who answers.
    Service {
        /// The service's name in messages, commands and metrics.
        required name: ServiceName;
        /// The virtual address that clients dial.
        required vip: UnicastAddress;
        /// The port that clients dial; 0 = every port that has no service of its own.
        required port: ServicePort;
        /// What the port is a port of.
        required protocol: Protocol;
        /// How a real server is chosen for a new connection.
        default scheduler: Scheduler = Scheduler::Mh.word();
        /// How a packet reaches the real servers; a real server may say otherwise for itself.
        default forward: Forward = Forward::Dr.word();
        /// Which connections are remembered.
        default track: Track = Track::Auto.word();
        /// Who answers. `[]` for none: clients are refused.
        required real_servers: RealServers;
        /// Who watches the real servers, and what follows when one fails.
        default health: Health = json!({});
    }
}

record! {
    /// One of `real_servers`: a machine that answers for the service.
    RealServer {
        /// Its own address. Left out with `forward: local`, where it is the VIP.
        optional address: UnicastAddress;
        /// The port it listens on, if not the service's; only with `forward: nat`.
        optional port: RealServerPort;
        /// Its share of new connections, against the others' weights; 0 = no new connections, the old ones are kept.
        default weight: Weight = 1;
        /// How a packet reaches this real server, if not as the service says.
        optional forward: Forward;
        /// How this real server is checked, instead of the service's checks. `[]` for not at all.
        optional checks: Checks;
    }
}

/// JSON Schema (draft 2020-12) of the whole file.
pub(super) fn schema() -> Json {
    let mut schema = File::schema();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Configuration of lvsd".into();
    schema
}
