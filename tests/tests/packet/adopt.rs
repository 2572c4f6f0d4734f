//! Connections of another director: taken over, changed and ended by `lvs_adopt`; and the marks that say which buckets
//! have changed.

use std::collections::BTreeSet;

use lvs_common::address::Address;
use lvs_common::adoption::{Adoption, action, outcome};
use lvs_common::cause::Cause;
use lvs_common::connection::flags;
use lvs_common::destination::Load;
use lvs_common::tcp_state::state;
use lvs_tests::packet::frame::{Tcp, address, number, tcp_flag};
use lvs_tests::packet::{Side, Verdict, World};
use lvs_userspace::dataplane::{FlowReader, now_ticks};

use crate::traffic::*;

use Side::{Back, Front};
use tcp_flag::{ACK, FIN, PSH, SYN};

const OTHER: &str = "10.0.0.12";

/// One tracked service on two dr servers.
fn two(limits: &str) -> World {
    let rest = format!("scheduler: rr, {}", servers(&[V4.front, OTHER]));
    World::with_limits(&service("two", V4.vip, 80, "tcp", &rest), limits)
}

const SMALL: &str = "connections: 1024, embryonic: 1024, destinations: 64";

/// A connection of V4's client that is established, to `server` of the service on the VIP's port 80.
fn established(world: &World, port: u16, server: &str) -> Adoption {
    told(world, V4, number::TCP, port, server)
}

fn told(world: &World, family: Family, protocol: u8, port: u16, server: &str) -> Adoption {
    let destination = world.destination(server);
    let udp = protocol == number::UDP;
    Adoption {
        client: Address::from(address(family.client)),
        client_port: port,
        virtual_port: 80,
        service: world.service(family.vip, 80, protocol).index,
        destination,
        generation: world.snapshot().destinations[&destination].generation,
        last_seen: now_ticks(),
        state: if udp { state::UDP } else { state::ESTABLISHED } as u8,
        flags: flags::COUNTED | if udp { flags::UDP } else { 0 },
        action: action::HOLD,
        ..Adoption::NONE
    }
}

fn apply(world: &World, record: Adoption) -> Adoption {
    let mut records = [record];
    world.flow_writer().apply(&mut records).expect("the record is carried out");
    records[0]
}

fn load(world: &World, server: &str) -> (u32, u32) {
    let Load { active, inactive } = world.load(world.destination(server));
    (active, inactive)
}

fn send(world: &mut World, port: u16, flags: u8) -> lvs_tests::packet::Outcome {
    world.run(Front, &FROM_CLIENT.frame(&V4.request().tcp_packet(&Tcp::new(port, 80, flags), b"")))
}

/// Everything idle is over after a moment; then nothing may be left of any count.
fn comes_to_an_end(world: &mut World, servers: &[&str]) {
    world.settings(|settings| settings.timeouts = [1; 16]);
    world.wait_for("the end of all", |world| {
        world.sweep();
        world.connections().is_empty()
    });
    for server in servers {
        let left = load(world, server);
        world.equal("nothing is left", left, (0, 0));
    }
    let established = world.table().established;
    world.equal("nothing is established", established, 0);
}

