//! Who gets a new flow.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::flow::{FlowKey, hash_address, slot_of};
use lvs_tests::packet::frame::{Ip, Mac, number};
use lvs_tests::packet::{Expect, Side, Verdict, World, mac};

use crate::traffic::*;

use Side::Front;

/// `count` dr servers on the clients' link; `weight` gives each its own.
fn pool(count: u16, weight: impl Fn(u16) -> u32) -> String {
    let entry = |index: u16| format!("{{address: \"{}\", weight: {}}}", server(index), weight(index));
    format!("real_servers: [{}]", (0..count).map(entry).collect::<Vec<_>>().join(", "))
}

/// IPv6, where there is room for many on one link.
fn server(index: u16) -> String {
    format!("2001:db8::1:{:x}", index + 1)
}

fn server_by_mac(count: u16) -> BTreeMap<Mac, u16> {
    (0..count).map(|index| (mac(&server(index)), index)).collect()
}

/// Sends what begins a flow, and tells which server got it.
fn sent_to(world: &World, servers: &BTreeMap<Mac, u16>, protocol: u8, ports: (u16, u16)) -> u16 {
    let (verdict, frame) = run(world, &opening(protocol, &V6.request(), ports, b""));
    assert_eq!(verdict, Verdict::Transmit, "ports {ports:?}");
    servers[&frame[..6]]
}

fn run(world: &World, packet: &[u8]) -> (Verdict, Vec<u8>) {
    world.only_run(Front, &FROM_CLIENT.frame(packet))
}

#[test]
fn rr_takes_them_in_turn() {
    for (protocol, number) in PROTOCOLS {
        let rest = format!("scheduler: rr, {}", pool(5, |index| if index == 3 { 0 } else { 7 }));
        let mut world = World::new(&service("rr", V6.vip, 80, protocol, &rest));
        let servers = server_by_mac(5);
        let found: Vec<u16> =
            (0..40).map(|port| sent_to(&world, &servers, number, (5000 + port, 80))).collect();
        // Without the one of weight 0.
        let expected: Vec<u16> = [0, 1, 2, 4].into_iter().cycle().take(40).collect();
        world.equal(&format!("{protocol}: the order of 40 flows"), found, expected);
        let again: Vec<u16> =
            (0..40).map(|port| sent_to(&world, &servers, number, (5000 + port, 80))).collect();
        let expected: Vec<u16> = [0, 1, 2, 4].into_iter().cycle().take(40).collect();
        world.equal(&format!("{protocol}: the same flows again"), again, expected);
    }
}

#[test]
fn wrr_gives_shares_by_weight() {
    let weights = [5, 3, 0, 2];
    let rest = format!("scheduler: wrr, {}", pool(4, |index| weights[usize::from(index)]));
    let mut world = World::new(&service("wrr", V6.vip, 80, "tcp", &rest));
    let servers = server_by_mac(4);
    let mut found = [0_u32; 4];
    let order: Vec<u16> =
        (0..100).map(|port| sent_to(&world, &servers, number::TCP, (5000 + port, 80))).collect();
    for index in &order {
        found[usize::from(*index)] += 1;
    }
    world.equal("shares of 100 flows", found, [50, 30, 0, 20]);
    // Interleaved: no server gets its whole share of a round at once.
    let longest = order.chunk_by(|left, right| left == right).map(<[u16]>::len).max();
    world.check("interleaved", longest <= Some(2), || format!("{order:?}"));
}

/// The fewest connections, a closing one counting 1 where a live one counts 256.
#[test]
fn lc_finds_the_least_loaded_of_a_thousand() {
    const COUNT: u16 = 1000;
    let rest = format!("scheduler: lc, {}", pool(COUNT, |_| 1));
    let limits = "connections: 4096, embryonic: 4096, destinations: 2048";
    let mut world = World::with_limits(&service("lc", V6.vip, 80, "tcp", &rest), limits);
    let servers = server_by_mac(COUNT);
    let ip = V6.request();
    let mut holds = BTreeMap::new();
    for port in 0..COUNT {
        holds.insert(sent_to(&world, &servers, number::TCP, (5000 + port, 80)), 5000 + port);
        run(&world, &ip.tcp_packet(&ack(5000 + port, 80), b""));
    }
    world.equal("one connection for each", holds.len(), usize::from(COUNT));
    for (step, index) in [999, 0, 500, 16, 15].into_iter().enumerate() {
        let mut reset = ack(holds[&index], 80);
        reset.flags = 0x04;
        run(&world, &ip.tcp_packet(&reset, b""));
        let port = 30_000 + step as u16;
        let found = sent_to(&world, &servers, number::TCP, (port, 80));
        world.equal(&format!("server {index} has lost its connection"), found, index);
        // From now on it has one live and one closing: all the others come first.
    }
    let next = sent_to(&world, &servers, number::TCP, (40_000, 80));
    world.equal("the first of equals", next, 1);
}

#[test]
fn wlc_divides_by_weight() {
    const COUNT: u16 = 1000;
    // One of weight 50, the others 1 and every tenth 0.
    let weight = |index: u16| if index == 777 { 50 } else { u32::from(!index.is_multiple_of(10)) };
    let rest = format!("scheduler: wlc, {}", pool(COUNT, weight));
    let limits = "connections: 4096, embryonic: 4096, destinations: 2048";
    let mut world = World::with_limits(&service("wlc", V6.vip, 80, "tcp", &rest), limits);
    let servers = server_by_mac(COUNT);
    let takers: u32 = (0..COUNT).map(|index| u32::from(weight(index) > 0)).sum();
    // Each of weight 1 gets one, and the heavy one 50, before any gets its second (51st).
    let flows = takers - 1 + 50;
    let mut found = BTreeMap::new();
    for port in 0..flows {
        let index = sent_to(&world, &servers, number::TCP, (5000 + port as u16, 80));
        *found.entry(index).or_insert(0_u32) += 1;
    }
    for (index, flows) in found {
        world.equal(&format!("flows of server {index}"), flows, weight(index));
    }
}

