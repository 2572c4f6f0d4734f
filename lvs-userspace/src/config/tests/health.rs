//! Checks: what is read, and what is said about mistakes.

use super::mistakes::said;
use super::model::{Flaps, OnDown, Path, Require};
use super::*;

/// A service with this under `health`, and further keys of its second real server.
fn file(health: &str, real_server: &str) -> String {
    format!(
        "version: 1
interfaces: [eth0]
services:
  - name: www
    vip: 10.0.0.3
    port: 80
    protocol: tcp
    health: {health}
    real_servers:
      - {{address: 192.168.0.1}}
      - {{address: 192.168.0.2{real_server}}}
"
    )
}

fn service(health: &str, real_server: &str) -> Service {
    parse(&file(health, real_server), "lvs.yaml").unwrap().services.remove(0)
}

fn tcp(last: u8, port: u16) -> Arc<Check> {
    let address = [192, 168, 0, last].into();
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

#[test]
fn a_service_gives_its_checks_to_its_real_servers() {
    let www = service("{checks: [{type: tcp}, {type: tcp, port: 81}]}", "");
    assert_eq!(www.real_servers[0].checks, [tcp(1, 80), tcp(1, 81)]);
    assert_eq!(www.real_servers[1].checks, [tcp(2, 80), tcp(2, 81)]);
    assert_eq!((www.health.require, www.health.on_down), (Require::All, OnDown::Remove));
}

#[test]
fn a_real_server_may_have_checks_of_its_own() {
    let own = ", checks: [{type: tcp, port: 8080, address: 192.168.0.9}]";
    let www = service("{checks: [{type: tcp}], require: any, on_down: quiesce}", own);
    assert_eq!(www.real_servers[0].checks, [tcp(1, 80)]);
    assert_eq!(www.real_servers[1].checks, [tcp(9, 8080)]);
    assert_eq!((www.health.require, www.health.on_down), (Require::Any, OnDown::Quiesce));
    assert_eq!(service("{checks: [{type: tcp}]}", ", checks: []").real_servers[1].checks, []);
}

#[test]
fn every_key_of_a_service_is_read() {
    let www = service(
        "{recovery_delay: 30s, slow_start: 1m, flaps: {limit: 5, hold: 1h}, quorum: 2, quorum_recovery: 3, \
         fallback: {forward: local}, panic_threshold: 40}",
        "",
    );
    let fallback = RealServer {
        address: address("10.0.0.3"),
        port: 80,
        weight: 1,
        forward: Forward::Local,
        checks: Vec::new(),
        resets: false,
    };
    let expected = Health {
        probes_the_path: false,
        require: Require::All,
        on_down: OnDown::Remove,
        recovery_delay: second(30),
        slow_start: second(60),
        flaps: Some(Flaps { limit: 5, within: second(600), hold: second(3600) }),
        quorum: 2,
        quorum_recovery: 3,
        fallback: Some(fallback),
        page: None,
        panic_threshold: 40,
    };
    assert_eq!(www.health, expected);
    let www = service("{fallback: {page: /etc/sorry.html}}", "");
    assert_eq!(www.health.page, Some("/etc/sorry.html".into()));
    let fallback = www.health.fallback.unwrap();
    assert_eq!((fallback.address, fallback.forward), (address("10.0.0.3"), Forward::Local));
    let www = service("{quorum: 2, fallback: {address: 192.168.0.9, port: 81, forward: nat}}", "");
    assert_eq!(www.health.quorum_recovery, 2);
    assert_eq!(
        www.health.fallback.map(|fallback| (fallback.address, fallback.port)),
        Some((address("192.168.0.9"), 81))
    );
}

#[test]
fn a_page_needs_tcp_and_a_port() {
    let file = |port: &str, protocol: &str| {
        format!(
            "version: 1\ninterfaces: [eth0]\nservices:\n  - name: www\n    vip: 10.0.0.3\n    port: {port}\n    \
             protocol: {protocol}\n    health: {{fallback: {{page: /sorry.html}}}}\n    real_servers: []\n"
        )
    };
    assert_eq!(
        said(&file("80", "udp")),
        [
            "8:31: a page of a service of UDP, at services[0].health.fallback.page; expected a fallback that speaks its protocol"
        ]
    );
    assert_eq!(
        said(&file("0", "tcp")),
        [
            "8:31: a page of a service that takes every port, at services[0].health.fallback.page; expected a service with a port of its own"
        ]
    );
}

#[test]
fn every_key_of_an_http_check_is_read() {
    let www = service(
        "{checks: [{type: http, path: '/a?b=c', method: HEAD, host: 'www.example.org:8080', \
         headers: ['X-Probe: yes'], status: [200, 300-399], body: test page, body_regex: 'a+b', \
         body_sha256: 00000000000000000000000000000000000000000000000000000000000000ff, \
         source: 192.168.0.200, interface: eth1, interval: 10, fast_interval: 0.5, timeout: 1500ms, \
         rise: 4, fall: 5, jitter: 0}]}",
        "",
    );
    let mut digest = [0; 32];
    digest[31] = 255;
    let text = |text: &str| Some(text.to_owned());
    let expected = Check {
        address: address("192.168.0.1"),
        port: 80,
        source: Some(address("192.168.0.200")),
        interface: text("eth1"),
        path: None,
        timing: Timing {
            interval: Duration::from_secs(10),
            fast_interval: Duration::from_millis(500),
            timeout: Duration::from_millis(1500),
            rise: 4,
            fall: 5,
            jitter: 0,
        },
        probe: Probe::Http(Box::new(HttpProbe {
            method: "HEAD".to_owned(),
            path: "/a?b=c".to_owned(),
            host: text("www.example.org:8080"),
            headers: vec![("X-Probe".to_owned(), "yes".to_owned())],
            status: vec![(200, 200), (300, 399)],
            body: text("test page"),
            body_regex: text("a+b"),
            body_sha256: Some(digest),
            http2: false,
            secure: None,
        })),
    };
    assert_eq!(www.real_servers[0].checks, [Arc::new(expected)]);
}

/// The path is that of the real server's forwarding method.
#[test]
fn a_check_takes_the_path_of_its_real_server() {
    let paths = |text: &str| -> Vec<Option<Path>> {
        let config = parse(text, "lvs.yaml").unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let service = &config.services[0];
        let paths: Vec<_> = service.real_servers.iter().map(|server| server.checks[0].path.clone()).collect();
        assert_eq!(service.health.probes_the_path, paths.iter().any(Option::is_some));
        paths
    };
    let (vip, health) = (address("10.0.0.3"), "{checks: [{type: tcp, via: path}]}");
    let direct = Some(Path::Direct { vip });
    assert_eq!(paths(&file(health, "")), [direct.clone(), direct.clone()]);
    assert_eq!(paths(&file(health, ", forward: ipip")), [direct.clone(), Some(Path::Tunnel { vip })]);
    let translated = |client| Some(Path::Translated { client: address(client) });
    assert_eq!(paths(&file(health, ", forward: nat")), [direct.clone(), translated("198.18.0.1")]);
    let own = ", forward: nat, checks: [{type: tcp, via: path, source: 203.0.113.9}]";
    assert_eq!(paths(&file(health, own)), [direct.clone(), translated("203.0.113.9")]);
    assert_eq!(paths(&file("{checks: [{type: tcp, via: address}]}", "")), [None, None]);

    // No socket has the client's address.
    let config = parse(&file(health, own), "lvs.yaml").unwrap();
    assert_eq!(config.services[0].real_servers[1].checks[0].source, None);
    let direct = file("{checks: [{type: tcp, via: path, source: 192.168.0.200}]}", "");
    let config = parse(&direct, "lvs.yaml").unwrap();
    assert_eq!(config.services[0].real_servers[0].checks[0].source, Some(address("192.168.0.200")));
}

#[test]
fn where_there_is_no_path_it_is_told() {
    let check = ", checks: [{type: tcp, via: path}]";
    let bridged = file("{}", &format!(", forward: ipip{check}")).replace("192.168.0.2", "'2001:db8::2'");
    let said = |text: &str| said(text).join("\n");
    let expected = "2001:db8::2 is not of the same IP version as the VIP 10.0.0.3: probes cannot change theirs, \
                    at services[0].real_servers[1].checks[0].via; expected `via: address`";
    assert!(said(&bridged).contains(expected), "{}", said(&bridged));
    let local = file("{}", &format!(", forward: local{check}")).replace("192.168.0.2", "10.0.0.3");
    let expected = "with `forward: local` the director itself serves: there is no path, \
                    at services[0].real_servers[1].checks[0].via; expected `via: address`";
    assert!(said(&local).contains(expected), "{}", said(&local));
}

#[test]
fn mistakes_in_checks_are_told_at_their_place() {
    assert_eq!(said(&file("{checks: [{type: tcp}]}", "")), [""; 0]);
    for (health, expected) in ROWS {
        assert_eq!(said(&file(health, "")), *expected, "{health}");
    }
    // Once, although both real servers lack it.
    let every_port = file("{checks: [{type: tcp}]}", "").replace("port: 80", "port: 0");
    assert_eq!(
        said(&every_port),
        [
            "8:23: missing key `port`, at services[0].health.checks[0]; expected the port to probe: the service takes every port"
        ]
    );
    let own = said(&file("{}", ", checks: [{type: tcp, source: '2001:db8::1'}, {}]"));
    assert_eq!(
        own,
        [
            "11:77: missing key `type`, at services[0].real_servers[1].checks[1]; expected one of icmp, tcp, udp, http, https, dns, smtp, ftp, imap, pop, nntp, exchange, redis, mysql, pgsql, ldap, radius, sip, grpc, external",
        ]
    );
    let own = said(&file("{}", ", checks: [{type: tcp, source: '2001:db8::1'}]"));
    assert_eq!(
        own,
        [
            "11:61: 2001:db8::1 is not of the same IP version as 192.168.0.2, which is probed, at services[0].real_servers[1].checks[0].source; expected an IPv4 address",
        ]
    );
}

#[rustfmt::skip]
const ROWS: &[(&str, &[&str])] = &[
    ("{checks: [{type: htpp}]}", &[
        "8:30: \"htpp\" is not known, at services[0].health.checks[0].type; did you mean `http`? expected one of icmp, tcp, udp, http, https, dns, smtp, ftp, imap, pop, nntp, exchange, redis, mysql, pgsql, ldap, radius, sip, grpc, external",
    ]),
    ("{checks: [tcp]}", &[
        "8:23: found the text \"tcp\", at services[0].health.checks[0]; expected a map with the key type (one of icmp, tcp, udp, http, https, dns, smtp, ftp, imap, pop, nntp, exchange, redis, mysql, pgsql, ldap, radius, sip, grpc, external)",
    ]),
    ("{checks: [{type: tcp, type: http}]}", &[
        "8:35: `type` is here twice, first on line 8, at services[0].health.checks[0]; expected each key once",
    ]),
    ("{checks: [{type: tcp, path: /}]}", &[
        "8:35: unknown key \"path\", at services[0].health.checks[0]; expected one of port, address, source, interface, via, interval, fast_interval, timeout, rise, fall, jitter",
    ]),
    ("{checks: [{type: icmp, via: path}, {type: external, convention: mon, command: [a], via: path}]}", &[
        "8:41: a check of type `icmp` cannot take the path, since it has no port by which its answer is known, at services[0].health.checks[0].via; expected `address`, or another type of check",
        "8:101: a check of type `external` cannot take the path, since it has sockets of its own, at services[0].health.checks[1].via; expected `address`, or another type of check",
    ]),
    ("{checks: [{type: tcp, via: path, address: 192.168.0.9}, {type: tcp, via: vip}]}", &[
        "8:55: 192.168.0.9 is probed `via: path`, which leads to the real server, at services[0].health.checks[0].address; expected no address, or `via: address`",
        "8:86: \"vip\" is not known, at services[0].health.checks[1].via; expected one of address, path",
    ]),
    ("{checks: [{type: tcp, interval: 10ms, timeout: soon, rise: 0}]}", &[
        "8:45: \"10ms\" is out of range, at services[0].health.checks[0].interval; expected a time from 50ms to 1d, such as 500ms, 2s or 1m",
        "8:60: found the text \"soon\", at services[0].health.checks[0].timeout; expected a time from 10ms to 10m, such as 500ms, 2s or 1m",
        "8:72: 0 is out of range, at services[0].health.checks[0].rise; expected a whole number from 1 to 1000",
    ]),
    ("{checks: [{type: tcp, interval: 1s, fast_interval: 2s}]}", &[
        "8:64: 2 s is longer than the interval of 1 s, at services[0].health.checks[0].fast_interval; expected a shorter time: it is for servers in doubt",
    ]),
    ("{checks: [{type: http, path: testpage, method: get, host: 'a b'}]}", &[
        "8:42: \"testpage\" is no path on a web server, at services[0].health.checks[0].path; expected a path that begins with a slash, with special characters percent-encoded",
        "8:60: \"get\" is no HTTP method, at services[0].health.checks[0].method; expected an HTTP method such as GET or HEAD",
        "8:71: \"a b\" is no host's name, at services[0].health.checks[0].host; expected a host's name, with a port if need be",
    ]),
    ("{checks: [{type: http, status: [99, 300-200, ok], headers: ['Host: a', 'Connection: x', 'none']}]}", &[
        "8:45: found 99, at services[0].health.checks[0].status[0]; expected a status code from 100 to 599, or a range such as 200-399",
        "8:49: found the text \"300-200\", at services[0].health.checks[0].status[1]; expected a status code from 100 to 599, or a range such as 200-399",
        "8:58: found the text \"ok\", at services[0].health.checks[0].status[2]; expected a status code from 100 to 599, or a range such as 200-399",
        "8:73: the header Host, at services[0].health.checks[0].headers[0]; expected the key `host` for it",
        "8:84: \"Connection: x\" is no header that can be set, at services[0].health.checks[0].headers[1]; expected a header as text, \"Name: value\"",
        "8:101: \"none\" is no header that can be set, at services[0].health.checks[0].headers[2]; expected a header as text, \"Name: value\"",
    ]),
    ("{checks: [{type: http, body: '', body_regex: 'a(', body_sha256: abc}]}", &[
        "8:42: empty text, at services[0].health.checks[0].body; expected text on one line, of 1 to 4096 bytes",
        "8:58: \"a(\" is no regular expression: unclosed group, at services[0].health.checks[0].body_regex; expected a regular expression",
        "8:77: found the text \"abc\", at services[0].health.checks[0].body_sha256; expected 64 hexadecimal digits, as sha256sum prints them",
    ]),
    ("{quorum: 3, quorum_recovery: 2, panic_threshold: 101, recovery_delay: -1}", &[
        "8:42: 2 real servers are less than the quorum of 3, at services[0].health.quorum_recovery; expected 3 or more",
        "8:62: 101 is out of range, at services[0].health.panic_threshold; expected a whole number from 0 to 100",
        "8:83: -1 is out of range, at services[0].health.recovery_delay; expected a time from 0ms to 1d, such as 500ms, 2s or 1m",
    ]),
    ("{fallback: {address: 192.168.0.1}}", &[
        "8:24: 192.168.0.1 is a real server of this service, on line 10, at services[0].health.fallback; expected another one, which serves when those do not",
    ]),
    ("{fallback: {page: /sorry.html, forward: local, port: 80}}", &[
        "8:53: a fallback with a `page` is the director itself, at services[0].health.fallback.forward; expected `page` alone",
        "8:66: a fallback with a `page` is the director itself, at services[0].health.fallback.port; expected `page` alone",
    ]),
    ("{checks: [{type: ftp, body: some text}]}", &[
        "8:41: missing key `file`, at services[0].health.checks[0]; expected the file whose content is looked at",
    ]),
    ("{fallback: {page: sorry.html}}", &[
        "8:31: \"sorry.html\" is no absolute path, at services[0].health.fallback.page; expected a path that begins with a slash",
    ]),
    ("{fallback: {port: 81}, flaps: {limit: 0}}", &[
        "8:24: missing key `address`, at services[0].health.fallback; expected an IPv4 or IPv6 address",
        "8:31: a port of its own with `forward: dr`, which leaves the port as it is, at services[0].health.fallback.port; expected no port here; only nat can translate one port to another",
        "8:51: 0 is out of range, at services[0].health.flaps.limit; expected a whole number from 1 to 1000",
    ]),
    ("{require: most, on_down: quiescent}", &[
        "8:23: \"most\" is not known, at services[0].health.require; expected one of all, any",
        "8:38: \"quiescent\" is not known, at services[0].health.on_down; did you mean `quiesce`? expected one of remove, quiesce, reset",
    ]),
];