#[test]
fn a_connection_from_beginning_to_end() {
    let mut world = two(SMALL);
    let record = established(&world, 4000, OTHER);
    let first = apply(&world, record);
    world.equal("outcome", first.outcome, outcome::INSERTED);
    world.equal("established", world.table().established, 1);
    world.equal("active", load(&world, OTHER), (1, 0));
    let (connection, embryonic) = world.connection();
    world.equal(
        "state and flags",
        (connection.state, connection.flags),
        (state::ESTABLISHED, flags::COUNTED),
    );
    world.equal("embryonic", embryonic, false);

    let outcome = send(&mut world, 4000, ACK | PSH);
    world.equal("a packet of it goes on", outcome.verdict, Verdict::Transmit);
    let index = world.destination(OTHER);
    world.equal("to its server", outcome.counters.keys().copied().collect::<Vec<_>>(), vec![index]);
    world.equal("which is no new connection", outcome.counters[&index].connections, 0);

    let again = apply(&world, record);
    world.equal(
        "said again",
        (again.outcome, again.place, again.version),
        (outcome::UPDATED, first.place, 0),
    );
    world.equal("counts stay", (world.table().established, load(&world, OTHER)), (1, (1, 0)));

    let seen = now_ticks().wrapping_add(500);
    let closing = Adoption { state: state::FIN_WAIT as u8, last_seen: seen, ..record };
    world.equal("it closes", apply(&world, closing).outcome, outcome::UPDATED);
    world.equal("and is inactive", load(&world, OTHER), (0, 1));
    world.equal("with the time that was told", world.connection().0.last_seen, seen);

    let elsewhere = established(&world, 4000, V4.front);
    let moved = apply(&world, elsewhere);
    world.equal("begun anew elsewhere", moved.outcome, outcome::INSERTED);
    world.equal("nothing there", load(&world, OTHER), (0, 0));
    world.equal("one here", (load(&world, V4.front), world.table().established), ((1, 0), 1));

    let drop = Adoption::drop(moved.place, moved.version.wrapping_add(1));
    world.equal("of another version", apply(&world, drop).outcome, outcome::ABSENT);
    let drop = Adoption::drop(moved.place, moved.version);
    world.equal("its end", apply(&world, drop).outcome, outcome::REMOVED);
    world.equal("its end again", apply(&world, drop).outcome, outcome::ABSENT);
    let nowhere = Adoption::drop(u32::MAX, 0);
    world.equal("the end of nothing", apply(&world, nowhere).outcome, outcome::ABSENT);
    world.equal("nothing is left", (load(&world, V4.front), world.table().established), ((0, 0), 0));
    let outcome = send(&mut world, 4000, ACK);
    world.equal("nor known", outcome.causes, vec![(Cause::NoConnection, 1)]);
}

#[test]
fn embryonic_and_established() {
    let mut world = two(SMALL);
    let record = established(&world, 4000, OTHER);
    let begins =
        Adoption { state: state::SYN_RECEIVED as u8, flags: flags::COUNTED | flags::EMBRYONIC, ..record };
    world.equal("a SYN", apply(&world, begins).outcome, outcome::INSERTED);
    world.equal("is embryonic", (world.connection().1, world.table().established), (true, 0));
    world.equal("the ACK", apply(&world, record).outcome, outcome::UPDATED);
    world.equal("is established", (world.connection().1, world.table().established), (false, 1));
    world.equal("a SYN after its end", apply(&world, begins).outcome, outcome::INSERTED);
    world.equal("is embryonic again", (world.connection().1, world.table().established), (true, 0));
    // Its own ACK comes here: this director has become the active one.
    send(&mut world, 4000, ACK);
    world.equal("the ACK here", (world.connection().1, world.table().established), (false, 1));
    world.equal("one connection", load(&world, OTHER), (1, 0));
    comes_to_an_end(&mut world, &[V4.front, OTHER]);
}

#[test]
fn both_directions_of_nat() {
    for family in FAMILIES {
        for (protocol, protocol_number) in PROTOCOLS {
            let rest = format!("forward: nat, real_servers: [{{address: \"{}\", port: 8080}}]", family.back);
            let mut world = World::new(&service("nat", family.vip, 80, protocol, &rest));
            let record = told(&world, family, protocol_number, 4000, family.back);
            let name = format!("{} {protocol}", family.name);
            world.equal(&name, apply(&world, record).outcome, outcome::INSERTED);
            let packet = |ports: (u16, u16), ip: lvs_tests::packet::frame::Ip| match protocol_number {
                number::TCP => ip.tcp_packet(&Tcp::new(ports.0, ports.1, ACK), b"x"),
                _ => ip.udp_packet(ports, b"x"),
            };
            let request = FROM_CLIENT.frame(&packet((4000, 80), family.request()));
            let translated = packet((4000, 8080), family.request().to(family.back).routed());
            let expect = lvs_tests::packet::Expect::Out(Back, link_to(Back, family.back).frame(&translated));
            world.row(&format!("{name}: request"), Front, &request, &expect);
            let reply = link_from(Back, family.back).frame(&packet((8080, 4000), family.reply(family.back)));
            let translated = packet((80, 4000), family.reply(family.vip).routed());
            let expect = lvs_tests::packet::Expect::Out(Front, TO_CLIENT.frame(&translated));
            world.row(&format!("{name}: reply"), Back, &reply, &expect);
            world.equal(&format!("{name}: entries"), world.connections().len(), 1);
            comes_to_an_end(&mut world, &[family.back]);
        }
    }
}

