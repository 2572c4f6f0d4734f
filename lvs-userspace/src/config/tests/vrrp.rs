//! Virtual routers: what is read, and what is said about mistakes.

use super::mistakes::said;
use super::model::{GroupAddress, VrrpInstance, VrrpVersion};
use super::*;

fn file(vrrp: &str) -> String {
    format!(
        "version: 1
interfaces: [eth0]
vrrp:
{vrrp}
services:
  - name: www
    vip: 10.0.0.3
    port: 80
    protocol: tcp
    real_servers: [{{address: 192.168.0.1}}]
"
    )
}

#[test]
fn virtual_routers_are_read() {
    let text = file(
        "  - {name: four, interface: eth0, router_id: 51, addresses: [{address: 10.0.0.3}]}
  - name: six
    interface: eth0
    router_id: 51
    priority: 255
    preempt: false
    preempt_delay: 5m
    advert_interval: 10ms
    unicast_peers: ['fe80::2']
    source_address: fe80::1
    addresses: [{address: 'fe80::51'}, {address: '2001:db8::3', prefix: 64}]
  - {name: old, version: 2, interface: eth0, router_id: 1, addresses: [{address: 10.0.0.4}], advert_interval: 3}",
    );
    let [four, six, old] = parse(&text, "lvs.yaml").unwrap().vrrp.try_into().unwrap();
    let own = |text: &str, prefix| {
        let interface = "eth0".to_owned();
        GroupAddress { address: address(text), prefix, interface, label: None }
    };
    let expected = VrrpInstance {
        name: "four".to_owned(),
        interface: "eth0".to_owned(),
        router_id: 51,
        version: VrrpVersion::V3,
        priority: 100,
        preempt: true,
        preempt_delay: Duration::ZERO,
        advert_interval: second(1),
        unicast_peers: Vec::new(),
        source_address: None,
        virtual_mac: false,
        addresses: vec![own("10.0.0.3", 32)],
    };
    assert_eq!(four, expected);
    let expected = VrrpInstance {
        name: "six".to_owned(),
        priority: 255,
        preempt: false,
        preempt_delay: second(300),
        advert_interval: Duration::from_millis(10),
        unicast_peers: vec![address("fe80::2")],
        source_address: Some(address("fe80::1")),
        addresses: vec![own("fe80::51", 128), own("2001:db8::3", 64)],
        ..expected
    };
    assert_eq!(six, expected);
    assert_eq!((old.version, old.advert_interval), (VrrpVersion::V2, second(3)));
    assert_eq!(parse(&file("  []"), "lvs.yaml").unwrap().vrrp, []);
    let at_virtual_macs = file(
        "  - {name: four, interface: eth0, router_id: 51, virtual_mac: true, addresses: [{address: 10.0.0.3}]}
  - {name: six, interface: eth0, router_id: 255, virtual_mac: true, addresses: [{address: '2001:db8::3'}]}",
    );
    let routers = parse(&at_virtual_macs, "lvs.yaml").unwrap().vrrp;
    let interfaces: Vec<_> = routers.iter().map(|router| router.addresses[0].interface.as_str()).collect();
    assert_eq!(interfaces, ["vmac4.51", "vmac6.255"]);
    assert!(routers.iter().all(|router| router.virtual_mac && router.interface == "eth0"));
}

