use std::net::IpAddr;

use super::*;
use crate::alert::period::Period;
use crate::config::model::{AlertChannel, SyslogAlert};

fn alert(name: &str) -> Alert {
    Alert {
        name: name.to_owned(),
        services: Vec::new(),
        real_servers: Vec::new(),
        cluster: true,
        period: Period::default(),
        after: Duration::ZERO,
        failures: 1,
        every: None,
        up: true,
        group: Duration::ZERO,
        channel: AlertChannel::Syslog(SyslogAlert { facility: 16, socket: "/dev/log".into() }),
    }
}

/// Services www and ftp of the real servers 1 and 2.
fn config(alerts: Vec<Alert>) -> Config {
    let text = "version: 1\ninterfaces: [eth0]\nservices:\n  \
        - {name: www, vip: 10.0.0.3, port: 80, protocol: tcp, real_servers: &both [{address: 192.168.0.1}, {address: 192.168.0.2}]}\n  \
        - {name: ftp, vip: 10.0.0.4, port: 80, protocol: tcp, real_servers: *both}\n";
    Config { alerts, ..crate::config::parse(text, "test").unwrap() }
}

fn engine(alerts: Vec<Alert>) -> Engine {
    let mut engine = Engine::default();
    engine.configure(&config(alerts));
    engine
}

fn notice(service: &str, host: u8, what: What) -> Notice {
    let server = ServerKey {
        vip: IpAddr::from([10, 0, 0, 3]),
        service_port: 80,
        protocol: 6,
        address: IpAddr::from([192, 168, 0, host]),
        port: 80,
    };
    let server = Some(server).filter(|_| host > 0);
    Notice { service: service.to_owned(), server, what, reason: "reason".to_owned() }
}

const AT_NINE: LocalTime =
    LocalTime { year: 2026, month: 1, day: 1, year_day: 1, weekday: 5, hour: 9, minute: 0, second: 0 };

fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Alert, kind, and last bytes of the real servers of every message.
fn sent_at(engine: &mut Engine, at: u64, hour: u32) -> Vec<String> {
    sent_after(engine, at, hour, |_| 1)
}

/// With so many failures of the server that ends with this byte.
fn sent_after(engine: &mut Engine, at: u64, hour: u32, failures: impl Fn(u8) -> u32) -> Vec<String> {
    let local = LocalTime { hour, ..AT_NINE };
    let of = |server: &ServerKey| match server.address {
        IpAddr::V4(address) => failures(address.octets()[3]),
        IpAddr::V6(_) => 0,
    };
    let messages = engine.due(second(at), 1_000_000 + at, &local, of).into_iter();
    messages
        .map(|message| {
            let whom: Vec<_> = message
                .items
                .iter()
                .map(|item| match item.server {
                    Some(SocketAddr::V4(server)) => format!("{}.{}", item.service, server.ip().octets()[3]),
                    _ => item.service.clone(),
                })
                .collect();
            format!("{} {:?} {}", message.alert, message.kind, whom.join(" "))
        })
        .collect()
}

