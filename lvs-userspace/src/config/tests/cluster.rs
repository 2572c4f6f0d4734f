//! Clusters: what is read, what is said about mistakes, and that any that is written is read back.

use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::mistakes::said;
use super::model::{
    Cluster, ClusterTiming, Failback, Fence, Group, GroupAddress, HeartbeatPath, Node, Resource, Track,
    TrackScript, Voter,
};
use super::properties::numbered;
use super::*;

/// A file without a mistake, in which each row puts its own.
const RIGHT: &str = "\
version: 1
interfaces: [eth0]
cluster:
  nodes:
    - {name: one, addresses: [10.1.0.1]}
    - {name: two, addresses: [10.1.0.2]}
  groups:
    - name: www
      addresses: [{address: 10.0.0.3, interface: eth0}]
services:
  - {name: www, vip: 10.0.0.3, port: 80, protocol: tcp, real_servers: []}
";

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn what_is_left_out_is_as_usual() {
    let cluster = parse(RIGHT, "lvs.yaml").unwrap().cluster.unwrap();
    let node = |name: &str, text| Node { name: name.to_owned(), addresses: vec![address(text)] };
    let group = Group {
        name: "www".to_owned(),
        order: vec!["one".to_owned(), "two".to_owned()],
        addresses: vec![GroupAddress {
            address: address("10.0.0.3"),
            prefix: 32,
            interface: "eth0".to_owned(),
            label: None,
        }],
        resources: Vec::new(),
        fence: None,
    };
    let expected = Cluster {
        node: None,
        nodes: vec![node("one", "10.1.0.1"), node("two", "10.1.0.2")],
        voter: None,
        paths: Vec::new(),
        port: 694,
        key_file: "/etc/lvs-xdp/cluster.key".into(),
        timing: ClusterTiming {
            keepalive: milliseconds(100),
            warntime: milliseconds(250),
            deadtime: milliseconds(500),
            initdead: second(2),
            watchdog: second(10),
            hold: second(10),
        },
        auto_failback: Failback::Off,
        refresh: None,
        track: Track::default(),
        groups: vec![group],
    };
    assert_eq!(*cluster, expected);
}

#[test]
fn times_follow_the_dead_time() {
    let timing = |keys: &str| {
        let text = RIGHT.replace("cluster:\n", &format!("cluster:\n{keys}"));
        parse(&text, "lvs.yaml").unwrap_or_else(|mistakes| panic!("{mistakes}")).cluster.unwrap().timing
    };
    // As heartbeat(8) had it.
    let classic = timing("  keepalive: 2s\n  deadtime: 10s\n");
    assert_eq!((classic.warntime, classic.initdead, classic.hold), (second(5), second(40), second(10)));
    let slow = timing("  keepalive: 10s\n  deadtime: 1m\n");
    assert_eq!((slow.warntime, slow.initdead, slow.hold), (second(30), second(240), second(60)));
    let fast = timing("  keepalive: 10ms\n  deadtime: 30ms\n");
    assert_eq!((fast.warntime, fast.initdead, fast.hold), (milliseconds(15), second(2), second(10)));
}

#[test]
fn a_director_is_found_by_name() {
    let cluster = parse(RIGHT, "lvs.yaml").unwrap().cluster.unwrap();
    assert_eq!(cluster.node("two"), Some(&cluster.nodes[1]));
    assert_eq!(cluster.node("three"), None);
}

#[test]
fn every_mistake_is_told_at_its_place() {
    assert_eq!(said(RIGHT), [""; 0]);
    for (replaced, by, expected) in ROWS {
        assert_eq!(RIGHT.matches(replaced).count(), 1, "{by}: what is replaced must be clear");
        assert_eq!(said(&RIGHT.replace(replaced, by)), *expected, "{by}");
    }
}

