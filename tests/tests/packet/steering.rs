//! The ring and the table: who answers for a flow, and what is stored of it.

use std::net::IpAddr;

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::flow::{FlowKey, slot_of};
use lvs_common::ring::Slot;
use lvs_common::service::Service;
use lvs_common::tcp_state::state;
use lvs_tests::packet::frame::{Tcp, number, tcp_flag};
use lvs_tests::packet::{Outcome, Side, World, mac};

use crate::traffic::*;

use Side::Front;

const SERVERS: [&str; 3] = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];

fn mh(protocol: &str, pool: &[&str]) -> String {
    service("mh", V4.vip, 80, protocol, &servers(pool))
}

fn send(world: &mut World, protocol: u8, port: u16, flags: u8) -> Outcome {
    let ip = V4.request();
    let packet = if protocol == number::TCP {
        ip.tcp_packet(&Tcp::new(port, 80, flags), b"")
    } else {
        ip.udp_packet((port, 80), b"")
    };
    world.run(Front, &FROM_CLIENT.frame(&packet))
}

fn server_of(outcome: &Outcome) -> Option<&'static str> {
    SERVERS.into_iter().find(|server| outcome.frame.starts_with(&mac(server)))
}

fn begun(outcome: &Outcome) -> u64 {
    outcome.counters.values().map(|counters| counters.connections).sum()
}

/// A service's ring, and the flow of a client's port in it.
struct Ring {
    service: Service,
    slots: Vec<Slot>,
    servers: Vec<String>,
    protocol: u8,
}

impl Ring {
    fn of(world: &World, protocol: u8) -> Self {
        let service = world.service(V4.vip, 80, protocol);
        let position = |position| world.member(&service, position as u16).to_string();
        let servers = (0..service.member_count).map(position).collect();
        Self { service, slots: world.ring(&service), servers, protocol }
    }

    fn slot(&self, port: u16) -> Slot {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().expect("an address"));
        let key = FlowKey::new(address(V4.client), port, address(V4.vip), 80, self.protocol);
        self.slots[slot_of(key.hash(), self.service.ring_slots) as usize]
    }

    /// The holders of a new flow and of one without an entry.
    fn holders(&self, port: u16) -> (&str, &str) {
        let slot = self.slot(port);
        (&self.servers[usize::from(slot.current())], &self.servers[usize::from(slot.base())])
    }

    /// The first `count` ports from `first` on whose slot is one of these.
    fn ports(&self, first: u16, count: usize, wanted: impl Fn(Slot) -> bool) -> Vec<u16> {
        let ports: Vec<u16> = (first..u16::MAX).filter(|port| wanted(self.slot(*port))).take(count).collect();
        assert_eq!(ports.len(), count, "flows of this kind");
        ports
    }
}

#[test]
fn where_the_ring_answers_alone_nothing_is_stored() {
    for (protocol, number) in PROTOCOLS {
        let mut world = World::new(&mh(protocol, &SERVERS));
        for port in 10_000..14_000 {
            let flags = if port % 3 == 0 { tcp_flag::ACK } else { tcp_flag::SYN };
            let ip = V4.request();
            let packet = if number == number::TCP {
                ip.tcp_packet(&Tcp::new(port, 80, flags), b"")
            } else {
                ip.udp_packet((port, 80), b"")
            };
            world.only_run(Front, &FROM_CLIENT.frame(&packet));
        }
        let stored = world.connections().len() + world.returns().len();
        world.equal(&format!("{protocol}: entries after 4000 flows"), stored, 0);
        for server in SERVERS {
            let load = world.load(world.destination(server));
            world.equal(&format!("{protocol}: counts of {server}"), (load.active, load.inactive), (0, 0));
        }
        let expected = u64::from(number == number::TCP);
        world.forget();
        let outcome = send(&mut world, number, 4000, tcp_flag::SYN);
        world.equal(&format!("{protocol}: what begins a flow"), begun(&outcome), expected);
        let outcome = send(&mut world, number, 4000, tcp_flag::ACK);
        world.equal(&format!("{protocol}: what goes on"), begun(&outcome), 0);
    }
}

