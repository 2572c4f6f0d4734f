//! What must hold after every single command, whatever happens.

mod cases;
mod director;
mod model;
mod random;
mod rings;
mod scale;

use std::net::IpAddr;

use crate::config::model::{Config, Forward, Limits, Protocol, RealServer, Scheduler, Service, Timeouts};

fn config(services: Vec<Service>) -> Config {
    Config {
        interfaces: vec!["eth0".to_owned()],
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        services,
        alerts: Vec::new(),
        cluster: None,
        metrics: None,
    }
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
    }
}
