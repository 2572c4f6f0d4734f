//! What must hold after every single command, whatever happens.

mod cases;
mod director;
mod history;
mod model;
mod random;
mod rings;
mod scale;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{
    Cluster, ClusterTiming, Config, Failback, Forward, Group, GroupAddress, Limits, Protocol, RealServer,
    Scheduler, Service, Timeouts, Track,
};

fn config(services: Vec<Service>) -> Config {
    Config {
        interfaces: vec!["eth0".to_owned()],
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        services,
        alerts: Vec::new(),
        cluster: None,
        vrrp: Vec::new(),
        metrics: None,
    }
}

/// A cluster whose groups have the addresses 192.0.2.`host`.
fn cluster(groups: &[&[u8]]) -> Option<Arc<Cluster>> {
    let address = |host: &u8| GroupAddress {
        address: IpAddr::from([192, 0, 2, *host]),
        prefix: 24,
        interface: "eth0".to_owned(),
        label: None,
    };
    let group = |(number, hosts): (usize, &&[u8])| Group {
        name: format!("g{number}"),
        order: Vec::new(),
        addresses: hosts.iter().map(address).collect(),
        resources: Vec::new(),
        fence: None,
    };
    let second = Duration::from_secs(1);
    Some(Arc::new(Cluster {
        node: None,
        nodes: Vec::new(),
        voter: None,
        paths: Vec::new(),
        port: 694,
        key_file: "key".into(),
        timing: ClusterTiming {
            keepalive: second,
            warntime: second,
            deadtime: second,
            initdead: second,
            watchdog: second,
            hold: second,
        },
        auto_failback: Failback::Off,
        refresh: None,
        track: Track::default(),
        groups: groups.iter().enumerate().map(group).collect(),
    }))
}

/// A service at 192.0.2.`vip`.
fn service(vip: u8, port: u16, scheduler: Scheduler, real_servers: Vec<RealServer>) -> Service {
    Service {
        name: format!("s{vip}-{port}"),
        vip: IpAddr::from([192, 0, 2, vip]),
        port,
        protocol: Protocol::Tcp,
        scheduler,
        track_always: false,
        real_servers,
        health: Default::default(),
    }
}

/// The real server 10.0.0.`host`:80.
fn server(host: u8, weight: u32) -> RealServer {
    RealServer {
        address: IpAddr::from([10, 0, 0, host]),
        port: 80,
        weight,
        forward: Forward::Dr,
        checks: Vec::new(),
        resets: false,
    }
}
