//! Checks and events, in the API's words.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::model;
use crate::config::model::{Check, Probe};
use crate::health::pool::{ServerView, ServiceView};
use crate::health::watch::LATE_CLASSES;
use crate::health::{CheckView, Finding, Pace, Standing, journal};

/// What the pool knows of services together with what the supervisor knows of checks. One may be a moment
/// older than the other: a check that is new to the supervisor is untested.
pub(super) fn health(services: &[ServiceView], checks: Vec<CheckView>, pace: Pace) -> model::Health {
    let checks: BTreeMap<Arc<Check>, CheckView> =
        checks.into_iter().map(|view| (Arc::clone(&view.check), view)).collect();
    let services = services.iter().map(|service| model::ServiceHealth {
        name: service.name.clone(),
        quorum_lost: service.short,
        checks_doubted: service.doubted,
        servers: service.servers.iter().map(|view| server(view, &checks)).collect(),
    });
    model::Health { services: services.collect(), pace: translated(pace) }
}

fn server(view: &ServerView, checks: &BTreeMap<Arc<Check>, CheckView>) -> model::ServerHealth {
    model::ServerHealth {
        address: view.key.address,
        port: view.key.port,
        state: view.verdict.word().to_owned(),
        phase: view.phase.word().to_owned(),
        mode: view.mode.word().to_owned(),
        seconds: view.for_time.as_secs(),
        reason: view.reason.clone(),
        weight: view.weight,
        installed_weight: view.installed_weight,
        resets: view.resets,
        checks: view.checks.iter().map(|definition| check(definition, checks.get(definition))).collect(),
    }
}

fn check(definition: &Check, view: Option<&CheckView>) -> model::Check {
    let standing = match view.map_or(Standing::Untested, |view| view.standing) {
        Standing::Untested => "untested",
        Standing::Up => "up",
        Standing::Down => "down",
    };
    let last = view.and_then(|view| view.last.as_ref()).map(|last| model::Probe {
        passed: last.finding == Finding::Passed,
        conclusive: last.finding != Finding::Inconclusive,
        summary: last.summary.clone(),
        microseconds: u64::try_from(last.took.as_micros()).unwrap_or(u64::MAX),
    });
    model::Check {
        kind: definition.probe.word().to_owned(),
        target: target(definition),
        state: standing.to_owned(),
        seconds: view.map_or(0, |view| view.for_time.as_secs()),
        last,
        contrary: view.map_or(0, |view| view.contrary),
        probes: view.map_or(0, |view| view.probes),
        failures: view.map_or(0, |view| view.failures),
    }
}

/// `192.168.0.1:80/.testpage`, `192.168.0.1:80 via path`
fn target(check: &Check) -> String {
    let socket = SocketAddr::new(check.address, check.port);
    let target = match &check.probe {
        Probe::Icmp => check.address.to_string(),
        Probe::Http(http) => format!("{socket}{}", http.path),
        Probe::Dns(dns) => format!("{socket} {} {}", dns.name, dns.record),
        Probe::External(external) => format!("{socket} {}", external.command[0]),
        _ => socket.to_string(),
    };
    if check.path.is_some() { target + " via path" } else { target }
}

fn translated(pace: Pace) -> model::Pace {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let ends = LATE_CLASSES.iter().map(|end| Some(milliseconds(*end))).chain([None]);
    model::Pace {
        probes: pace.probes,
        running: pace.running,
        most_running: pace.most_running,
        late: ends
            .zip(pace.late)
            .map(|(within_milliseconds, probes)| model::Late { within_milliseconds, probes })
            .collect(),
        latest_milliseconds: milliseconds(pace.latest),
    }
}

pub(super) fn event(entry: journal::Entry) -> model::Event {
    let journal::Entry { number, time, notice } = entry;
    // A clock before 1970 is no reason to fail.
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    model::Event {
        number,
        unix_milliseconds: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        service: notice.service,
        server: notice.server.map(|key| model::Endpoint { address: key.address, port: key.port }),
        what: notice.what.word().to_owned(),
        reason: notice.reason,
    }
}