/// What is replaced in [`RIGHT`], by what, and what is said.
type Row = (&'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("  nodes:\n", "  node: three\n  nodes:\n", &[
        "4:9: there is no node three, at cluster.node; expected one of one, two",
    ]),
    ("    - {name: two, addresses: [10.1.0.2]}\n", "", &[
        "5:5: too short a list, at cluster.nodes; expected a list of at least 2 items, each item a map with the keys name, addresses",
    ]),
    ("    - {name: two, ", "    - {name: one, ", &[
        "6:14: another node is called one, on line 5, at cluster.nodes[1].name; expected a name of its own for each node",
    ]),
    ("name: two", "name: 'two '", &[
        "6:14: \"two \" is no name, at cluster.nodes[1].name; expected a name (up to 63 letters, digits, `.`, `_` and `-`, a letter or digit first)",
    ]),
    ("[10.1.0.2]", "[10.1.0.2, 10.2.0.2]", &[
        "6:30: 2 addresses, but one has 1, at cluster.nodes[1].addresses; expected as many as the first node has: beats go from the first to the first, from the second to the second",
    ]),
    ("[10.1.0.2]", "['2001:db8::2']", &[
        "6:31: 2001:db8::2 is not of the same IP version as 10.1.0.1, the address of one at this place, at cluster.nodes[1].addresses[0]; expected an IPv4 address",
    ]),
    ("[10.1.0.2]", "[10.1.0.1]", &[
        "6:31: 10.1.0.1 is a node's already, on line 5, at cluster.nodes[1].addresses[0]; expected each address once",
    ]),
    ("[10.1.0.1]}\n    - {name: two, addresses: [10.1.0.2]}\n", "[]}\n    - {name: two}\n", &[
        "4:3: the nodes have no path on which beats could travel, at cluster; expected `addresses` of the nodes, or a multicast or broadcast path in `paths`",
    ]),
    ("[10.1.0.1]}\n    - {name: two, addresses: [10.1.0.2]}\n", "[]}\n    - {name: two}\n    - {name: three}\n  paths: [{type: serial, device: /dev/ttyS0}]\n", &[
        "4:3: a serial line joins two nodes, and here are 3, at cluster; expected `addresses` of the nodes, or a multicast or broadcast path in `paths`",
    ]),
    ("  groups:", "  paths:\n    - {type: serial, device: ttyS0, baud: 1200}\n    - {type: multicast, interface: eth1, group: 10.0.0.1, ttl: 0}\n    - {type: multicast, interface: eth1, group: 'ff01::1'}\n    - {type: broadcast, interface: eth1, address: 224.0.0.1}\n    - {type: unicast}\n  groups:", &[
        "8:30: \"ttyS0\" is no absolute path, at cluster.paths[0].device; expected a path that begins with a slash",
        "8:43: 1200 is no rate of a serial line, at cluster.paths[0].baud; expected one of 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600",
        "9:49: \"10.0.0.1\" is no group of hosts, at cluster.paths[1].group; expected an address from 224.0.0.0 to 239.255.255.255, or from ff02:: on",
        "9:64: 0 is out of range, at cluster.paths[1].ttl; expected a whole number from 1 to 255",
        "10:49: \"ff01::1\" is no group of hosts, at cluster.paths[2].group; expected an address from 224.0.0.0 to 239.255.255.255, or from ff02:: on",
        "11:51: \"224.0.0.1\" is no broadcast address, at cluster.paths[3].address; expected a broadcast address such as 10.0.0.255, or 255.255.255.255 for any network's",
        "12:14: \"unicast\" is not known, at cluster.paths[4].type; did you mean `multicast`? expected one of multicast, broadcast, serial",
    ]),
    ("  groups:", "  paths:\n    - {type: broadcast, interface: eth1}\n    - {type: broadcast, interface: eth1, address: 10.0.0.255}\n  groups:", &[
        "9:7: this path is here already, on line 8, at cluster.paths[1]; expected each path once: two on one wire fail together",
    ]),
    ("  groups:", "  paths: [{type: serial, device: /dev/ttyS0, baud: 9600}]\n  groups:", &[
        "7:52: a beat of 189 bytes takes 202ms on this line, and the dead time of 500ms has no room for 3, at cluster.paths[0].baud; expected a faster line, or a longer `deadtime`",
    ]),
    ("  groups:", "  voter: {name: one, address: 10.1.0.2}\n  groups:", &[
        "7:17: one is a node of the cluster, at cluster.voter.name; expected a third party: a director cannot break its own ties",
        "7:31: 10.1.0.2 is an address of two, at cluster.voter.address; expected the address of a third party: a director cannot break its own ties",
    ]),
    ("  groups:", "  keepalive: 200ms\n  groups:", &[
        "4:3: 500ms is too short for beats every 200ms: two lost ones would be a death, at cluster.deadtime; expected 600ms or more, or a shorter `keepalive`",
    ]),
    ("  groups:", "  keepalive: 5ms\n  deadtime: 2h\n  watchdog: 100ms\n  groups:", &[
        "7:14: \"5ms\" is out of range, at cluster.keepalive; expected a time from 10ms to 5m, such as 500ms, 2s or 1m",
        "8:13: \"2h\" is out of range, at cluster.deadtime; expected a time from 10ms to 1h, such as 500ms, 2s or 1m",
        "9:13: \"100ms\" is out of range, at cluster.watchdog; expected a time from 1s to 10m, such as 500ms, 2s or 1m",
    ]),
    ("  groups:", "  warntime: 50ms\n  initdead: 400ms\n  hold: 1s\n  groups:", &[
        "7:13: 50ms is shorter than the keepalive of 100ms: every beat would be late, at cluster.warntime; expected 100ms or more",
        "8:13: 400ms is shorter than the dead time of 500ms, at cluster.initdead; expected 500ms or more: a director that starts must have heard the others before it takes anything",
    ]),
    ("  groups:", "  deadtime: 20s\n  warntime: 30s\n  hold: 15s\n  groups:", &[
        "8:13: 30s is longer than the dead time of 20s: the warning would follow the death, at cluster.warntime; expected 20s or less",
        "9:9: 15s is shorter than the dead time of 20s, at cluster.hold; expected 20s or more: without a hold a director may be silent for as long",
    ]),
    ("  groups:", "  refresh: 10ms\n  groups:", &[
        "7:12: \"10ms\" is out of range, at cluster.refresh; expected a time from 1s to 1d, such as 500ms, 2s or 1m",
    ]),
    ("  groups:", "  auto_failback: yes\n  groups:", &[
        "7:18: found the text \"yes\", at cluster.auto_failback; expected `off`, `on` (at once), or a time from 0ms to 1d, such as 500ms, 2s or 1m",
    ]),
    ("  groups:", "  auto_failback: 2w\n  groups:", &[
        "7:18: found the text \"2w\", at cluster.auto_failback; expected a time from 0ms to 1d, such as 500ms, 2s or 1m",
    ]),
    ("  groups:", "  auto_failback: true\n  groups:", &[
        "7:18: found true, at cluster.auto_failback; expected `off`, `on` (at once), or a time from 0ms to 1d, such as 500ms, 2s or 1m",
    ]),
    ("  groups:", "  track: {interfaces: [eth0, eth0], gateways: [10.1.0.9, 10.1.0.9], files: [/a, b, /a], scripts: [{command: []}]}\n  groups:", &[
        "7:30: the same as on line 7, at cluster.track.interfaces[1]; expected each one once",
        "7:58: the same as on line 7, at cluster.track.gateways[1]; expected each one once",
        "7:81: \"b\" is no absolute path, at cluster.track.files[1]; expected a path that begins with a slash",
        "7:84: the same as on line 7, at cluster.track.files[2]; expected each one once",
        "7:109: an empty list, at cluster.track.scripts[0].command; expected a list of at least one item, each item text on one line, of 1 to 4096 bytes",
    ]),
    ("      addresses: [{address: 10.0.0.3, interface: eth0}]\n", "      addresses: []\n", &[
        "9:18: an empty list, at cluster.groups[0].addresses; expected a list of at least one item, each item a map with the keys address, prefix, interface, label",
    ]),
    ("    - name: www\n", "    - {name: www, addresses: [{address: 10.0.0.3, interface: eth0}]}\n    - name: www\n", &[
        "9:13: another group is called www, on line 8, at cluster.groups[1].name; expected a name of its own for each group",
        "10:29: 10.0.0.3 is in a group already, on line 8, at cluster.groups[1].addresses[0].address; expected each address once",
    ]),
    ("    - name: www\n", "    - name: www\n      order: [two, two]\n", &[
        "9:14: one missing, at cluster.groups[0].order; expected every node, so that each knows who is next",
        "9:20: two is here twice, first on line 9, at cluster.groups[0].order[1]; expected each node once",
    ]),
    ("    - name: www\n", "    - name: www\n      order: [two, three]\n", &[
        "9:14: one missing, at cluster.groups[0].order; expected every node, so that each knows who is next",
        "9:20: there is no node three, at cluster.groups[0].order[1]; expected one of the cluster's nodes",
    ]),
    ("    - name: www\n", "    - name: www\n      fence: {command: [/bin/fence], take_on_failure: maybe}\n      resources: [{command: [/bin/x], timeout: 1d}]\n", &[
        "9:55: found the text \"maybe\", at cluster.groups[0].fence.take_on_failure; expected true or false",
        "10:48: \"1d\" is out of range, at cluster.groups[0].resources[0].timeout; expected a time from 100ms to 1h, such as 500ms, 2s or 1m",
    ]),
    ("10.0.0.3, interface: eth0", "10.0.0.3, interface: eth1", &[
        "9:50: eth1 is none of the interfaces that lvsd works on, at cluster.groups[0].addresses[0].interface; expected one of `interfaces`",
    ]),
    ("10.0.0.3, interface: eth0", "10.0.0.3, prefix: 33, interface: eth0", &[
        "9:47: an IPv4 address has 32 bits, at cluster.groups[0].addresses[0].prefix; expected 32 or less",
    ]),
    ("10.0.0.3, interface: eth0", "10.0.0.3, interface: eth0, label: eth1:0", &[
        "9:63: eth1:0 does not begin with the interface's name, at cluster.groups[0].addresses[0].label; expected eth0, or eth0:0 for example",
    ]),
    ("10.0.0.3, interface: eth0", "10.0.0.3, interface: eth0, label: 'eth0:far-too-long'", &[
        "9:63: \"eth0:far-too-long\" is no label, at cluster.groups[0].addresses[0].label; expected the interface's name and what tells the address apart, such as eth0:0; up to 15 bytes",
    ]),
    ("interface: eth0}]", "interface: eth0}, {address: '2001:db8::3', interface: eth0, label: 'eth0:0'}]", &[
        "9:106: the kernel has labels for IPv4 addresses only, at cluster.groups[0].addresses[1].label; expected no label",
    ]),
    ("interface: eth0}]", "interface: eth0}, {address: 10.1.0.2, interface: eth0}]", &[
        "9:67: 10.1.0.2 is an address of two, which keeps it, at cluster.groups[0].addresses[1].address; expected an address that may move",
    ]),
    ("vip: 10.0.0.3", "vip: 10.0.0.4", &[
        "11:22: 10.0.0.4 is in no group of the cluster: every director would answer for it at once, at services[0].vip; expected one of the addresses in `cluster.groups`",
    ]),
];

