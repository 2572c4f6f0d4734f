//! What is served for a group, in a number, so that each director sees where another's differs.
//!
//! The number is made of a text that is written for nothing else, so that directors of two builds make the same one of
//! the same services: JSON with the keys of the structures below, in their order, without spaces. It has what decides
//! where a packet goes and for how long a connection is remembered, and who votes for whom: of the file, what holds for
//! the group; and what of it serves now, after checks, maintenance and quorum. It has nothing that may differ between
//! directors: names, interfaces, sizes that no packet meets, and checks, which may go out by another way (what they
//! found is in it).
//!
//! A key that a later build adds is left out where it has its default: else every upgrade would be told as a difference.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Cluster;
use crate::cluster::identity::GroupId;
use crate::cluster::pulse::Order;
use crate::config::Config;
use crate::config::model::{
    self, ClusterTiming, Failback, Group, Health, Limits, RealServer, Service, Timeouts, Track,
};

impl Cluster {
    /// To be told with every change of the file's configuration, or of what is in force of it.
    pub(in crate::runtime) fn tell_digests(&self, file: &Config, in_force: &Config) {
        for group in &self.plan.groups {
            let arrangement = Arrangement::new(&self.plan, group);
            let digest = digest(&Form::new(file, in_force, arrangement));
            self.pulse.order(Order::Digest { group: GroupId::of(&group.name), digest });
        }
    }
}

/// The first eight bytes of SHA-256 over the text; never 0, which stands for "not known".
fn digest(form: &Form) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(form.text())[..8]);
    u64::from_be_bytes(first).max(1)
}

#[derive(Debug, Serialize)]
struct Form {
    cluster: Arrangement,
    timeouts: Seconds,
    limits: Entries,
    /// By address, port and protocol.
    services: Vec<ServiceForm>,
    /// The same services, with what serves now.
    in_force: Vec<Pool>,
}

/// Directors that differ in who votes could both have a majority.
#[derive(Clone, Debug, Serialize)]
struct Arrangement {
    /// In alphabetical order.
    nodes: Vec<String>,
    /// Its name: it may have an address for each director.
    voter: Option<String>,
    /// Times in milliseconds.
    keepalive: u64,
    deadtime: u64,
    /// `None` = never.
    auto_failback: Option<u64>,
    /// The preferred node first.
    order: Vec<String>,
    /// In their numerical order.
    addresses: Vec<IpAddr>,
    /// A program makes sure of a silent director.
    is_fenced: bool,
    /// How many gateways, scripts and files make a director fitter: of different numbers no scores are comparable.
    tracked: [usize; 3],
}

/// Idle times of connections.
#[derive(Debug, Serialize)]
struct Seconds {
    tcp: u32,
    tcp_fin: u32,
    udp: u32,
}

/// How many connections are remembered before others have to go.
#[derive(Debug, Serialize)]
struct Entries {
    connections: u32,
    embryonic: u32,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Key {
    vip: IpAddr,
    port: u16,
    /// IANA number.
    protocol: u8,
}

#[derive(Debug, Serialize)]
struct ServiceForm {
    #[serde(flatten)]
    key: Key,
    scheduler: &'static str,
    track_always: bool,
    rules: Rules,
    real_servers: Vec<Server>,
}

/// What follows when real servers fail. Times are in milliseconds.
#[derive(Debug, Serialize)]
struct Rules {
    require: &'static str,
    on_down: &'static str,
    recovery_delay: u64,
    slow_start: u64,
    flaps: Option<FlapRules>,
    quorum: u32,
    quorum_recovery: u32,
    panic_threshold: u32,
    fallback: Option<Server>,
}

#[derive(Debug, Serialize)]
struct FlapRules {
    limit: u32,
    within: u64,
    hold: u64,
}

#[derive(Debug, Serialize)]
struct Pool {
    #[serde(flatten)]
    key: Key,
    real_servers: Vec<Server>,
}

/// Ordered as it is sorted.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Server {
    address: IpAddr,
    port: u16,
    forward: &'static str,
    weight: u32,
    resets: bool,
}

// Every part is taken apart by name: whoever adds a key to the configuration has to say here whether it is compared.

