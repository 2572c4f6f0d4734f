mod alerts;
mod cluster;
mod documents;
mod files;
mod health;
mod mistakes;
mod properties;
mod vrrp;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::model::{
    Check, Forward, Health, HttpProbe, Limits, Probe, Protocol, RealServer, Scheduler, Service, Timeouts,
    Timing,
};
use super::*;

/// A path from the root of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_classic_site_is_read() {
    let config = load(&repository("examples/www.yaml")).unwrap();
    let check = |text| Check {
        address: address(text),
        port: 80,
        source: None,
        interface: None,
        path: None,
        timing: Timing { interval: second(10), timeout: second(10), ..Timing::default() },
        probe: Probe::Http(Box::new(HttpProbe {
            method: "GET".to_owned(),
            path: "/.testpage".to_owned(),
            host: None,
            headers: Vec::new(),
            status: vec![(200, 299)],
            body: Some("test page".to_owned()),
            body_regex: None,
            body_sha256: None,
            http2: false,
            secure: None,
        })),
    };
    let real_server = |text| RealServer {
        address: address(text),
        port: 80,
        weight: 5,
        forward: Forward::Dr,
        checks: vec![Arc::new(check(text))],
        resets: false,
    };
    let service = Service {
        name: "www".to_owned(),
        vip: address("10.0.0.3"),
        port: 80,
        protocol: Protocol::Tcp,
        scheduler: Scheduler::Wlc,
        track_always: false,
        real_servers: vec![real_server("192.168.0.1"), real_server("192.168.0.2")],
        health: Health::default(),
    };
    let expected = Config {
        interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        metrics: None,
        services: vec![service],
        alerts: config.alerts.clone(),
        cluster: None,
        vrrp: Vec::new(),
    };
    assert_eq!(config, expected);
    let alerts: Vec<_> = config.alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(alerts, ["wensong", "log"]);
}

#[test]
fn every_example_is_right() {
    let mut count = 0;
    for entry in fs::read_dir(repository("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            count += 1;
        }
    }
    assert!(count >= 4, "only {count} examples found");
}
