//! One row for each mistake: what the file says, and every line that lvsd says about it.

use super::parse;

/// A file without a mistake, in which each row puts its own.
const RIGHT: &str = "\
version: 1
interfaces: [eth0]
services:
  - name: www
    vip: 10.0.0.3
    port: 80
    protocol: tcp
    real_servers:
      - {address: 192.168.0.1}
";

/// What is the matter, what is replaced in [`RIGHT`], by what, and what is said.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// What is the matter, the file, and what is said.
type File = (&'static str, &'static str, &'static [&'static str]);

/// Position and message of every mistake in `text`.
pub(super) fn said(text: &str) -> Vec<String> {
    let Err(diagnostics) = parse(text, "lvs.yaml") else { return Vec::new() };
    let line = |mistake: &super::Mistake| match mistake.position {
        Some((line, column)) => format!("{line}:{column}: {mistake}"),
        None => mistake.to_string(),
    };
    diagnostics.mistakes.iter().map(line).collect()
}

#[test]
fn every_mistake_is_told_at_its_place() {
    assert_eq!(said(RIGHT), [""; 0]);
    for (matter, replaced, by, expected) in ROWS {
        assert_eq!(RIGHT.matches(replaced).count(), 1, "{matter}: what is replaced must be clear");
        assert_eq!(said(&RIGHT.replace(replaced, by)), *expected, "{matter}");
    }
}