#[test]
fn destinations_that_are_not_what_they_were() {
    let mut world = two(SMALL);
    let record = established(&world, 4000, OTHER);
    for (name, wrong) in [
        ("another generation", Adoption { generation: record.generation + 1, ..record }),
        ("another service", Adoption { service: record.service + 1, ..record }),
        ("no such destination", Adoption { destination: 63, ..record }),
        ("beyond all", Adoption { destination: u32::MAX, ..record }),
    ] {
        world.equal(name, apply(&world, wrong).outcome, outcome::UNKNOWN_DESTINATION);
    }
    world.reload(&service("two", V4.vip, 80, "tcp", &format!("scheduler: rr, {}", servers(&[V4.front]))));
    world.equal("taken away", apply(&world, record).outcome, outcome::UNKNOWN_DESTINATION);
    for state in [state::NONE, 11, state::BUSY, state::DEAD, 200] {
        let record = Adoption { state: state as u8, ..established(&world, 4000, V4.front) };
        world.equal(&format!("state {state}"), apply(&world, record).outcome, outcome::REFUSED);
    }
    let nothing = Adoption { action: 77, ..record };
    world.equal("no such action", apply(&world, nothing).outcome, outcome::NONE);
    world.equal("nothing is stored", world.connections().len(), 0);
    comes_to_an_end(&mut world, &[V4.front]);
}

#[test]
fn a_full_table_refuses() {
    let mut world = two("connections: 4, embryonic: 2, destinations: 64");
    let taken: Vec<_> = (0..6).map(|port| apply(&world, established(&world, 4000 + port, OTHER))).collect();
    let outcomes: Vec<_> = taken.iter().map(|record| record.outcome).collect();
    let [yes, no] = [outcome::INSERTED, outcome::FULL];
    world.equal("as many as may be", outcomes, vec![yes, yes, yes, yes, no, no]);
    world.equal("are counted", (world.table().established, load(&world, OTHER)), (4, (4, 0)));
    // Embryonic ones make room for each other; one that should be established stays embryonic.
    for port in 0..6 {
        let record = established(&world, 5000 + port, OTHER);
        let begins =
            Adoption { state: state::SYN_RECEIVED as u8, flags: flags::COUNTED | flags::EMBRYONIC, ..record };
        world.equal("embryonic", apply(&world, begins).outcome, outcome::INSERTED);
        world.equal("established", apply(&world, record).outcome, outcome::UPDATED);
    }
    let embryonic = world.connections().iter().filter(|(.., embryonic)| *embryonic).count();
    world.check("as many as may be", embryonic <= 64, || format!("{embryonic}"));
    world.equal("no more are established", world.table().established, 4);
    let room = Adoption::drop(taken[0].place, taken[0].version);
    world.equal("one ends", apply(&world, room).outcome, outcome::REMOVED);
    let record = established(&world, 4005, OTHER);
    world.equal("another comes", apply(&world, record).outcome, outcome::INSERTED);
    comes_to_an_end(&mut world, &[V4.front, OTHER]);
}