/// A configuration with this cluster, every key spelled out.
fn written(cluster: &Cluster) -> String {
    let Cluster { node, nodes, voter, paths, port, key_file, timing, auto_failback, refresh, track, groups } =
        cluster;
    let mut text = String::from("version: 1\ninterfaces: [eth0, eth1]\nservices: []\ncluster:\n");
    let mut line = |part: String| {
        text.push_str("  ");
        text.push_str(&part);
        text.push('\n');
    };
    if let Some(node) = node {
        line(format!("node: {node}"));
    }
    line(format!("key_file: {key_file:?}\n  port: {port}"));
    line(format!(
        "nodes: [{}]",
        list(nodes, |node| format!("{{name: {}, addresses: {}}}", node.name, quoted(&node.addresses)))
    ));
    line(format!(
        "paths: [{}]",
        list(paths, |path| match path {
            HeartbeatPath::Multicast { interface, group, ttl } => {
                format!("{{type: multicast, interface: {interface}, group: \"{group}\", ttl: {ttl}}}")
            }
            HeartbeatPath::Broadcast { interface, address } => {
                format!("{{type: broadcast, interface: {interface}, address: {address}}}")
            }
            HeartbeatPath::Serial { device, baud } =>
                format!("{{type: serial, device: {device:?}, baud: {baud}}}"),
        })
    ));
    if let Some(Voter { name, address }) = voter {
        line(format!("voter: {{name: {name}, address: \"{}\", port: {}}}", address.ip(), address.port()));
    }
    let ClusterTiming { keepalive, warntime, deadtime, initdead, watchdog, hold } = timing;
    let times = [
        ("keepalive", keepalive),
        ("warntime", warntime),
        ("deadtime", deadtime),
        ("initdead", initdead),
        ("watchdog", watchdog),
        ("hold", hold),
    ];
    for (key, time) in times {
        line(format!("{key}: {}ms", time.as_millis()));
    }
    line(match auto_failback {
        Failback::Off => "auto_failback: off".to_owned(),
        Failback::After(time) => format!("auto_failback: {}ms", time.as_millis()),
    });
    if let Some(refresh) = refresh {
        line(format!("refresh: {}ms", refresh.as_millis()));
    }
    let Track { interfaces, gateways, scripts, files } = track;
    line(format!(
        "track: {{interfaces: {interfaces:?}, gateways: {}, files: {files:?}, scripts: [{}]}}",
        quoted(gateways),
        list(scripts, |TrackScript { command, interval, timeout }| {
            format!(
                "{{command: {command:?}, interval: {}ms, timeout: {}ms}}",
                interval.as_millis(),
                timeout.as_millis()
            )
        })
    ));
    line(format!(
        "groups: [{}]",
        list(groups, |Group { name, order, addresses, resources, fence }| {
            let addresses = list(addresses, |GroupAddress { address, prefix, interface, label }| {
                let label = label.as_ref().map_or_else(String::new, |label| format!(", label: \"{label}\""));
                format!("{{address: \"{address}\", prefix: {prefix}, interface: {interface}{label}}}")
            });
            let resources = list(resources, |Resource { command, timeout }| {
                format!("{{command: {command:?}, timeout: {}ms}}", timeout.as_millis())
            });
            let fence = fence.as_ref().map_or_else(String::new, |Fence { command, timeout, take_on_failure }| {
            format!(", fence: {{command: {command:?}, timeout: {}ms, take_on_failure: {take_on_failure}}}", timeout.as_millis())
        });
            format!(
                "{{name: {name}, order: {order:?}, addresses: [{addresses}], resources: [{resources}]{fence}}}"
            )
        })
    ));
    text
}

