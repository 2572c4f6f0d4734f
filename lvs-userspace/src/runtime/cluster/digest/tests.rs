use super::*;

const FILE: &str = "
version: 1
interfaces: [eth0]
timeouts: {tcp: 900}
limits: {connections: 70000, embryonic: 9000}
services:
  - name: www
    vip: 192.0.2.1
    port: 80
    protocol: tcp
    scheduler: mh
    track: auto
    health:
      on_down: quiesce
      recovery_delay: 5s
      slow_start: 30s
      flaps: {limit: 3, within: 60s, hold: 90s}
      quorum: 1
      panic_threshold: 40
      fallback: {forward: local}
    real_servers:
      - {address: 10.0.0.1}
      - {address: 10.0.0.2, weight: 2}
  - name: dns
    vip: 2001:db8::1
    port: 53
    protocol: udp
    scheduler: rr
    real_servers: [{address: 2001:db8::9}]
  - name: elsewhere
    vip: 192.0.2.9
    port: 80
    protocol: tcp
    real_servers: [{address: 10.0.0.1}]
";

const CLUSTER: &str = "
version: 1
interfaces: [eth0]
services: []
cluster:
  node: two
  key_file: /etc/lvs-xdp/cluster.key
  nodes:
    - {name: two, addresses: [10.0.0.2]}
    - {name: one, addresses: [10.0.0.1]}
  groups:
    - name: www
      addresses:
        - {address: 192.0.2.7, interface: eth0}
        - {address: 192.0.2.1, interface: eth0}
        - {address: 2001:db8::1, interface: eth0}
";

fn config(text: &str) -> Config {
    crate::config::parse(text, "lvs.yaml").unwrap()
}

fn arrangement(text: &str) -> Arrangement {
    let plan = config(text).cluster.unwrap();
    Arrangement::new(&plan, &plan.groups[0])
}

fn form(file: &str, in_force: &Config) -> Form {
    Form::new(&config(file), in_force, arrangement(CLUSTER))
}

fn of(file: &str) -> u64 {
    digest(&form(file, &config(file)))
}