#[test]
fn lc_and_wlc_take_udp_flows_as_inactive_connections() {
    for scheduler in ["lc", "wlc"] {
        let rest = format!("scheduler: {scheduler}, {}", pool(3, |_| 1));
        let mut world = World::new(&service(scheduler, V6.vip, 80, "udp", &rest));
        let servers = server_by_mac(3);
        let found: Vec<u16> =
            (0..9).map(|port| sent_to(&world, &servers, number::UDP, (5000 + port, 80))).collect();
        world.equal(&format!("{scheduler}: nine flows"), found, vec![0, 1, 2, 0, 1, 2, 0, 1, 2]);
        let same = sent_to(&world, &servers, number::UDP, (5001, 80));
        world.equal(&format!("{scheduler}: a flow that is known"), same, 1);
    }
}

/// A client of its own for each number.
fn client(index: u16) -> Ip {
    Ip::new(&format!("2001:db8:9::{:x}", index + 1), V6.vip)
}

/// The hash and the ring of the snapshot name the server; packets go there.
#[test]
fn sh_dh_and_mh_follow_the_ring() {
    for scheduler in ["sh", "dh", "mh"] {
        for (protocol, number) in PROTOCOLS {
            let rest = format!("scheduler: {scheduler}, {}", pool(7, |index| u32::from(index) + 1));
            let mut world = World::new(&service(scheduler, V6.vip, 0, protocol, &rest));
            let installed = world.service(V6.vip, 0, number);
            let ring = world.ring(&installed);
            world.equal(&format!("{scheduler} slots"), ring.len() as u32, installed.ring_slots);
            let positions: Vec<IpAddr> = (0..installed.member_count)
                .map(|position| world.member(&installed, position as u16))
                .collect();
            for index in 0..200 {
                let ip = client(index % 50);
                let ports = (4000 + index * 2, 80 + index % 3);
                let (source, destination) = (Address::from(ip.source), Address::from(ip.destination));
                let hash = match scheduler {
                    "sh" => hash_address(&source),
                    "dh" => hash_address(&destination),
                    _ => FlowKey::new(source, ports.0, destination, ports.1, number).hash(),
                };
                let slot = ring[slot_of(hash, installed.ring_slots) as usize];
                let server = positions[usize::from(slot.current())].to_string();
                let sent = FROM_CLIENT.frame(&opening(number, &ip, ports, b""));
                let left = link_to(Front, &server).frame(&opening(number, &ip, ports, b""));
                world.row(
                    &format!("{scheduler} {protocol} flow {index}"),
                    Front,
                    &sent,
                    &Expect::Out(Front, left),
                );
            }
        }
    }
}

#[test]
fn sh_keeps_a_client_and_dh_keeps_an_address() {
    let rest = |scheduler: &str| format!("scheduler: {scheduler}, {}", pool(7, |_| 1));
    let services =
        service("sh", V6.vip, 80, "tcp", &rest("sh")) + &service("dh", V6.vip, 81, "tcp", &rest("dh"));
    let mut world = World::new(&services);
    let servers = server_by_mac(7);
    let by = |world: &World, ip: &Ip, ports: (u16, u16)| {
        servers[&run(world, &ip.tcp_packet(&syn(ports.0, ports.1), b"")).1[..6]]
    };
    let mut used = BTreeMap::new();
    for index in 0..30 {
        let first = by(&world, &client(index), (4000, 80));
        used.insert(first, ());
        let same = (4001..4010).all(|port| by(&world, &client(index), (port, 80)) == first);
        world.check(&format!("sh: client {index} stays"), same, || format!("at {first}"));
    }
    world.check("sh: clients are spread", used.len() >= 5, || format!("{used:?}"));
    let all: BTreeMap<u16, ()> = (0..30).map(|index| (by(&world, &client(index), (4000, 81)), ())).collect();
    world.equal("dh: one address, one server", all.len(), 1);
}

/// Everyone's weight is 0: no new flow, and those that are there go on.
#[test]
fn weight_0_takes_no_new_flow() {
    for scheduler in ["rr", "wrr", "lc", "wlc", "sh", "dh", "mh"] {
        let rest = |weight| format!("scheduler: {scheduler}, track: always, {}", pool(2, |_| weight));
        let mut world = World::new(&service("drained", V6.vip, 80, "tcp", &rest(1)));
        let ip = V6.request();
        let servers = server_by_mac(2);
        let before = sent_to(&world, &servers, number::TCP, (4000, 80));
        world.reload(&service("drained", V6.vip, 80, "tcp", &rest(0)));
        let (_, frame) = run(&world, &ip.tcp_packet(&ack(4000, 80), b""));
        world.equal(&format!("{scheduler}: an old flow goes on"), servers.get(&frame[..6]), Some(&before));
        world.forget();
        let outcome = world.run(Front, &FROM_CLIENT.frame(&ip.tcp_packet(&syn(4001, 80), b"")));
        let name = format!("{scheduler}: a new flow is refused");
        world.check(&name, outcome.has(Cause::Refused), || format!("{:?}", outcome.causes));
    }
}