fn list<T>(items: &[T], written: impl Fn(&T) -> String) -> String {
    items.iter().map(written).collect::<Vec<_>>().join(", ")
}

fn quoted(addresses: &[IpAddr]) -> String {
    format!("[{}]", list(addresses, |address| format!("\"{address}\"")))
}

/// Milliseconds.
fn time(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

prop_compose! {
    fn timing()(keepalive in time(10..=300_000), beats in 3..12u32)(
        deadtime in Just(keepalive * beats),
        warntime in time(keepalive.as_millis() as u64..=(keepalive * beats).as_millis() as u64),
        initdead in time((keepalive * beats).as_millis() as u64..=3_600_000),
        watchdog in time(1_000..=600_000),
        hold in time((keepalive * beats).as_millis().max(1_000) as u64..=3_600_000),
        keepalive in Just(keepalive),
    ) -> ClusterTiming {
        ClusterTiming { keepalive, warntime, deadtime, initdead, watchdog, hold }
    }
}

fn command() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[/a-z0-9 .-]{1,12}", 1..4)
}

fn path(number: usize) -> impl Strategy<Value = HeartbeatPath> {
    prop_oneof![
        (select(vec!["239.255.42.99", "ff02::4:2"]), 1u8..).prop_map(move |(group, ttl)| {
            HeartbeatPath::Multicast { interface: format!("eth{number}"), group: address(group), ttl }
        }),
        select(vec!["255.255.255.255", "10.1.255.255"]).prop_map(move |text| HeartbeatPath::Broadcast {
            interface: format!("eth{number}"),
            address: text.parse().unwrap(),
        }),
        select(vec![9_600, 19_200, 115_200]).prop_map(move |baud| HeartbeatPath::Serial {
            device: format!("/dev/ttyS{number}").into(),
            baud
        }),
    ]
}