#[test]
fn mistakes_in_virtual_routers_are_told_at_their_place() {
    let wrong: Vec<_> = ROWS
        .iter()
        .map(|(vrrp, expected)| (vrrp, said(&file(vrrp)), expected))
        .filter(|(_, said, expected)| said != *expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[rustfmt::skip]
const ROWS: &[(&str, &[&str])] = &[
    ("  - {name: a, interface: eth0, router_id: 51, virtual_mac: true, unicast_peers: [10.0.0.2], addresses: [{address: 10.0.0.3}]}", &[
        "4:60: a virtual MAC is told by multicast, and `unicast_peers` has addresses, at vrrp[0].virtual_mac; expected one of `virtual_mac` and `unicast_peers`",
    ]),
    ("  - {name: a, interface: eth0, router_id: 51, virtual_mac: true, addresses: [{address: 10.0.0.3}]}\n  - {name: b, interface: eth1, router_id: 51, virtual_mac: true, addresses: [{address: 10.0.0.4}]}", &[
        "5:26: eth1 is none of the interfaces that lvsd works on, at vrrp[1].interface; expected one of `interfaces`",
        "5:60: router 51 has a virtual MAC on another interface, on line 4, at vrrp[1].virtual_mac; expected each `router_id` with a virtual MAC once for a family",
    ]),
    ("  - {name: a, interface: eth1, router_id: 0, addresses: []}", &[
        "4:26: eth1 is none of the interfaces that lvsd works on, at vrrp[0].interface; expected one of `interfaces`",
        "4:43: 0 is out of range, at vrrp[0].router_id; expected a whole number from 1 to 255",
        "4:57: an empty list, at vrrp[0].addresses; expected a list of at least one item, each item a map with the keys address, prefix",
    ]),
    ("  - {name: a, interface: eth0, router_id: 1, addresses: [{address: 10.0.0.3}]}\n  - {name: a, interface: eth0, router_id: 1, addresses: [{address: 10.0.0.3, prefix: 33}]}", &[
        "5:12: another virtual router is called a, on line 4, at vrrp[1].name; expected a name of its own for each virtual router",
        "5:43: router 1 is on eth0 already, on line 4, at vrrp[1].router_id; expected each number once for an interface and a family",
        "5:68: 10.0.0.3 is in a virtual router already, on line 4, at vrrp[1].addresses[0].address; expected each address once",
        "5:86: an IPv4 address has 32 bits, at vrrp[1].addresses[0].prefix; expected 32 or less",
    ]),
    ("  - {name: a, interface: eth0, router_id: 1, addresses: [{address: 10.0.0.3}, {address: '2001:db8::3'}], unicast_peers: ['fe80::2'], source_address: 'fe80::1'}", &[
        "4:89: 2001:db8::3 is an IPv6 address, and 10.0.0.3 is not, at vrrp[0].addresses[1].address; expected a virtual router for each family",
        "4:122: fe80::2 is an IPv6 address, and 10.0.0.3 is not, at vrrp[0].unicast_peers[0]; expected a virtual router for each family",
        "4:150: fe80::1 is an IPv6 address, and 10.0.0.3 is not, at vrrp[0].source_address; expected a virtual router for each family",
    ]),
    ("  - {name: a, interface: eth0, router_id: 1, addresses: [{address: 10.0.0.3}], version: 2, advert_interval: 1500ms}", &[
        "4:109: version 2 of VRRP counts whole seconds, at vrrp[0].advert_interval; expected 1s to 255s, or `version: 3`",
    ]),
    ("  - {name: a, interface: eth0, router_id: 1, addresses: [{address: 10.0.0.3}], advert_interval: 1m}", &[
        "4:97: version 3 of VRRP counts hundredths of a second, up to 4095 of them, at vrrp[0].advert_interval; expected 10ms to 40950ms, in steps of 10ms",
    ]),
    ("  - {name: a, interface: eth0, router_id: 1, addresses: [{address: 'fe80::3'}], version: 2}", &[
        "4:90: version 2 of VRRP knows no IPv6, at vrrp[0].version; expected 3",
        "7:10: 10.0.0.3 is in no virtual router: every director would answer for it at once, at services[0].vip; expected one of the `addresses` in `vrrp`",
    ]),
    ("  - {name: a, interface: eth0, router_id: 1, addresses: [{address: 10.0.0.3}]}\ncluster:\n  nodes: []", &[
        "4:3: both a cluster and virtual routers would move addresses, at vrrp; expected one of `cluster` and `vrrp`",
        "6:3: missing key `groups`, at cluster; expected a list of at least one item, each item a map with the keys name, order, addresses, resources, fence",
        "6:10: an empty list, at cluster.nodes; expected a list of at least 2 items, each item a map with the keys name, addresses",
    ]),
    ("  - {name: a, interface: eth0, router_id: 1, addresses: [{address: 10.0.0.3}, {address: 127.0.0.1}]}", &[
        "4:89: 127.0.0.1 is a loopback address, at vrrp[0].addresses[1].address; expected an address of one machine",
    ]),
];
