//! Verdicts, reloads and what is installed then.

mod follows;
mod invariants;
mod returns;
mod tally;

use std::net::IpAddr;

use super::*;
use crate::config::model::{
    ExchangeProbe, Forward, Health, Limits, OnDown, Probe, Protocol, RealServer, Require, Scheduler, Secure,
    Timeouts, Timing, TlsMode,
};
use crate::tls::Trust;

fn check(host: u8, port: u16) -> Arc<Check> {
    let address = IpAddr::from([10, 0, 0, host]);
    Arc::new(Check {
        address,
        port,
        source: None,
        interface: None,
        path: None,
        timing: Timing::default(),
        probe: Probe::Tcp,
    })
}

/// Checked on its port 80.
fn real_server(host: u8, weight: u32) -> RealServer {
    let address = IpAddr::from([10, 0, 0, host]);
    RealServer {
        address,
        port: 80,
        weight,
        forward: Forward::Dr,
        checks: vec![check(host, 80)],
        resets: false,
    }
}

fn service(name: &str, port: u16, hosts: &[u8]) -> Service {
    Service {
        name: name.to_owned(),
        vip: IpAddr::from([192, 0, 2, 1]),
        port,
        protocol: Protocol::Tcp,
        scheduler: Scheduler::Rr,
        track_always: false,
        real_servers: hosts.iter().map(|host| real_server(*host, u32::from(*host))).collect(),
        health: Health::default(),
    }
}

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

fn https() -> Probe {
    Probe::Exchange(Box::new(ExchangeProbe {
        banner: None,
        send: None,
        expect: None,
        secure: Secure {
            mode: TlsMode::Tls,
            server_name: None,
            trust: Trust::default(),
            expiry_warning: second(1),
        },
    }))
}

fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn change(host: u8, port: u16, standing: Standing) -> Change {
    Change {
        check: check(host, port),
        standing,
        evidence: "evidence".to_owned(),
        failures: 0,
        certificate: None,
    }
}

/// Of a director that serves everything.
fn maintain(pool: &mut Pool, selection: &Selection, mode: Mode, now: Duration) -> usize {
    let found = pool.maintain(selection, &BTreeSet::new(), mode, now);
    assert_eq!(found.elsewhere, [] as [IpAddr; 0]);
    found.here
}

/// Last byte of the address and weight of every real server that is to be installed.
fn installed(pool: &Pool) -> Vec<Vec<(u8, u32)>> {
    let last = |address| match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => 0,
    };
    let services = pool.desired().services.into_iter();
    services
        .map(|service| {
            service.real_servers.iter().map(|server| (last(server.address), server.weight)).collect()
        })
        .collect()
}

/// Service, last byte and word of every notice.
fn told(pool: &mut Pool) -> Vec<String> {
    let notices = pool.take_notices().into_iter();
    notices
        .map(|notice| {
            let server = notice.server.map_or_else(String::new, |server| format!(" {server}"));
            format!("{}{server} {}", notice.service, notice.what.word())
        })
        .collect()
}

#[test]
fn a_dead_server_is_taken_out_and_put_back() {
    let mut pool = Pool::new(config(vec![service("www", 80, &[1, 2])]), second(0));
    assert!(pool.take_changed());
    assert_eq!(installed(&pool), [[(1, 1), (2, 2)]], "untested servers serve");
    pool.checked([change(1, 80, Standing::Up)], second(1));
    assert!(!pool.take_changed(), "the first success changes nothing");
    assert_eq!(told(&mut pool), [""; 0]);
    pool.checked([change(1, 80, Standing::Down)], second(5));
    assert!(pool.take_changed());
    assert_eq!(installed(&pool), [[(2, 2)]]);
    assert_eq!(told(&mut pool), ["www 10.0.0.1:80 down"]);
    pool.checked([change(1, 80, Standing::Up)], second(9));
    assert!(pool.take_changed());
    assert_eq!(installed(&pool), [[(1, 1), (2, 2)]]);
    assert_eq!(told(&mut pool), ["www 10.0.0.1:80 up"]);
}

#[test]
fn a_quiesced_server_stays_with_weight_0() {
    let mut www = service("www", 80, &[1, 2]);
    www.health.on_down = OnDown::Quiesce;
    let mut pool = Pool::new(config(vec![www]), second(0));
    pool.checked([change(2, 80, Standing::Down)], second(1));
    assert_eq!(installed(&pool), [[(1, 1), (2, 0)]]);
}