#[test]
fn a_file_of_another_kind_is_told_apart() {
    for (matter, text, expected) in FILES {
        assert_eq!(said(text), *expected, "{matter}");
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("a key that is no key, near one",
     "    port: 80\n", "    port: 80\n    sheduler: rr\n", &[
        "7:5: unknown key \"sheduler\", at services[0]; did you mean `scheduler`?",
    ]),
    ("a key that is no key, near none",
     "    port: 80\n", "    port: 80\n    colour: red\n", &[
        "7:5: unknown key \"colour\", at services[0]; expected one of name, vip, port, protocol, scheduler, forward, track, real_servers, health",
    ]),
    ("a key that is not text",
     "    port: 80\n", "    port: 80\n    8080: 80\n", &[
        "7:5: unknown key \"8080\", at services[0]; expected one of name, vip, port, protocol, scheduler, forward, track, real_servers, health",
    ]),
    ("a key twice",
     "    port: 80\n", "    port: 80\n    port: 81\n", &[
        "7:5: `port` is here twice, first on line 6, at services[0]; expected each key once",
    ]),
    ("missing keys",
     "    vip: 10.0.0.3\n    port: 80\n", "", &[
        "4:5: missing key `vip`, at services[0]; expected an IPv4 or IPv6 address",
        "4:5: missing key `port`, at services[0]; expected a whole number from 0 to 65535",
    ]),
    ("a missing version",
     "version: 1\n", "", &[
        "1:1: missing key `version`, at the top level; expected the number 1",
    ]),
    ("another version",
     "version: 1", "version: 2", &[
        "1:10: version 2 is not supported, at version; expected 1, the only version this lvsd knows",
    ]),
    ("a version that is no number",
     "version: 1", "version: one", &[
        "1:10: found the text \"one\", at version; expected the number 1",
    ]),
    ("no interfaces",
     "[eth0]", "[]", &[
        "2:13: an empty list, at interfaces; expected a list of at least one item, each item an interface name (up to 15 bytes without `/`, `:` and spaces)",
    ]),
    ("an interface without a list",
     "[eth0]", "eth0", &[
        "2:13: found the text \"eth0\", at interfaces; expected a list of at least one item, each item an interface name (up to 15 bytes without `/`, `:` and spaces)",
    ]),
    ("names no interface can have",
     "[eth0]", "[a/b, sixteen-bytes-xx, \"\", .., \"a b\", 7]", &[
        "2:14: no interface can be called \"a/b\", at interfaces[0]; expected an interface name (up to 15 bytes without `/`, `:` and spaces)",
        "2:19: no interface can be called \"sixteen-bytes-xx\", at interfaces[1]; expected an interface name (up to 15 bytes without `/`, `:` and spaces)",
        "2:37: no interface can be called \"\", at interfaces[2]; expected an interface name (up to 15 bytes without `/`, `:` and spaces)",
        "2:41: no interface can be called \"..\", at interfaces[3]; expected an interface name (up to 15 bytes without `/`, `:` and spaces)",
        "2:45: no interface can be called \"a b\", at interfaces[4]; expected an interface name (up to 15 bytes without `/`, `:` and spaces)",
        "2:52: 7 is not text, at interfaces[5]; expected an interface name (up to 15 bytes without `/`, `:` and spaces); put it in quotation marks",
    ]),
    ("an interface twice",
     "[eth0]", "[eth0, eth1, eth0]", &[
        "2:26: interface eth0 is here twice, first on line 2, at interfaces[2]; expected each interface once",
    ]),
    ("timeouts out of range",
     "services:", "timeouts: {tcp: 0, tcp_fin: 2592001, udp: -1}\nservices:", &[
        "3:17: 0 is out of range, at timeouts.tcp; expected a whole number from 1 to 2592000",
        "3:29: 2592001 is out of range, at timeouts.tcp_fin; expected a whole number from 1 to 2592000",
        "3:43: -1 is out of range, at timeouts.udp; expected a whole number from 1 to 2592000",
    ]),
    ("sections that are no maps",
     "services:", "timeouts:\nlimits: 4\nservices:", &[
        "3:9: found nothing, at timeouts; expected a map with the keys tcp, tcp_fin, udp",
        "4:9: found 4, at limits; expected a map with the keys connections, embryonic, destinations",
    ]),
    ("limits out of range",
     "services:", "limits: {connections: 0, embryonic: 67108865, destinations: 1048577}\nservices:", &[
        "3:23: 0 is out of range, at limits.connections; expected a whole number from 1 to 67108864",
        "3:37: 67108865 is out of range, at limits.embryonic; expected a whole number from 1 to 67108864",
        "3:61: 1048577 is out of range, at limits.destinations; expected a whole number from 1 to 1048576",
    ]),
    ("names no service can have",
     "name: www", "name: www/1", &[
        "4:11: \"www/1\" is no name for a service, at services[0].name; expected a service name (up to 63 letters, digits, `.`, `_` and `-`, a letter or digit first)",
    ]),
    ("a name that is a number",
     "name: www", "name: 80", &[
        "4:11: 80 is not text, at services[0].name; expected a service name (up to 63 letters, digits, `.`, `_` and `-`, a letter or digit first); put it in quotation marks",
    ]),
    ("a VIP with a port",
     "10.0.0.3", "10.0.0.3:80", &[
        "5:10: \"10.0.0.3:80\" is no address, at services[0].vip; expected an IPv4 or IPv6 address without a port, which is a key of its own",
    ]),
    ("an IPv6 VIP with a port",
     "10.0.0.3", "'[2001:db8::3]:80'", &[
        "5:10: \"[2001:db8::3]:80\" is no address, at services[0].vip; expected an IPv4 or IPv6 address without a port, which is a key of its own",
    ]),
    ("a VIP with a prefix length",
     "10.0.0.3", "10.0.0.3/32", &[
        "5:10: \"10.0.0.3/32\" is no address, at services[0].vip; expected an IPv4 or IPv6 address without a prefix length",
    ]),
    ("a VIP in brackets",
     "10.0.0.3", "'[2001:db8::3]'", &[
        "5:10: \"[2001:db8::3]\" is no address, at services[0].vip; expected an IPv4 or IPv6 address without brackets",
    ]),
    ("a VIP by name",
     "10.0.0.3", "www.example.org", &[
        "5:10: \"www.example.org\" is no address, at services[0].vip; expected an IPv4 or IPv6 address; names are not looked up",
    ]),
    ("a VIP that is no address",
     "10.0.0.3", "10.0.0.300", &[
        "5:10: \"10.0.0.300\" is no address, at services[0].vip; expected an IPv4 or IPv6 address",
    ]),
    ("unspecified VIP",
     "10.0.0.3", "0.0.0.0", &[
        "5:10: 0.0.0.0 is the unspecified address, at services[0].vip; expected an address of one machine",
    ]),
    ("multicast VIP",
     "10.0.0.3", "224.0.0.18", &[
        "5:10: 224.0.0.18 is a multicast address, at services[0].vip; expected an address of one machine",
    ]),
    ("broadcast VIP",
     "10.0.0.3", "255.255.255.255", &[
        "5:10: 255.255.255.255 is the broadcast address, at services[0].vip; expected an address of one machine",
    ]),
    ("loopback VIP",
     "10.0.0.3", "127.0.0.1", &[
        "5:10: 127.0.0.1 is a loopback address, at services[0].vip; expected an address of one machine",
    ]),
    ("IPv6 loopback VIP",
     "10.0.0.3", "'::1'", &[
        "5:10: ::1 is a loopback address, at services[0].vip; expected an address of one machine",
    ]),
    ("mapped VIP",
     "10.0.0.3", "::ffff:10.0.0.3", &[
        "5:10: ::ffff:10.0.0.3 is an IPv4 address in IPv6 form, at services[0].vip; expected 10.0.0.3",
    ]),
    ("link-local VIP",
     "10.0.0.3", "fe80::3", &[
        "5:10: fe80::3 is a link-local address, which means nothing without its interface, at services[0].vip; expected an address of one machine",
    ]),
    ("a port out of range",
     "port: 80", "port: 65536", &[
        "6:11: 65536 is out of range, at services[0].port; expected a whole number from 0 to 65535",
    ]),
    ("a port that is text",
     "port: 80", "port: \"80\"", &[
        "6:11: found the text \"80\", at services[0].port; expected a whole number from 0 to 65535",
    ]),
    ("a port with a fraction",
     "port: 80", "port: 80.5", &[
        "6:11: found 80.5, at services[0].port; expected a whole number from 0 to 65535",
    ]),
    ("a port of another base to some",
     "port: 80", "port: 0080", &[
        "6:11: found the text \"0080\", at services[0].port; expected a whole number from 0 to 65535",
    ]),
    ("an enormous port",
     "port: 80", "port: 99999999999999999999999", &[
        "6:11: found 100000000000000000000000, at services[0].port; expected a whole number from 0 to 65535",
    ]),
    ("words in capitals",
     "protocol: tcp", "protocol: TCP", &[
        "7:15: \"TCP\" is not known, at services[0].protocol; did you mean `tcp`? expected one of tcp, udp",
    ]),
    ("words mistyped",
     "protocol: tcp", "protocol: tcp\n    scheduler: wcl", &[
        "8:16: \"wcl\" is not known, at services[0].scheduler; did you mean `wlc`? expected one of rr, wrr, lc, wlc, sh, dh, mh",
    ]),
    ("ipvsadm's words",
     "protocol: tcp", "protocol: tcp\n    forward: masq", &[
        "8:14: \"masq\" is not known, at services[0].forward; did you mean `nat`? expected one of dr, nat, ipip, local",
    ]),
    ("words unheard of",
     "protocol: tcp", "protocol: sctp", &[
        "7:15: \"sctp\" is not known, at services[0].protocol; expected one of tcp, udp",
    ]),
    ("a word that is no text",
     "protocol: tcp", "protocol: tcp\n    track: true", &[
        "8:12: found true, at services[0].track; expected one of auto, always",
    ]),
    ("a real server that is no map",
     "{address: 192.168.0.1}", "192.168.0.1", &[
        "9:9: found the text \"192.168.0.1\", at services[0].real_servers[0]; expected a map with the keys address, port, weight, forward, checks",
    ]),
    ("nothing where a list belongs",
     "\n      - {address: 192.168.0.1}", "", &[
        "8:17: found nothing, at services[0].real_servers; expected a list (`[]` for none), each item a map with the keys address, port, weight, forward, checks",
    ]),
    ("a weight out of range",
     "192.168.0.1}", "192.168.0.1, weight: 65536}", &[
        "9:40: 65536 is out of range, at services[0].real_servers[0].weight; expected a whole number from 0 to 65535",
    ]),
    ("a negative weight",
     "192.168.0.1}", "192.168.0.1, weight: -1}", &[
        "9:40: -1 is out of range, at services[0].real_servers[0].weight; expected a whole number from 0 to 65535",
    ]),
    ("a real server without an address",
     "{address: 192.168.0.1}", "{weight: 3}", &[
        "9:9: missing key `address`, at services[0].real_servers[0]; expected an IPv4 or IPv6 address",
    ]),
    ("a port with dr",
     "192.168.0.1}", "192.168.0.1, port: 8080}", &[
        "9:38: a port of its own with `forward: dr`, which leaves the port as it is, at services[0].real_servers[0].port; expected no port here; only nat can translate one port to another",
    ]),
    ("a port with ipip",
     "192.168.0.1}", "192.168.0.1, port: 80, forward: ipip}", &[
        "9:38: a port of its own with `forward: ipip`, which leaves the port as it is, at services[0].real_servers[0].port; expected no port here; only nat can translate one port to another",
    ]),
    ("a port with local",
     "{address: 192.168.0.1}", "{forward: local, port: 8080}", &[
        "9:32: a port of its own with `forward: local`, which leaves the port as it is, at services[0].real_servers[0].port; expected no port here; only nat can translate one port to another",
    ]),
    ("port 0 with nat",
     "192.168.0.1}", "192.168.0.1, port: 0, forward: nat}", &[
        "9:38: 0 is out of range, at services[0].real_servers[0].port; expected a whole number from 1 to 65535",
    ]),
    ("a port where the service takes all",
     "port: 80\n    protocol: tcp\n    real_servers:\n      - {address: 192.168.0.1}", "port: 0\n    protocol: tcp\n    real_servers:\n      - {address: 192.168.0.1, forward: nat, port: 8080}", &[
        "9:52: a port of its own, but the service takes every port, at services[0].real_servers[0].port; expected no port here; only nat can translate one port to another",
    ]),
    ("families that dr cannot bridge",
     "192.168.0.1}", "2001:db8::1}", &[
        "9:19: 2001:db8::1 is not of the same IP version as the VIP 10.0.0.3, which `dr` cannot bridge, at services[0].real_servers[0].address; expected an IPv4 address, or `forward: ipip`",
    ]),
    ("families that nat cannot bridge",
     "10.0.0.3\n    port: 80", "2001:db8::3\n    port: 80\n    forward: nat", &[
        "10:19: 192.168.0.1 is not of the same IP version as the VIP 2001:db8::3, which `nat` cannot bridge, at services[0].real_servers[0].address; expected an IPv6 address, or `forward: ipip`",
    ]),
    ("the VIP as a real server",
     "192.168.0.1}", "10.0.0.3}", &[
        "9:19: 10.0.0.3 is the VIP, at services[0].real_servers[0].address; expected the real server's own address, or `forward: local` for the director itself",
    ]),
    ("another machine as local",
     "192.168.0.1}", "192.168.0.1, forward: local}", &[
        "9:19: 192.168.0.1 is not the VIP, and `local` means the director itself, at services[0].real_servers[0].address; expected no address, or 10.0.0.3",
    ]),
    ("a real server twice",
     "192.168.0.1}", "192.168.0.1}\n      - {address: 192.168.0.1, weight: 5}", &[
        "10:9: 192.168.0.1 is in this service already, on line 9, at services[0].real_servers[1]; expected each real server once; `weight` gives it a larger share",
    ]),
    ("a real server twice, by nat",
     "192.168.0.1}", "192.168.0.1, forward: nat}\n      - {address: 192.168.0.1, forward: nat, port: 80}", &[
        "10:9: 192.168.0.1 is in this service already, on line 9, at services[0].real_servers[1]; expected each real server once; `weight` gives it a larger share",
    ]),
    ("a service twice",
     "services:\n", "services:\n  - {name: other, vip: 10.0.0.3, port: 80, protocol: tcp, real_servers: []}\n", &[
        "5:5: 10.0.0.3 tcp port 80 has a service already, on line 4, at services[1]; expected each address, port and protocol once",
    ]),
    ("a name twice",
     "services:\n", "services:\n  - {name: www, vip: 10.0.0.3, port: 80, protocol: udp, real_servers: []}\n", &[
        "5:11: another service is called www, on line 4, at services[1].name; expected a name of its own for each service",
    ]),
    ("more real servers than the limit",
     "services:", "limits: {destinations: 1}\nservices:\n  - {name: a, vip: 10.0.0.4, port: 80, protocol: tcp, real_servers: [{address: 192.168.0.1}]}", &[
        "5:3: 2 real servers over all services, at services; expected at most 1; see limits.destinations",
    ]),
    ("a mistake behind an alias",
     "{address: 192.168.0.1}", "&one {address: 192.168.0.1, weight: -1}\n  - {name: b, vip: 10.0.0.4, port: 80, protocol: tcp, real_servers: [*one]}", &[
        "9:45: -1 is out of range, at services[0].real_servers[0].weight; expected a whole number from 0 to 65535",
        "9:45: -1 is out of range (used at 10:70), at services[1].real_servers[0].weight; expected a whole number from 0 to 65535",
    ]),
    ("a mistake behind a merge",
     "{address: 192.168.0.1}", "{address: 192.168.0.1, <<: {weight: -1}}", &[
        "9:45: -1 is out of range (used at 9:36), at services[0].real_servers[0].weight; expected a whole number from 0 to 65535",
    ]),
    ("everything about one real server",
     "{address: 192.168.0.1}", "{adress: 192.168.0.1, weight: many, port: 0, forward: gate}", &[
        "9:10: unknown key \"adress\", at services[0].real_servers[0]; did you mean `address`?",
        "9:39: found the text \"many\", at services[0].real_servers[0].weight; expected a whole number from 0 to 65535",
        "9:51: 0 is out of range, at services[0].real_servers[0].port; expected a whole number from 1 to 65535",
        "9:63: \"gate\" is not known, at services[0].real_servers[0].forward; did you mean `dr`? expected one of dr, nat, ipip, local",
    ]),
];

#[rustfmt::skip]
const FILES: &[File] = &[
    ("an empty file", "", &[
        "1:1: found nothing, at the top level; expected a map with the keys version, interfaces, timeouts, limits, services, alerts, cluster, vrrp, metrics",
    ]),
    ("only a comment", "# nothing yet\n", &[
        "2:1: found nothing, at the top level; expected a map with the keys version, interfaces, timeouts, limits, services, alerts, cluster, vrrp, metrics",
    ]),
    ("a word", "hello\n", &[
        "1:1: found the text \"hello\", at the top level; expected a map with the keys version, interfaces, timeouts, limits, services, alerts, cluster, vrrp, metrics",
    ]),
    ("a list", "- 1\n", &[
        "1:1: found a list, at the top level; expected a map with the keys version, interfaces, timeouts, limits, services, alerts, cluster, vrrp, metrics",
    ]),
    ("an unclosed bracket", "version: 1\ninterfaces: [eth0\n", &[
        "2:13: unclosed bracket '['; expected one document of valid YAML",
    ]),
    ("an unclosed quotation mark", "version: 1\ninterfaces: ['eth0]\n", &[
        "2:14: unclosed quote; expected one document of valid YAML",
    ]),
    ("a tab as indentation", "version: 1\nservices:\n	- name: www\n", &[
        "3:2: tabs disallowed within this context (block indentation); expected one document of valid YAML",
    ]),
    ("a colon too many", "version: 1\nservices: a: b\n", &[
        "2:12: mapping values are not allowed in this context; expected one document of valid YAML",
    ]),
    ("a key out of line", "version: 1\n  interfaces: [eth0]\n", &[
        "2:13: mapping values are not allowed in this context; expected one document of valid YAML",
    ]),
    ("two documents", "version: 1\n---\nversion: 1\n", &[
        "3:1: only single YAML document expected but multiple found; expected one document of valid YAML",
    ]),
    ("an alias of nothing", "interfaces: *all\n", &[
        "1:13: reference to unknown value; expected one document of valid YAML",
    ]),
    ("an alias of itself", "interfaces: &all [*all]\n", &[
        "1:19: Recursive reference not allowed here; expected one document of valid YAML",
    ]),
    ("a zero byte", "version: 1\nservices: \0\n", &[
        "2:11: unexpected character: `\\u{0}'; expected one document of valid YAML",
    ]),
];

#[test]
fn metrics_are_served_where_no_service_is() {
    let file = |listen: &str| format!("{RIGHT}metrics: {{listen: {listen}}}\n");
    for listen in ["127.0.0.1:9742", "\"[::]:9742\"", "10.0.0.3:81", "10.0.0.4:80"] {
        let config = parse(&file(listen), "lvs.yaml").unwrap();
        assert_eq!(config.metrics, listen.trim_matches('"').parse().ok());
    }
    let remedy = "expected an address and a port, such as 127.0.0.1:9742 or \"[::1]:9742\"";
    for (listen, what) in [
        ("9742", "9742 is not text".to_owned()),
        ("localhost:9742", "\"localhost:9742\" is no address with a port".to_owned()),
        ("127.0.0.1", "\"127.0.0.1\" is no address with a port".to_owned()),
        ("127.0.0.1:0", "127.0.0.1:0 has no port".to_owned()),
        ("224.0.0.1:9742", "224.0.0.1:9742 is a multicast address".to_owned()),
    ] {
        let end = if listen == "9742" { "; put it in quotation marks" } else { "" };
        assert_eq!(said(&file(listen)), [format!("10:19: {what}, at metrics.listen; {remedy}{end}")]);
    }
    assert_eq!(
        said(&file("10.0.0.3:80")),
        [
            "10:19: 10.0.0.3:80 is the address and port of the service www, at metrics.listen; expected one of the director's own"
        ]
    );
}