#[test]
fn always_tracked_services_store_what_the_ring_would_answer() {
    for (protocol, number) in PROTOCOLS {
        let rest = format!("track: always, {}", servers(&SERVERS));
        let mut world = World::new(&service("tracked", V4.vip, 80, protocol, &rest));
        send(&mut world, number, 4000, tcp_flag::SYN);
        let (connection, embryonic) = world.connection();
        let expected = if number == number::TCP { "SYN_RECV" } else { "UDP" };
        world.equal(protocol, (state::name(connection.state), embryonic), (expected, true));
        // A flow that was there before: it is adopted by the ring's holder.
        if number == number::TCP {
            let ring = Ring::of(&world, number);
            let outcome = send(&mut world, number, 4001, tcp_flag::ACK);
            world.equal("an old flow", server_of(&outcome), Some(ring.holders(4001).1));
            let entries = world.connections().len();
            world.equal("is stored", entries, 2);
        }
    }
}

/// A third server comes: some slots are dual.
#[test]
fn tcp_in_dual_slots() {
    let mut world = World::new(&mh("tcp", &SERVERS[..2]));
    let before = Ring::of(&world, number::TCP);
    world.reload(&mh("tcp", &SERVERS));
    let ring = Ring::of(&world, number::TCP);
    let dual = ring.ports(5000, 30, |slot| slot.is_dual());
    let (old, new) = dual.split_at(15);
    for &port in old {
        let holder = before.holders(port).1.to_owned();
        world.equal(
            &format!("port {port}: base is the former holder"),
            ring.holders(port).1.to_owned(),
            holder.clone(),
        );
        let outcome = send(&mut world, number::TCP, port, tcp_flag::ACK);
        world.equal(&format!("port {port}: an old flow stays"), server_of(&outcome), Some(holder.as_str()));
        world.equal(&format!("port {port}: and does not begin"), begun(&outcome), 0);
    }
    let low = world.connections();
    world.equal("old flows are known now", low.len(), old.len());
    world.check("by entries that a flood may evict", low.iter().all(|(.., embryonic)| *embryonic), || {
        format!("{low:?}")
    });
    for &port in new {
        let current = ring.holders(port).0.to_owned();
        let outcome = send(&mut world, number::TCP, port, tcp_flag::SYN);
        world.equal(&format!("port {port}: a new flow"), server_of(&outcome), Some(current.as_str()));
        world.equal(&format!("port {port}: begins"), begun(&outcome), 1);
        let outcome = send(&mut world, number::TCP, port, tcp_flag::ACK);
        world.equal(
            &format!("port {port}: its entry wins over base"),
            server_of(&outcome),
            Some(current.as_str()),
        );
    }
    let entries = world.connections().len();
    world.equal("one entry for each", entries, dual.len());
    let single = ring.ports(20_000, 15, |slot| !slot.consults_table());
    for &port in &single {
        send(&mut world, number::TCP, port, tcp_flag::SYN);
        let outcome = send(&mut world, number::TCP, port, tcp_flag::ACK);
        let holder = ring.holders(port).0.to_owned();
        world.equal(&format!("port {port}: a single slot"), server_of(&outcome), Some(holder.as_str()));
    }
    let entries = world.connections().len();
    world.equal("single slots store nothing", entries, dual.len());

    // All slots retire. Whoever is known stays, whoever is not follows the ring.
    world.tick(3600);
    let after = Ring::of(&world, number::TCP);
    let still_dual = after.slots.iter().filter(|slot| slot.is_dual()).count();
    world.equal("no slot is dual any more", still_dual, 0);
    for &port in old {
        let holder = before.holders(port).1.to_owned();
        let outcome = send(&mut world, number::TCP, port, tcp_flag::ACK);
        world.equal(
            &format!("port {port}: after the slot retired"),
            server_of(&outcome),
            Some(holder.as_str()),
        );
    }
    let unknown = after.ports(40_000, 10, |slot| slot.is_unsettled());
    let entries = world.connections().len();
    for &port in &unknown {
        let current = after.holders(port).0.to_owned();
        for flags in [tcp_flag::ACK, tcp_flag::SYN] {
            let outcome = send(&mut world, number::TCP, port, flags);
            world.equal(
                &format!("port {port}: in a retired slot"),
                server_of(&outcome),
                Some(current.as_str()),
            );
        }
    }
    let now = world.connections().len();
    world.equal("retired slots store nothing", now, entries);
}