#[test]
fn a_server_that_resets_stays_with_weight_0_until_it_passes_again() {
    let mut www = service("www", 80, &[1, 2]);
    www.health.on_down = OnDown::Reset;
    www.health.recovery_delay = second(10);
    let mut pool = Pool::new(config(vec![www]), second(0));
    let resets = |pool: &Pool| {
        let servers = pool.desired().services.remove(0).real_servers;
        let seen: Vec<bool> =
            pool.describe(second(1))[0].servers.iter().map(|server| server.resets).collect();
        assert_eq!(seen, servers.iter().map(|server| server.resets).collect::<Vec<_>>());
        servers.into_iter().map(|server| (server.weight, server.resets)).collect::<Vec<_>>()
    };
    assert_eq!(resets(&pool), [(1, false), (2, false)]);
    pool.checked([change(2, 80, Standing::Down)], second(1));
    assert_eq!(resets(&pool), [(1, false), (0, true)]);
    pool.checked([change(2, 80, Standing::Up)], second(2));
    assert_eq!(
        resets(&pool),
        [(1, false), (0, false)],
        "it returns later, but nothing of it is dead any more"
    );
    pool.tick(second(12));
    assert_eq!(resets(&pool), [(1, false), (2, false)]);
}

#[test]
fn who_serves_on_in_doubt_or_is_taken_out_resets_nothing() {
    let mut www = service("www", 80, &[1, 2]);
    www.health.on_down = OnDown::Reset;
    www.health.panic_threshold = 60;
    let mut pool = Pool::new(config(vec![www]), second(0));
    pool.checked([change(2, 80, Standing::Down)], second(1));
    assert_eq!(installed(&pool), [[(1, 1), (2, 2)]]);
    assert!(pool.desired().services[0].real_servers.iter().all(|server| !server.resets));
    let selection = Selection::parse("10.0.0.2", None).unwrap();
    maintain(&mut pool, &selection, Mode::Disabled, second(2));
    assert_eq!(installed(&pool), [[(1, 1)]]);
}

#[test]
fn one_check_speaks_for_every_service_that_has_it() {
    let mut other = service("other", 81, &[1]);
    other.real_servers[0].checks.push(check(1, 81));
    other.health.require = Require::Any;
    let mut pool = Pool::new(config(vec![service("www", 80, &[1, 2]), other]), second(0));
    assert_eq!(pool.checks().len(), 3);
    pool.checked([change(1, 80, Standing::Down)], second(1));
    assert_eq!(installed(&pool), [vec![(2, 2)], vec![(1, 1)]], "any check will do for the other");
    pool.checked([change(1, 81, Standing::Down)], second(2));
    assert_eq!(installed(&pool), [vec![(2, 2)], vec![]]);
    assert_eq!(told(&mut pool), ["www 10.0.0.1:80 down", "other 10.0.0.1:80 down", "other quorum lost"]);
}

#[test]
fn a_page_is_served_while_there_are_not_enough() {
    let mut www = service("www", 80, &[1, 2]);
    www.health.page = Some("/sorry.html".into());
    www.health.quorum_recovery = 2;
    let mut pool = Pool::new(config(vec![www, service("other", 81, &[1])]), second(0));
    let addresses = |pool: &Pool| pool.pages().into_keys().map(|address| address.port()).collect::<Vec<_>>();
    assert_eq!(addresses(&pool), [0; 0]);
    pool.checked([change(1, 80, Standing::Down), change(2, 80, Standing::Down)], second(1));
    assert_eq!(addresses(&pool), [80]);
    pool.checked([change(1, 80, Standing::Up)], second(2));
    assert_eq!(addresses(&pool), [80]);
    pool.checked([change(2, 80, Standing::Up)], second(3));
    assert_eq!(addresses(&pool), [0; 0]);
}

/// The most in a row since the check went down: what was once enough stays so until it is up.
#[test]
fn failures_are_kept_until_a_check_is_up() {
    let mut pool = Pool::new(config(vec![service("www", 80, &[1, 2])]), second(0));
    let server = *pool.members.keys().next().unwrap();
    for (standing, failures, expected) in [
        (Standing::Down, 3, 3),
        (Standing::Down, 5, 5),
        (Standing::Down, 2, 5),
        (Standing::Up, 0, 0),
        (Standing::Down, 3, 3),
    ] {
        pool.checked([Change { failures, ..change(1, 80, standing) }], second(1));
        assert_eq!(pool.failures(&server), expected);
    }
}