fn sent(engine: &mut Engine, at: u64) -> Vec<String> {
    sent_at(engine, at, 9)
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_upalert_follows_an_alert_only() {
    let mut engine = engine(vec![Alert { after: second(10), ..alert("a") }]);
    engine.note(&notice("www", 1, What::Down), second(0));
    assert_eq!(sent(&mut engine, 9), NOTHING);
    engine.note(&notice("www", 1, What::Up), second(9));
    assert_eq!(sent(&mut engine, 20), NOTHING, "it was over before anybody was told");
    engine.note(&notice("www", 1, What::Down), second(20));
    assert_eq!(sent(&mut engine, 30), ["a Alert www.1"]);
    engine.note(&notice("www", 1, What::Recovering), second(40));
    assert_eq!(sent(&mut engine, 40), NOTHING);
    engine.note(&notice("www", 1, What::Up), second(50));
    assert_eq!(sent(&mut engine, 50), ["a Up www.1"]);
    assert_eq!(sent(&mut engine, 60), NOTHING);
}

/// mon's `alertafter N`: each server by its own failures. Who was not told of it does not hear of its end.
#[test]
fn an_alert_waits_for_failures_in_a_row() {
    let mut engine = engine(vec![Alert { failures: 5, ..alert("a") }, alert("b")]);
    engine.note(&notice("www", 1, What::Down), second(0));
    engine.note(&notice("www", 2, What::Down), second(0));
    let few = |host| if host == 1 { 4 } else { 3 };
    assert_eq!(sent_after(&mut engine, 0, 9, few), ["b Alert www.1 www.2"]);
    let more = |host| if host == 1 { 5 } else { 3 };
    assert_eq!(sent_after(&mut engine, 1, 9, more), ["a Alert www.1"]);
    assert_eq!(sent_after(&mut engine, 2, 9, more), NOTHING);
    engine.note(&notice("www", 1, What::Up), second(3));
    engine.note(&notice("www", 2, What::Up), second(3));
    assert_eq!(sent(&mut engine, 3), ["a Up www.1", "b Up www.1 www.2"]);
}

/// With `after` and a period all of them must hold, `every` counts from what was told, and what is about the
/// service as a whole has no failures to count.
#[test]
fn failures_go_together_with_times() {
    let both = Alert {
        failures: 5,
        after: second(10),
        every: Some(second(60)),
        period: Period::parse("hr {9am-4pm}").unwrap(),
        ..alert("a")
    };
    let mut engine = engine(vec![both]);
    engine.note(&notice("www", 1, What::Down), second(0));
    engine.note(&notice("ftp", 0, What::Short), second(0));
    assert_eq!(sent_after(&mut engine, 9, 9, |_| 100), NOTHING);
    assert_eq!(sent_after(&mut engine, 10, 9, |_| 4), ["a Alert ftp"]);
    assert_eq!(sent_after(&mut engine, 20, 8, |_| 5), NOTHING);
    assert_eq!(sent_after(&mut engine, 30, 9, |_| 5), ["a Alert www.1"]);
    assert_eq!(sent_after(&mut engine, 70, 9, |_| 50), ["a Alert ftp"]);
    assert_eq!(sent_after(&mut engine, 89, 9, |_| 60), NOTHING);
    // A restart counts anew; who was told stays told.
    assert_eq!(sent_after(&mut engine, 90, 9, |_| 0), ["a Alert www.1"]);
}

#[test]
fn an_alert_is_repeated_while_the_problem_lasts() {
    let mut engine = engine(vec![Alert { every: Some(second(60)), up: false, ..alert("a") }]);
    engine.note(&notice("www", 0, What::Short), second(0));
    let times: Vec<_> = (0..200).filter(|at| !sent(&mut engine, *at).is_empty()).collect();
    assert_eq!(times, [0, 60, 120, 180]);
    engine.note(&notice("www", 0, What::Enough), second(200));
    assert_eq!(sent(&mut engine, 300), NOTHING, "no upalert is wanted");
}

#[test]
fn outside_its_period_an_alert_waits() {
    let period = Period::parse("hr {9am-4pm}").unwrap();
    let mut engine = engine(vec![Alert { period, ..alert("a") }, alert("b")]);
    engine.note(&notice("www", 1, What::Down), second(0));
    assert_eq!(sent_at(&mut engine, 0, 8), ["b Alert www.1"]);
    assert_eq!(sent_at(&mut engine, 10, 8), NOTHING);
    assert_eq!(sent_at(&mut engine, 20, 9), ["a Alert www.1"]);
}

#[test]
fn a_dead_rack_is_one_message() {
    let mut engine = engine(vec![Alert { group: second(5), ..alert("a") }]);
    engine.note(&notice("www", 1, What::Down), second(0));
    assert_eq!(sent(&mut engine, 0), NOTHING);
    engine.note(&notice("ftp", 1, What::Down), second(2));
    engine.note(&notice("www", 2, What::Down), second(3));
    assert_eq!(sent(&mut engine, 4), NOTHING);
    // One of them was only a moment away: nobody hears of it.
    engine.note(&notice("www", 2, What::Up), second(4));
    assert_eq!(sent(&mut engine, 5), ["a Alert www.1 ftp.1"]);
    engine.note(&notice("www", 1, What::Up), second(6));
    engine.note(&notice("ftp", 1, What::Up), second(7));
    assert_eq!(sent(&mut engine, 11), ["a Up www.1 ftp.1"]);
}

#[test]
fn alerts_are_for_the_services_and_servers_they_name() {
    let www = Alert { services: vec!["www".to_owned()], ..alert("www") };
    let one = Alert { real_servers: vec![IpAddr::from([192, 168, 0, 1])], ..alert("one") };
    let mut engine = engine(vec![www, one]);
    engine.note(&notice("ftp", 1, What::Down), second(0));
    engine.note(&notice("www", 2, What::Down), second(0));
    engine.note(&notice("ftp", 0, What::Short), second(0));
    assert_eq!(sent(&mut engine, 0), ["one Alert ftp.1", "www Alert www.2"]);
}

#[test]
fn maintenance_silences() {
    let mut engine = engine(vec![Alert { every: Some(second(10)), ..alert("a") }]);
    engine.note(&notice("www", 1, What::Down), second(0));
    assert_eq!(sent(&mut engine, 0), ["a Alert www.1"]);
    engine.note(&notice("www", 1, What::Maintained(Mode::Disabled)), second(5));
    assert_eq!(sent(&mut engine, 60), NOTHING);
    engine.note(&notice("www", 1, What::Up), second(70));
    assert_eq!(sent(&mut engine, 70), NOTHING);
}

/// It is no failure: it neither waits for failures nor ends with them, and goes on through maintenance.
#[test]
fn a_certificate_that_ends_soon_is_told_once() {
    let mut engine = engine(vec![Alert { failures: 9, ..alert("a") }]);
    engine.note(&notice("www", 1, What::Expiring), second(0));
    assert_eq!(sent(&mut engine, 0), ["a Alert www.1"]);
    engine.note(&notice("www", 1, What::Down), second(1));
    engine.note(&notice("www", 1, What::Up), second(2));
    engine.note(&notice("www", 1, What::Maintained(Mode::Drained)), second(3));
    assert_eq!(sent(&mut engine, 4), NOTHING);
    engine.note(&notice("www", 1, What::Renewed), second(5));
    assert_eq!(sent(&mut engine, 5), ["a Up www.1"]);
}

#[test]
fn a_reload_does_not_tell_again() {
    let mut engine = engine(vec![alert("a")]);
    engine.note(&notice("www", 1, What::Down), second(0));
    assert_eq!(sent(&mut engine, 0), ["a Alert www.1"]);
    engine.configure(&config(vec![alert("a"), alert("b")]));
    assert_eq!(sent(&mut engine, 1), ["b Alert www.1"]);
    engine.note(&notice("www", 1, What::Up), second(2));
    assert_eq!(sent(&mut engine, 2), ["a Up www.1", "b Up www.1"]);
}

/// Else it would be told again and again of what nobody can mend any more.
#[test]
fn what_the_file_no_longer_has_is_forgotten() {
    let every = |name| Alert { every: Some(second(10)), ..alert(name) };
    let mut engine = engine(vec![every("a")]);
    engine.note(&notice("www", 1, What::Down), second(0));
    engine.note(&notice("www", 2, What::Down), second(0));
    assert_eq!(sent(&mut engine, 0), ["a Alert www.1 www.2"]);
    let mut smaller = config(vec![every("a")]);
    smaller.services[0].real_servers.remove(0);
    engine.configure(&smaller);
    assert_eq!(sent(&mut engine, 10), ["a Alert www.2"]);
}

/// The next agent tells of the end of what this one has told of, and does not tell again of what lasts.
#[test]
fn a_restart_changes_nothing() {
    let alerts = || vec![Alert { every: Some(second(60)), ..alert("a") }];
    let mut first = engine(alerts());
    first.note(&notice("www", 1, What::Down), second(100));
    first.note(&notice("ftp", 0, What::Short), second(100));
    assert_eq!(sent(&mut first, 100), ["a Alert ftp www.1"]);
    assert!(first.take_unsaved());
    let saved = serde_json::to_string(&first.save(second(110))).unwrap();

    let mut next = engine(alerts());
    next.restore(serde_json::from_str(&saved).unwrap(), second(5_000));
    assert_eq!(sent(&mut next, 5_000), NOTHING);
    assert_eq!(sent(&mut next, 5_049), NOTHING);
    assert_eq!(sent(&mut next, 5_050), ["a Alert ftp www.1"], "a minute after the first");
    next.note(&notice("www", 1, What::Up), second(5_051));
    assert_eq!(sent(&mut next, 5_051), ["a Up www.1"]);
}

fn silent(node: &str, course: Course) -> Concern {
    Concern { topic: Topic::Peer, about: node.to_owned(), groups: vec!["www".to_owned()], course }
}

/// An engine in a file with a cluster.
fn director(alerts: Vec<Alert>) -> Engine {
    let mut engine = Engine::default();
    let text = "{version: 1, interfaces: [eth0], services: [], cluster: {node: a, key_file: /k, nodes: [{name: a, \
                addresses: [10.9.0.1]}, {name: b, addresses: [10.9.0.2]}], groups: [{name: www, addresses: \
                [{address: 10.0.0.3, prefix: 24, interface: eth0}]}]}}";
    let file = crate::config::parse(text, "test").unwrap_or_else(|mistakes| panic!("{mistakes}"));
    engine.configure(&Config { alerts, ..file });
    engine
}

#[test]
fn what_is_between_directors_begins_and_ends_as_problems_do() {
    let services = Alert { cluster: false, ..alert("services") };
    let late = Alert { after: second(60), ..alert("late") };
    let mut engine = director(vec![alert("all"), services, late]);
    engine.concern(silent("b", Course::Begins), "b is silent", second(0));
    engine.concern(silent("b", Course::Begins), "b is silent", second(1));
    assert_eq!(sent(&mut engine, 1), ["all Alert cluster"]);
    assert_eq!(sent(&mut engine, 2), NOTHING);
    engine.concern(silent("voter", Course::Ends), "voter is heard", second(3));
    engine.concern(silent("b", Course::Ends), "b is heard", second(3));
    assert_eq!(sent(&mut engine, 3), ["all Up cluster"]);
    let text = serde_json::to_string(&engine.save(second(3))).unwrap();
    assert_eq!(text, "[]");
}

#[test]
fn what_has_happened_is_told_once_and_has_no_end() {
    let takeover =
        || Concern { topic: Topic::Takeover, about: "www".to_owned(), ..silent("", Course::Happens) };
    let day = Alert { period: Period::parse("hr {9am-5pm}").unwrap(), ..alert("day") };
    let mut engine = director(vec![Alert { every: Some(second(10)), after: second(5), ..alert("a") }, day]);
    engine.concern(takeover(), "b holds www", second(0));
    assert_eq!(sent_at(&mut engine, 0, 3), ["a Alert cluster"]);
    assert_eq!(sent_at(&mut engine, 100, 4), NOTHING);
    assert_eq!(sent_at(&mut engine, 200, 9), ["day Alert cluster"]);
    assert_eq!(engine.save(second(200)), []);
    // Another one is news again; a day later it is not.
    engine.concern(takeover(), "b holds www", second(300));
    assert_eq!(sent_at(&mut engine, 300, 3), ["a Alert cluster"]);
    engine.concern(takeover(), "a holds www", second(400));
    assert_eq!(sent_at(&mut engine, 400, 3), ["a Alert cluster"]);
    assert_eq!(sent_at(&mut engine, 400 + 90_000, 4), NOTHING);
    assert_eq!(engine.save(second(400 + 90_000)), []);
}

/// Of two directors that see the same, the active one tells it.
#[test]
fn who_stands_by_tells_only_what_nobody_else_knows() {
    let (mut active, mut standby) = (director(vec![alert("a")]), director(vec![alert("a")]));
    standby.stand_by(true);
    for engine in [&mut active, &mut standby] {
        engine.concern(silent("voter", Course::Begins), "voter is silent", second(0));
    }
    let state = Concern { topic: Topic::State, ..silent("b", Course::Begins) };
    standby.concern(state, "not all has come", second(0));
    assert_eq!(sent(&mut active, 0), ["a Alert cluster"]);
    assert_eq!(sent(&mut standby, 0), ["a Alert cluster"]);
    // What it is told of the other one's state is kept apart from what it sees itself.
    let saved = active.save(second(1));
    let text = serde_json::to_string(&saved).unwrap();
    assert_eq!(serde_json::from_str::<Vec<SavedProblem>>(&text).unwrap(), saved, "{text}");
    standby.follow(saved, second(1));
    standby.concern(silent("a", Course::Begins), "a is silent", second(2));
    assert_eq!(sent(&mut standby, 2), NOTHING);
    // It takes over: the voter was told of, the other director was not.
    standby.stand_by(false);
    let messages = standby.due(second(3), 1_000_003, &AT_NINE, |_| 1);
    let abouts: Vec<_> = messages.iter().flat_map(|message| &message.items).map(|item| &item.about).collect();
    assert_eq!(abouts, [&Some("a".to_owned())]);
    standby.concern(silent("voter", Course::Ends), "voter is heard", second(4));
    assert_eq!(sent(&mut standby, 4), ["a Up cluster"]);
}

/// A problem that both have told of has one end; one that only this director has seen, it ends itself.
#[test]
fn who_stands_by_tells_the_end_of_what_the_other_one_does_not_know() {
    let (mut active, mut standby) = (director(vec![alert("a")]), director(vec![alert("a")]));
    for engine in [&mut active, &mut standby] {
        engine.concern(silent("voter", Course::Begins), "voter is silent", second(0));
        assert_eq!(sent(engine, 0), ["a Alert cluster"], "they are cut off from each other");
    }
    standby.concern(silent("a", Course::Begins), "a is silent", second(0));
    assert_eq!(sent(&mut standby, 0), ["a Alert cluster"]);
    standby.follow(active.save(second(1)), second(1));
    standby.stand_by(true);
    standby.concern(silent("a", Course::Ends), "a is heard", second(2));
    assert_eq!(sent(&mut standby, 2), ["a Up cluster"]);
    for engine in [&mut active, &mut standby] {
        engine.concern(silent("voter", Course::Ends), "voter is heard", second(3));
    }
    assert_eq!(sent(&mut active, 3), ["a Up cluster"]);
    assert_eq!(sent(&mut standby, 3), NOTHING);
}