/// Directors of two builds must make the same number of the same services. Where this fails, the next upgrade is
/// told as a difference between the directors.
#[test]
fn the_text_and_the_number_are_fixed() {
    let form = form(FILE, &config(FILE));
    let server = |address: &str, forward: &str, weight: u32| {
        let port = if address.contains(':') { 53 } else { 80 };
        format!(
            r#"{{"address":"{address}","port":{port},"forward":"{forward}","weight":{weight},"resets":false}}"#
        )
    };
    let [one, two, fallback, nine] = [
        server("10.0.0.1", "dr", 1),
        server("10.0.0.2", "dr", 2),
        server("192.0.2.1", "local", 1),
        server("2001:db8::9", "dr", 1),
    ];
    let [www, dns] =
        [r#""vip":"192.0.2.1","port":80,"protocol":6"#, r#""vip":"2001:db8::1","port":53,"protocol":17"#];
    let expected = [
        r#"{"cluster":{"nodes":["one","two"],"voter":null,"keepalive":100,"deadtime":500,"auto_failback":null,"order":["two","one"],"#
            .to_owned(),
        r#""addresses":["192.0.2.1","192.0.2.7","2001:db8::1"],"is_fenced":false,"tracked":[0,0,0]},"#.to_owned(),
        r#""timeouts":{"tcp":900,"tcp_fin":120,"udp":300},"#.to_owned(),
        r#""limits":{"connections":70000,"embryonic":9000},"services":["#.to_owned(),
        format!(r#"{{{www},"scheduler":"mh","track_always":false,"rules":{{"require":"all","#),
        r#""on_down":"quiesce","recovery_delay":5000,"slow_start":30000,"#.to_owned(),
        r#""flaps":{"limit":3,"within":60000,"hold":90000},"quorum":1,"quorum_recovery":1,"#.to_owned(),
        format!(r#""panic_threshold":40,"fallback":{fallback}}},"real_servers":[{one},{two}]}},"#),
        format!(r#"{{{dns},"scheduler":"rr","track_always":false,"rules":{{"require":"all","#),
        r#""on_down":"remove","recovery_delay":0,"slow_start":0,"flaps":null,"quorum":1,"#.to_owned(),
        r#""quorum_recovery":1,"panic_threshold":0,"fallback":null},"#.to_owned(),
        format!(r#""real_servers":[{nine}]}}],"in_force":["#),
        format!(r#"{{{www},"real_servers":[{one},{two}]}},{{{dns},"real_servers":[{nine}]}}]}}"#),
    ];
    assert_eq!(String::from_utf8(form.text()).unwrap(), expected.concat());
    assert_eq!(digest(&form), 11_208_535_817_042_690_385);
}

#[test]
fn files_that_say_the_same_have_one_digest() {
    for (from, to) in [
        ("      - {address: 10.0.0.1}\n", ""),
        ("name: www", "name: web"),
        ("interfaces: [eth0]", "interfaces: [ens3, ens4]\nmetrics: {listen: \"127.0.0.1:9100\"}"),
        ("embryonic: 9000", "embryonic: 9000, destinations: 512"),
        ("vip: 192.0.2.9", "vip: 192.0.2.8"),
        ("      on_down:", "      checks: [{type: tcp, interface: eth0}]\n      on_down:"),
    ] {
        let mut other = FILE.replace(from, to);
        assert_ne!(other, FILE, "{from}");
        if to.is_empty() {
            // In another order.
            other = other.replace("weight: 2}\n", &format!("weight: 2}}\n{from}"));
        }
        assert_eq!(of(&other), of(FILE), "{to}");
    }
}

#[test]
fn whatever_decides_makes_another_digest() {
    for (from, to) in [
        ("tcp: 900", "tcp: 901"),
        ("tcp: 900", "tcp_fin: 60"),
        ("tcp: 900", "udp: 60"),
        ("connections: 70000", "connections: 80000"),
        ("embryonic: 9000", "embryonic: 9001"),
        ("vip: 192.0.2.1", "vip: 192.0.2.7"),
        ("port: 53", "port: 54"),
        ("protocol: udp", "protocol: tcp"),
        ("scheduler: mh", "scheduler: sh"),
        ("track: auto", "track: always"),
        ("weight: 2", "weight: 3"),
        ("{address: 10.0.0.1}", "{address: 10.0.0.1, forward: ipip}"),
        ("{address: 10.0.0.1}", "{address: 10.0.0.1, forward: nat, port: 81}"),
        ("{address: 10.0.0.1}", "{address: 10.0.0.3}"),
        ("on_down: quiesce", "on_down: reset"),
        ("on_down: quiesce", "on_down: quiesce\n      require: any"),
        ("recovery_delay: 5s", "recovery_delay: 6s"),
        ("slow_start: 30s", "slow_start: 31s"),
        ("limit: 3", "limit: 4"),
        ("within: 60s", "within: 61s"),
        ("hold: 90s", "hold: 91s"),
        ("quorum: 1", "quorum: 2"),
        ("quorum: 1", "quorum: 1\n      quorum_recovery: 2"),
        ("panic_threshold: 40", "panic_threshold: 41"),
        ("fallback: {forward: local}", "fallback: {address: 10.0.0.9}"),
    ] {
        let other = FILE.replace(from, to);
        assert_ne!(other, FILE, "{from}");
        assert_ne!(of(&other), of(FILE), "{to}");
    }
}

#[test]
fn directors_agree_on_who_votes_and_what_moves() {
    let of = |text: &str| {
        let services = config(FILE);
        digest(&Form::new(&services, &services, arrangement(text)))
    };
    for (from, to, is_same) in [
        ("node: two", "node: one", true),
        ("key_file: /etc", "key_file: /other", true),
        ("192.0.2.7, interface: eth0", "192.0.2.7, prefix: 24, label: \"eth0:1\", interface: eth0", true),
        ("  nodes:", "  track: {interfaces: [eth0]}\n  nodes:", true),
        ("  nodes:", "  track: {gateways: [10.0.0.9]}\n  nodes:", false),
        ("    - name: www", "    - name: www\n      fence: {command: [/bin/fence]}", false),
        ("  nodes:", "  hold: 20s\n  nodes:", true),
        ("  nodes:", "  voter: {name: referee, address: 10.0.0.9}\n  nodes:", false),
        ("  nodes:", "  auto_failback: 30s\n  nodes:", false),
        ("  nodes:", "  keepalive: 90ms\n  nodes:", false),
        ("  nodes:", "  deadtime: 600ms\n  nodes:", false),
        ("  nodes:", "  watchdog: 20s\n  nodes:", true),
        ("  groups:", "    - {name: three, addresses: [10.0.0.3]}\n  groups:", false),
        ("    - name: www", "    - name: www\n      order: [one, two]", false),
        ("192.0.2.7", "192.0.2.8", false),
    ] {
        let other = CLUSTER.replace(from, to);
        assert_ne!(other, CLUSTER, "{from}");
        assert_eq!(of(&other) == of(CLUSTER), is_same, "{to}");
    }
    let with_voter = |voter: &str| CLUSTER.replace("  nodes:", &format!("  voter: {voter}\n  nodes:"));
    let [one, elsewhere, other] = [
        "{name: referee, address: 10.0.0.9}",
        "{name: referee, address: 10.0.0.8}",
        "{name: umpire, address: 10.0.0.9}",
    ]
    .map(|voter| of(&with_voter(voter)));
    assert!(one == elsewhere && one != other);
}

#[test]
fn who_serves_now_is_compared_too() {
    let same = of(FILE);
    for change in [
        |server: &mut RealServer| server.weight = 0,
        |server: &mut RealServer| server.resets = true,
        |server: &mut RealServer| server.port = 81,
    ] {
        let mut in_force = config(FILE);
        change(&mut in_force.services[0].real_servers[0]);
        assert_ne!(digest(&form(FILE, &in_force)), same);
    }
    let mut in_force = config(FILE);
    in_force.services[0].real_servers.remove(0);
    assert_ne!(digest(&form(FILE, &in_force)), same);
}