/// `number` tells its name and addresses from those of others.
fn group(number: u16, nodes: Vec<String>) -> impl Strategy<Value = Group> {
    let address = |number, index| {
        (any::<bool>(), 1..=32u8, select(vec!["eth0", "eth1"]), any::<bool>()).prop_map(
            move |(v6, prefix, interface, labelled)| GroupAddress {
                address: numbered(v6, true, number * 16 + index),
                prefix,
                interface: interface.to_owned(),
                label: (labelled && !v6).then(|| format!("{interface}:{index}")),
            },
        )
    };
    let addresses = (1..4u16)
        .prop_flat_map(move |count| (0..count).map(|index| address(number, index)).collect::<Vec<_>>());
    let timeout = || time(100..=3_600_000);
    let resource = (command(), timeout()).prop_map(|(command, timeout)| Resource { command, timeout });
    let fence = (command(), timeout(), any::<bool>()).prop_map(|(command, timeout, take_on_failure)| Fence {
        command,
        timeout,
        take_on_failure,
    });
    (Just(nodes).prop_shuffle(), addresses, prop::collection::vec(resource, 0..3), prop::option::of(fence))
        .prop_map(move |(order, addresses, resources, fence)| Group {
            name: format!("g{number}"),
            order,
            addresses,
            resources,
            fence,
        })
}