/// Told once and not a failure; neither a reload nor a restart tells it again, or takes it back.
#[test]
fn a_certificate_that_ends_soon_is_told_until_it_is_renewed() {
    let secure = Check { probe: https(), ..(*check(1, 80)).clone() };
    let secure = Arc::new(secure);
    let configured = |interval: u64| {
        let mut www = service("www", 80, &[1, 2]);
        let timing = Timing { interval: second(interval), ..Timing::default() };
        www.real_servers[0].checks.push(Arc::new(Check { timing, ..(*secure).clone() }));
        config(vec![www])
    };
    let sees = |pool: &Pool, end, ends_soon| {
        let check = pool.checks().into_keys().find(|check| check.probe.secure().is_some()).unwrap();
        let certificate = Some(Certificate { end, ends_soon });
        Change { check, certificate, ..change(1, 80, Standing::Up) }
    };
    let mut pool = Pool::new(configured(5), second(0));
    pool.checked([change(1, 80, Standing::Up), sees(&pool, 1_796_000_000, false)], second(1));
    assert_eq!(told(&mut pool), [""; 0]);
    pool.checked([sees(&pool, 1_796_000_000, true)], second(2));
    let notices = pool.take_notices();
    assert_eq!(notices[0].reason, "the certificate ends on 2026-11-30 00:53 UTC");
    assert_eq!((notices.len(), notices[0].what.word()), (1, "certificate expiring"));
    assert_eq!(installed(&pool), [[(1, 1), (2, 2)]]);
    // One that is no better.
    pool.checked([sees(&pool, 1_796_000_001, true)], second(3));
    let saved = serde_json::to_string(&pool.save(second(4))).unwrap();
    let mut pool = Pool::new(configured(5), second(0));
    pool.restore(serde_json::from_str(&saved).unwrap(), second(1));
    assert_eq!(told(&mut pool), [""; 0]);
    // Another definition has seen nothing yet.
    pool.configure(configured(6), second(2));
    assert_eq!(told(&mut pool), [""; 0]);
    pool.checked([sees(&pool, 1_896_000_000, false)], second(3));
    assert_eq!(told(&mut pool), ["www 10.0.0.1:80 certificate renewed"]);
    pool.checked([sees(&pool, 1_896_000_000, true)], second(4));
    pool.configure(config(vec![service("www", 80, &[1, 2])]), second(5));
    let both = ["www 10.0.0.1:80 certificate expiring", "www 10.0.0.1:80 certificate renewed"];
    assert_eq!(told(&mut pool), both, "nobody looks any more");
}

#[test]
fn a_reload_keeps_verdicts_of_unchanged_checks() {
    let mut pool = Pool::new(config(vec![service("www", 80, &[1, 2])]), second(0));
    pool.checked([change(1, 80, Standing::Down)], second(1));
    pool.take_notices();
    pool.configure(config(vec![service("renamed", 80, &[1, 2, 3])]), second(2));
    assert_eq!(installed(&pool), [[(2, 2), (3, 3)]]);
    assert_eq!(told(&mut pool), [""; 0]);
    let view = pool.describe(second(4));
    assert_eq!((view[0].servers[0].for_time, view[0].servers[0].installed_weight), (second(3), None));

    // Another definition is another check: it knows nothing yet.
    let mut slower = service("renamed", 80, &[1, 2]);
    let timing = Timing { interval: second(60), ..Timing::default() };
    slower.real_servers[0].checks = vec![Arc::new(Check { timing, ..(*check(1, 80)).clone() })];
    pool.configure(config(vec![slower]), second(5));
    assert_eq!(installed(&pool), [[(1, 1), (2, 2)]]);
    assert_eq!(told(&mut pool), ["renamed 10.0.0.1:80 up"]);
    pool.checked([change(1, 80, Standing::Down)], second(6));
    assert_eq!(installed(&pool), [[(1, 1), (2, 2)]], "the former check is gone");
}

#[test]
fn a_server_without_checks_always_serves() {
    let mut www = service("www", 80, &[1]);
    www.real_servers[0].checks.clear();
    let pool = Pool::new(config(vec![www]), second(0));
    assert_eq!((installed(&pool), pool.checks().len()), (vec![vec![(1, 1)]], 0));
    assert_eq!(pool.describe(second(1))[0].servers[0].verdict, verdict::Verdict::Unchecked);
}