/// Two flows of a client that a nat server could not tell apart.
#[test]
fn nat_flows_that_collide() {
    let rest = format!("forward: nat, real_servers: [{{address: \"{}\", port: 8080}}]", V4.back);
    let services =
        [service("a", V4.vip, 80, "tcp", &rest), service("b", "10.0.0.4", 80, "tcp", &rest)].concat();
    let mut world = World::new(&services);
    let of = |world: &World, vip: &str| {
        let service = world.service(vip, 80, number::TCP).index;
        let destinations = world.snapshot().destinations;
        let (index, destination) =
            destinations.iter().find(|(_, one)| one.service == service).expect("a server");
        let record = established(world, 4000, V4.back);
        Adoption { service, destination: *index, generation: destination.generation, ..record }
    };
    world.equal("the first", apply(&world, of(&world, V4.vip)).outcome, outcome::INSERTED);
    world.equal("the second", apply(&world, of(&world, "10.0.0.4")).outcome, outcome::REFUSED);
    world.equal("one stands", (world.connections().len(), world.table().established), (1, 1));
}

#[test]
fn many_at_once() {
    let mut world = two(SMALL);
    let first = established(&world, 4000, OTHER);
    let mut records: Vec<_> = (0..500).map(|port| Adoption { client_port: 4000 + port, ..first }).collect();
    let mut writer = world.flow_writer();
    writer.apply(&mut records).expect("the records are carried out");
    let inserted = records.iter().filter(|record| record.outcome == outcome::INSERTED).count();
    world.equal("inserted", inserted, 500);
    world.equal(
        "each at a place of its own",
        records.iter().map(|one| one.place).collect::<BTreeSet<_>>().len(),
        500,
    );
    let there = records.iter().all(|record| {
        let entry = writer.entry(record.place).expect("an entry");
        (entry.client_port, entry.version) == (record.client_port, record.version)
    });
    world.check("where it says", there, || "another entry".to_owned());
    world.equal("counted", (world.table().established, load(&world, OTHER)), (500, (500, 0)));
    comes_to_an_end(&mut world, &[V4.front, OTHER]);
}

fn marked(reader: &mut FlowReader) -> Vec<u32> {
    std::iter::from_fn(|| reader.next_marked()).collect()
}

#[test]
fn what_changes_is_marked() {
    let mut world = two(SMALL);
    send(&mut world, 3999, SYN);
    let mut reader = world.flow_reader();
    let none = marked(&mut reader);
    world.equal("nothing while nobody follows", none, vec![]);
    for (name, port, flags, marks) in [
        ("a SYN", 4000, SYN, 1),
        ("the SYN again", 4000, SYN, 0),
        ("its ACK", 4000, ACK, 1),
        ("data", 4000, ACK | PSH, 0),
        ("the end", 4000, FIN | ACK, 1),
        ("the last ACK", 4000, ACK, 0),
        ("another SYN instead", 4000, SYN, 1),
    ] {
        send(&mut world, port, flags);
        let found = marked(&mut reader);
        world.equal(name, found.len(), marks);
        for bucket in found {
            let cells = reader.read(bucket).expect("a bucket at rest");
            let here = cells.iter().flatten().any(|entry| entry.client_port == port);
            world.check(name, here, || format!("{cells:?}"));
        }
    }
    let record = apply(&world, established(&world, 4001, OTHER));
    let found = marked(&mut reader);
    world.equal("one that was taken over", found, vec![record.place / 4]);
    let entry = reader.read(record.place / 4).expect("a bucket at rest")[record.place as usize % 4];
    world.equal(
        "and is read",
        entry.map(|entry| (entry.client_port, entry.destination)),
        Some((4001, record.destination)),
    );
    apply(&world, Adoption::drop(record.place, record.version));
    let found = marked(&mut reader);
    world.equal("one that was ended", found, vec![record.place / 4]);
    // Settings that control writes keep the switch.
    world.settings(|settings| settings.timeouts = [1; 16]);
    world.wait_for("the end of all", |world| {
        world.sweep();
        world.connections().is_empty()
    });
    let found = marked(&mut reader);
    world.check("those that were idle", !found.is_empty(), || "no marks".to_owned());
    let empty = found.iter().all(|bucket| reader.read(*bucket).expect("at rest").iter().all(Option::is_none));
    world.check("are gone", empty, || "entries".to_owned());
}