fn track() -> impl Strategy<Value = Track> {
    let script = (command(), time(50..=86_400_000), time(100..=3_600_000))
        .prop_map(|(command, interval, timeout)| TrackScript { command, interval, timeout });
    (0..3usize, 0..3u16, prop::collection::vec(script, 0..3), 0..3u16).prop_map(
        |(interfaces, gateways, scripts, files)| Track {
            interfaces: (0..interfaces).map(|number| format!("eth{number}")).collect(),
            gateways: (0..gateways).map(|number| numbered(number % 2 == 0, false, 900 + number)).collect(),
            scripts,
            files: (0..files).map(|number| format!("/run/file{number}").into()).collect(),
        },
    )
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let shape = (
        2..=8usize,
        prop::collection::vec(any::<bool>(), 0..4),
        0..4usize,
        prop_oneof![15 => 1..=3u16, 1 => Just(16)],
    );
    shape
        .prop_flat_map(|(count, versions, paths, groups)| {
            let nodes: Vec<Node> = (0..count)
                .map(|number| Node {
                    name: format!("director-{number}.example"),
                    addresses: versions
                        .iter()
                        .enumerate()
                        .map(|(position, v6)| numbered(*v6, false, (number * 8 + position) as u16))
                        .collect(),
                })
                .collect();
            let names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
            let has_addresses = !versions.is_empty();
            let paths = (0..paths).map(path).collect::<Vec<_>>().prop_map(move |mut paths| {
                if !has_addresses {
                    let address = "255.255.255.255".parse().unwrap();
                    paths.push(HeartbeatPath::Broadcast { interface: "wire".to_owned(), address });
                }
                paths
            });
            let voter = (any::<bool>(), 1u16..).prop_map(|(v6, port)| Voter {
                name: "witness".to_owned(),
                address: SocketAddr::new(numbered(v6, false, 999), port),
            });
            (
                prop::option::of(select(names.clone())),
                Just(nodes),
                prop::option::of(voter),
                paths,
                1u16..,
                "/[a-z./]{0,20}",
                timing(),
                prop_oneof![Just(Failback::Off), time(0..=86_400_000).prop_map(Failback::After)],
                prop::option::of(time(1_000..=86_400_000)),
                track(),
                (0..groups).map(|number| group(number, names.clone())).collect::<Vec<_>>(),
            )
        })
        .prop_map(
            |(node, nodes, voter, paths, port, key_file, timing, auto_failback, refresh, track, groups)| {
                Cluster {
                    node,
                    nodes,
                    voter,
                    paths,
                    port,
                    key_file: key_file.into(),
                    timing,
                    auto_failback,
                    refresh,
                    track,
                    groups,
                }
            },
        )
}

fn is_about_capacity(mistake: &Mistake) -> bool {
    mistake.to_string().contains("on this line, and the dead time")
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(cluster in cluster()) {
        let text = written(&cluster);
        match parse(&text, "lvs.yaml") {
            Ok(read) => prop_assert_eq!(read.cluster.as_deref(), Some(&cluster)),
            // What a line can carry depends on all the rest.
            Err(diagnostics) if diagnostics.mistakes.iter().all(is_about_capacity) => {}
            Err(mistakes) => prop_assert!(false, "{}\n{}", mistakes, text),
        }
    }
}