#[test]
fn udp_in_dual_slots() {
    let mut world = World::new(&mh("udp", &SERVERS[..2]));
    world.reload(&mh("udp", &SERVERS));
    let ring = Ring::of(&world, number::UDP);
    let dual = ring.ports(5000, 20, |slot| slot.is_dual());
    for &port in &dual {
        let current = ring.holders(port).0.to_owned();
        let outcome = send(&mut world, number::UDP, port, 0);
        world.equal(&format!("port {port}: without an entry"), server_of(&outcome), Some(current.as_str()));
        world.equal(&format!("port {port}: begins"), begun(&outcome), 1);
        let outcome = send(&mut world, number::UDP, port, 0);
        world.equal(&format!("port {port}: with an entry"), server_of(&outcome), Some(current.as_str()));
        world.equal(&format!("port {port}: goes on"), begun(&outcome), 0);
    }
    let entries = world.connections().len();
    world.equal("one entry for each", entries, dual.len());
    // Back again, while the slots are dual: the entries win over the ring.
    world.reload(&mh("udp", &SERVERS[..2]));
    world.reload(&mh("udp", &SERVERS));
    world.tick(3600);
    let after = Ring::of(&world, number::UDP);
    let unknown = after.ports(40_000, 10, |slot| slot.is_unsettled() && !slot.is_dual());
    for &port in &unknown {
        for _ in 0..2 {
            // Nothing is stored here, so nothing can tell a first packet from a later one.
            let outcome = send(&mut world, number::UDP, port, 0);
            world.equal(&format!("port {port}: in a retired slot nothing begins"), begun(&outcome), 0);
        }
    }
    let now = world.connections().len();
    world.equal("and nothing is stored", now, entries);
}

/// Weight 0 drains: old flows stay, new ones go elsewhere; undrained, all as before.
#[test]
fn drain_and_undrain() {
    let weights = |first: u32| {
        let rest = format!(
            "real_servers: [{{address: {}, weight: {first}}}, {{address: {}}}, {{address: {}}}]",
            SERVERS[0], SERVERS[1], SERVERS[2]
        );
        service("mh", V4.vip, 80, "tcp", &rest)
    };
    let mut world = World::new(&weights(1));
    let before = Ring::of(&world, number::TCP);
    let flows = before.ports(5000, 20, |slot| before.servers[usize::from(slot.current())] == SERVERS[0]);
    world.reload(&weights(0));
    for &port in &flows {
        let outcome = send(&mut world, number::TCP, port, tcp_flag::ACK);
        world.equal(&format!("port {port}: drained, an old flow"), server_of(&outcome), Some(SERVERS[0]));
    }
    let ring = Ring::of(&world, number::TCP);
    let fresh = ring.ports(30_000, 20, |slot| slot.is_dual());
    for &port in &fresh {
        let outcome = send(&mut world, number::TCP, port, tcp_flag::SYN);
        let server = server_of(&outcome);
        world.check(
            &format!("port {port}: drained, a new flow"),
            server.is_some_and(|server| server != SERVERS[0]),
            || format!("{server:?}"),
        );
    }
    let drained: Vec<_> = fresh.iter().map(|port| ring.holders(*port).0.to_owned()).collect();
    world.reload(&weights(1));
    for &port in &flows {
        let outcome = send(&mut world, number::TCP, port, tcp_flag::ACK);
        world.equal(&format!("port {port}: undrained, an old flow"), server_of(&outcome), Some(SERVERS[0]));
    }
    for (&port, holder) in fresh.iter().zip(drained) {
        let outcome = send(&mut world, number::TCP, port, tcp_flag::ACK);
        world.equal(
            &format!("port {port}: undrained, a newer flow"),
            server_of(&outcome),
            Some(holder.as_str()),
        );
    }
}

/// Nobody takes new flows, and the ring says so at once: they are refused. (Before this row was here, the plain
/// path sent them to whatever stood behind the last member.)
#[test]
fn nobody_is_left_to_take_new_flows() {
    let pool = |first: &str, weight: u32| {
        let rest = format!(
            "real_servers: [{first}{{address: {}, weight: {weight}}}, {{address: {}, weight: 0}}]",
            SERVERS[1], SERVERS[2]
        );
        service("mh", V4.vip, 80, "tcp", &rest)
    };
    let mut world = World::new(&pool(&format!("{{address: {}}}, ", SERVERS[0]), 0));
    world.reload(&pool("", 0));
    let slots = world.ring(&world.service(V4.vip, 80, number::TCP));
    assert!(slots.iter().all(|slot| slot.current() == Slot::NOBODY && !slot.consults_table()));
    for flags in [tcp_flag::SYN, tcp_flag::ACK] {
        let outcome = send(&mut world, number::TCP, 4000, flags);
        world.equal("refused", outcome.causes.clone(), vec![(Cause::Refused, 1)]);
        world.equal("and counted for nobody", outcome.counters.len(), 0);
    }
    world.reload(&pool("", 1));
    let outcome = send(&mut world, number::TCP, 4001, tcp_flag::SYN);
    world.equal("somebody again", server_of(&outcome), Some(SERVERS[1]));
}