impl Arrangement {
    fn new(plan: &model::Cluster, group: &Group) -> Self {
        let model::Cluster {
            node: _,
            nodes,
            voter,
            auto_failback,
            // A director that hears another one is reached, and has its keys; each has its own ways and programs.
            paths: _,
            port: _,
            key_file: _,
            track,
            refresh: _,
            timing,
            groups: _,
        } = plan;
        let ClusterTiming { keepalive, warntime: _, deadtime, initdead: _, watchdog: _, hold: _ } = *timing;
        let Track { interfaces: _, gateways, scripts, files } = track;
        let Group { name: _, order, addresses, resources: _, fence } = group;
        let mut nodes: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
        nodes.sort();
        let mut addresses: Vec<_> = addresses.iter().map(|address| address.address).collect();
        addresses.sort();
        Self {
            nodes,
            voter: voter.as_ref().map(|voter| voter.name.clone()),
            keepalive: milliseconds(keepalive),
            deadtime: milliseconds(deadtime),
            auto_failback: match auto_failback {
                Failback::Off => None,
                Failback::After(time) => Some(milliseconds(*time)),
            },
            order: order.clone(),
            addresses,
            is_fenced: fence.is_some(),
            tracked: [gateways.len(), scripts.len(), files.len()],
        }
    }
}

impl Form {
    fn new(file: &Config, in_force: &Config, cluster: Arrangement) -> Self {
        let Config { interfaces: _, timeouts, limits, services, alerts: _, cluster: _, vrrp: _, metrics: _ } =
            file;
        let Timeouts { tcp, tcp_fin, udp } = *timeouts;
        let Limits { connections, embryonic, destinations: _ } = *limits;
        let is_here = |service: &&Service| cluster.addresses.contains(&service.vip);
        let mut services: Vec<_> = services.iter().filter(is_here).map(ServiceForm::new).collect();
        services.sort_by(|one, other| one.key.cmp(&other.key));
        let serving = in_force.services.iter().filter(is_here);
        let mut pools: Vec<_> = serving
            .map(|service| Pool { key: Key::new(service), real_servers: servers(&service.real_servers) })
            .collect();
        pools.sort_by(|one, other| one.key.cmp(&other.key));
        Self {
            timeouts: Seconds { tcp, tcp_fin, udp },
            limits: Entries { connections, embryonic },
            services,
            in_force: pools,
            cluster,
        }
    }

    fn text(&self) -> Vec<u8> {
        // It consists of text, numbers and flags under fixed keys; serde_json has no reason to refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Key {
    const fn new(service: &Service) -> Self {
        Self { vip: service.vip, port: service.port, protocol: service.protocol.number() }
    }
}

impl ServiceForm {
    fn new(service: &Service) -> Self {
        let Service { name: _, vip: _, port: _, protocol: _, scheduler, track_always, real_servers, health } =
            service;
        Self {
            key: Key::new(service),
            scheduler: scheduler.word(),
            track_always: *track_always,
            rules: Rules::new(health),
            real_servers: servers(real_servers),
        }
    }
}

impl Rules {
    fn new(health: &Health) -> Self {
        let Health {
            require,
            on_down,
            recovery_delay,
            slow_start,
            flaps,
            quorum,
            quorum_recovery,
            // Made of the checks.
            probes_the_path: _,
            fallback,
            // A file of this machine.
            page: _,
            panic_threshold,
        } = health;
        Self {
            require: require.word(),
            on_down: on_down.word(),
            recovery_delay: milliseconds(*recovery_delay),
            slow_start: milliseconds(*slow_start),
            flaps: flaps.map(|model::Flaps { limit, within, hold }| FlapRules {
                limit,
                within: milliseconds(within),
                hold: milliseconds(hold),
            }),
            quorum: *quorum,
            quorum_recovery: *quorum_recovery,
            panic_threshold: *panic_threshold,
            fallback: fallback.as_ref().map(Server::new),
        }
    }
}

impl Server {
    fn new(server: &RealServer) -> Self {
        let RealServer { address, port, weight, forward, checks: _, resets } = server;
        Self { address: *address, port: *port, forward: forward.word(), weight: *weight, resets: *resets }
    }
}

fn servers(servers: &[RealServer]) -> Vec<Server> {
    let mut servers: Vec<_> = servers.iter().map(Server::new).collect();
    servers.sort();
    servers
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
