//! The connection table: states, counts, ends.

use lvs_common::cause::Cause;
use lvs_common::connection::flags;
use lvs_common::destination::Load;
use lvs_common::tcp_state::state;
use lvs_tests::packet::frame::{Ip, Tcp, tcp_flag};
use lvs_tests::packet::{Expect, Outcome, Side, Verdict, World};
use lvs_userspace::dataplane::now_ticks;

use crate::traffic::*;

use Side::{Back, Front};
use tcp_flag::{ACK, FIN, PSH, RST, SYN};

/// One tracked service on one dr server.
fn one(protocol: &str, limits: &str) -> World {
    let rest = format!("scheduler: rr, {}", servers(&[V4.front]));
    World::with_limits(&service("one", V4.vip, 80, protocol, &rest), limits)
}

const SMALL: &str = "connections: 1024, embryonic: 1024, destinations: 64";

fn send(world: &mut World, port: u16, flags: u8) -> Outcome {
    send_to(world, V4.vip, port, 80, flags)
}

fn send_to(world: &mut World, vip: &str, port: u16, service: u16, flags: u8) -> Outcome {
    let packet = Ip::new(V4.client, vip).tcp_packet(&Tcp::new(port, service, flags), b"");
    world.run(Front, &FROM_CLIENT.frame(&packet))
}

fn datagram(world: &mut World, port: u16) -> Outcome {
    world.run(Front, &FROM_CLIENT.frame(&V4.request().udp_packet((port, 80), b"")))
}

const fn load(active: u32, inactive: u32) -> Load {
    Load { active, inactive }
}

fn expect_causes(world: &mut World, name: &str, outcome: &Outcome, causes: &[(Cause, u64)]) {
    world.equal(name, outcome.causes.clone(), causes.to_vec());
}

/// Timeouts so short that everything idle is over after a moment.
fn hurry(world: &mut World) {
    world.settings(|settings| settings.timeouts = [0; 16].map(|_: u32| 1));
}

#[test]
fn the_life_of_a_connection_that_is_seen_from_one_side() {
    let mut world = one("tcp", SMALL);
    let index = world.destination(V4.front);
    for (step, flags, state, embryonic, counts, begun) in [
        ("SYN", SYN, state::SYN_RECEIVED, true, load(1, 0), 1),
        ("the SYN again", SYN, state::SYN_RECEIVED, true, load(1, 0), 0),
        ("ACK", ACK, state::ESTABLISHED, false, load(1, 0), 0),
        ("data", ACK | PSH, state::ESTABLISHED, false, load(1, 0), 0),
        ("a forged SYN", SYN, state::ESTABLISHED, false, load(1, 0), 0),
        ("FIN", FIN | ACK, state::FIN_WAIT, false, load(0, 1), 0),
        ("the last ACK", ACK, state::FIN_WAIT, false, load(0, 1), 0),
        ("a new SYN by the same port", SYN, state::SYN_RECEIVED, true, load(1, 0), 1),
        ("its ACK", ACK, state::ESTABLISHED, false, load(1, 0), 0),
        ("RST", RST, state::CLOSE, false, load(0, 1), 0),
        ("a SYN after the reset", SYN, state::SYN_RECEIVED, true, load(1, 0), 1),
        ("FIN at once", FIN, state::TIME_WAIT, true, load(0, 1), 0),
    ] {
        let outcome = send(&mut world, 4000, flags);
        world.equal(&format!("{step}: verdict"), outcome.verdict, Verdict::Transmit);
        let (connection, is_embryonic) = world.connection();
        world.equal(&format!("{step}: state"), state::name(connection.state), state::name(state));
        world.equal(&format!("{step}: embryonic"), is_embryonic, embryonic);
        world.equal(&format!("{step}: flags"), connection.flags, flags::COUNTED);
        let now = world.load(index);
        world.equal(&format!("{step}: active and inactive"), now, counts);
        let connections = outcome.counters.get(&index).map(|counters| counters.connections);
        world.equal(&format!("{step}: connections counted"), connections, Some(begun));
    }
    hurry(&mut world);
    world.wait_for("the end of it", |world| {
        world.sweep();
        world.connections().is_empty()
    });
    let now = world.load(index);
    world.equal("nothing is left", now, load(0, 0));
}

#[test]
fn the_life_of_a_connection_that_is_seen_from_both_sides() {
    for family in FAMILIES {
        for (ending, steps) in [
            (
                "the client ends it",
                [
                    (Front, FIN | ACK, state::CLOSE_WAIT),
                    (Back, FIN | ACK, state::TIME_WAIT),
                    (Front, ACK, state::TIME_WAIT),
                ],
            ),
            (
                "the server ends it",
                [
                    (Back, FIN | ACK, state::FIN_WAIT),
                    (Front, FIN | ACK, state::TIME_WAIT),
                    (Back, ACK, state::TIME_WAIT),
                ],
            ),
            (
                "the server resets it",
                [(Back, RST, state::CLOSE), (Front, RST, state::CLOSE), (Back, ACK, state::CLOSE)],
            ),
        ] {
            let rest = format!("forward: nat, real_servers: [{{address: \"{}\", port: 8080}}]", family.back);
            let mut world = World::new(&service("nat", family.vip, 80, "tcp", &rest));
            let index = world.destination(family.back);
            let opening = [
                (Front, SYN, state::SYN_RECEIVED),
                (Back, SYN | ACK, state::SYN_RECEIVED),
                (Front, ACK, state::ESTABLISHED),
                (Back, ACK | PSH, state::ESTABLISHED),
            ];
            for (number, (side, flags, state)) in opening.into_iter().chain(steps).enumerate() {
                let name = format!("{}, {ending}, step {number}", family.name);
                let (sent, left, out) = if side == Front {
                    let ip = family.request();
                    let left = ip.to(family.back).routed().tcp_packet(&Tcp::new(4000, 8080, flags), b"");
                    let sent = ip.tcp_packet(&Tcp::new(4000, 80, flags), b"");
                    (FROM_CLIENT.frame(&sent), link_to(Back, family.back).frame(&left), Back)
                } else {
                    let ip = family.reply(family.back);
                    let left = ip.from(family.vip).routed().tcp_packet(&Tcp::new(80, 4000, flags), b"");
                    let sent = ip.tcp_packet(&Tcp::new(8080, 4000, flags), b"");
                    (link_from(Back, family.back).frame(&sent), TO_CLIENT.frame(&left), Front)
                };
                world.row(&name, side, &sent, &Expect::Out(out, left));
                let (connection, _) = world.connection();
                world.equal(&name, state::name(connection.state), state::name(state));
                world.equal(&name, connection.flags, flags::COUNTED | flags::NAT);
                let expected = if state::is_active(state) { load(1, 0) } else { load(0, 1) };
                let now = world.load(index);
                world.equal(&name, now, expected);
                let returns = world.returns().len();
                world.equal(&name, returns, 1);
            }
            hurry(&mut world);
            world.wait_for("the end of it", |world| {
                world.sweep();
                world.connections().is_empty()
            });
            let left = (world.load(index), world.returns());
            world.equal(&format!("{}, {ending}: nothing is left", family.name), left, (load(0, 0), vec![]));
        }
    }
}

#[test]
fn the_life_of_a_udp_flow() {
    let mut world = one("udp", SMALL);
    let index = world.destination(V4.front);
    for (step, embryonic, begun) in [("first", true, 1), ("second", false, 0), ("third", false, 0)] {
        let outcome = datagram(&mut world, 4000);
        let (connection, is_embryonic) = world.connection();
        world.equal(step, (state::name(connection.state), is_embryonic), ("UDP", embryonic));
        let now = world.load(index);
        world.equal(step, now, load(0, 1));
        let connections = outcome.counters.get(&index).map(|counters| counters.connections);
        world.equal(step, connections, Some(begun));
    }
    hurry(&mut world);
    world.wait_for("the end of it", |world| {
        world.sweep();
        world.connections().is_empty()
    });
    let now = world.load(index);
    world.equal("nothing is left", now, load(0, 0));
}

#[test]
fn many_lives_leave_the_counts_at_zero() {
    let rest = format!("scheduler: wlc, {}", servers(&[V4.front, "10.0.0.12", "10.0.0.13"]));
    let mut world = World::new(&service("many", V4.vip, 80, "tcp", &rest));
    let indices = [V4.front, "10.0.0.12", "10.0.0.13"].map(|server| world.destination(server));
    for port in 5000..5300 {
        // Each its own mixture of packets.
        for (step, flags) in [SYN, ACK, ACK | PSH, FIN | ACK, RST, SYN, ACK].into_iter().enumerate() {
            if step == 0 || !(port / 7 + step as u16 * 3).is_multiple_of(4) {
                send(&mut world, port, flags);
            }
        }
    }
    let held: u32 =
        indices.map(|index| world.load(index)).iter().map(|load| load.active + load.inactive).sum();
    world.equal("as many as there are entries", held as usize, world.connections().len());
    let active: u32 = indices.map(|index| world.load(index).active).iter().sum();
    let entries = world.connections();
    let active_entries =
        entries.iter().filter(|(_, connection, _)| state::is_active(connection.state)).count();
    world.equal("as many active ones", active as usize, active_entries);
    hurry(&mut world);
    world.wait_for("the end of all", |world| {
        world.sweep();
        world.connections().is_empty()
    });
    for index in indices {
        let now = world.load(index);
        world.equal(&format!("destination {index}"), now, load(0, 0));
    }
}

#[test]
fn packets_of_no_connection() {
    let mut world = one("tcp", SMALL);
    for flags in [ACK, ACK | PSH, FIN | ACK, RST, SYN | ACK, 0] {
        let outcome = send(&mut world, 4000, flags);
        expect_causes(&mut world, &format!("flags {flags:#04x}"), &outcome, &[(Cause::NoConnection, 1)]);
        world.equal(&format!("flags {flags:#04x} store nothing"), world.connections(), vec![]);
    }
}

#[test]
fn idle_connections_are_over_for_the_next_packet_too() {
    let mut world = one("tcp", SMALL);
    let index = world.destination(V4.front);
    send(&mut world, 4000, SYN);
    send(&mut world, 4000, ACK);
    hurry(&mut world);
    // A packet to ask with would keep it alive.
    let (connection, _) = world.connection();
    world.wait_for("time", |_| now_ticks().wrapping_sub(connection.last_seen) > 2);
    let outcome = send(&mut world, 4000, ACK);
    expect_causes(&mut world, "the next packet", &outcome, &[(Cause::NoConnection, 1)]);
    let left = (world.connections(), world.load(index));
    world.equal("gone by the packet that found it idle", left, (vec![], load(0, 0)));
}

#[test]
fn the_sweep_keeps_what_is_not_idle() {
    let mut world = one("tcp", SMALL);
    for port in 4000..4040 {
        send(&mut world, port, SYN);
        send(&mut world, port, ACK);
    }
    let report = world.sweep();
    world.equal("nothing is proposed", (report.expired, report.established), (0, 40));
    let entries = world.connections().len();
    world.equal("nothing is retired", entries, 40);
    let report = world.sweep_ahead(1_000_000);
    world.equal("all are proposed by mistake", report.expired, 40);
    let entries = world.connections().len();
    world.equal("the program looks again and keeps them", entries, 40);
    world.settings(|settings| settings.timeouts[state::CLOSE as usize] = 1);
    send(&mut world, 4000, RST);
    world.wait_for("the one that is over", |world| {
        world.sweep();
        world.connections().len() == 39
    });
}

#[test]
fn embryonic_entries_make_room_in_their_order() {
    let mut world = one("tcp", "connections: 1024, embryonic: 16, destinations: 64");
    let index = world.destination(V4.front);
    for port in 5000..5040 {
        let outcome = send(&mut world, port, SYN);
        let evicted = if port < 5016 { vec![] } else { vec![(Cause::EmbryonicEvicted, 1)] };
        world.equal(&format!("causes of SYN {port}"), outcome.causes, evicted);
        world.equal(&format!("verdict of SYN {port}"), outcome.verdict, Verdict::Transmit);
    }
    let mut ports: Vec<u16> = world.connections().iter().map(|(key, ..)| key.source_port).collect();
    ports.sort_unstable();
    world.equal("the newest are kept", ports, (5024..5040).collect());
    let now = world.load(index);
    world.equal("and counted", now, load(16, 0));
}

#[test]
fn a_flood_of_syns_evicts_nothing_established() {
    let mut world = one("tcp", "connections: 64, embryonic: 16, destinations: 64");
    let index = world.destination(V4.front);
    for port in 4000..4040 {
        send(&mut world, port, SYN);
        send(&mut world, port, ACK);
    }
    for port in 10_000..12_000 {
        world.only_run(Front, &FROM_CLIENT.frame(&V4.request().tcp_packet(&syn(port, 80), b"")));
    }
    world.forget();
    for port in 4000..4040 {
        let outcome = send(&mut world, port, ACK);
        expect_causes(&mut world, &format!("connection {port} goes on"), &outcome, &[]);
    }
    let now = world.load(index);
    world.equal("counts", now, load(40 + 16, 0));
}

/// The flow goes on as an embryonic entry.
#[test]
fn a_full_table_of_connections() {
    let mut world = one("tcp", "connections: 8, embryonic: 64, destinations: 64");
    let index = world.destination(V4.front);
    for port in 4000..4012 {
        send(&mut world, port, SYN);
        let outcome = send(&mut world, port, ACK);
        let full = if port < 4008 { vec![] } else { vec![(Cause::EntryNotStored, 1)] };
        world.equal(&format!("ACK {port}"), (outcome.verdict, outcome.causes), (Verdict::Transmit, full));
    }
    let (embryonic, established): (Vec<_>, Vec<_>) =
        world.connections().into_iter().partition(|(.., embryonic)| *embryonic);
    world.equal("entries", (embryonic.len(), established.len()), (4, 8));
    let now = world.load(index);
    world.equal("counts", now, load(12, 0));
    // When one has ended there is room for those that wait.
    send(&mut world, 4000, RST);
    world.settings(|settings| settings.timeouts[state::CLOSE as usize] = 1);
    world.wait_for("room", |world| {
        world.sweep();
        world.connections().len() == 11
    });
    let outcome = send(&mut world, 4011, ACK);
    expect_causes(&mut world, "one that waited", &outcome, &[]);
    let kept = world.connections().iter().filter(|(.., embryonic)| !embryonic).count();
    world.equal("is established", kept, 8);
}

const TWO: [&str; 2] = ["10.0.0.11", "10.0.0.12"];

fn rr(pool: &[&str]) -> String {
    service("rr", V4.vip, 80, "tcp", &format!("scheduler: rr, {}", servers(pool)))
}

fn server_of(outcome: &Outcome) -> Option<&'static str> {
    TWO.into_iter().find(|server| outcome.frame.starts_with(&lvs_tests::packet::mac(server)))
}

#[test]
fn flows_of_a_removed_destination_are_steered_anew() {
    let mut world = World::new(&rr(&TWO));
    let removed = world.destination(TWO[0]);
    let first = send(&mut world, 4000, SYN);
    world.equal("the first flow", server_of(&first), Some(TWO[0]));
    send(&mut world, 4000, ACK);
    world.reload(&rr(&TWO[1..]));
    let outcome = send(&mut world, 4000, ACK);
    world.equal("its next packet", (server_of(&outcome), outcome.causes.len()), (Some(TWO[1]), 0));
    let counts = (world.load(removed), world.load(world.destination(TWO[1])));
    world.equal("counts move along", counts, (load(0, 0), load(1, 0)));
    let (connection, _) = world.connection();
    world.equal("and the entry", connection.destination, world.destination(TWO[1]));
}

/// The index has another owner: the entry of the former one must not reach it.
#[test]
fn another_generation_is_another_destination() {
    let mut world = World::new(&rr(&TWO));
    send(&mut world, 4000, SYN);
    send(&mut world, 4000, ACK);
    let index = world.destination(TWO[0]);
    let mut value = world.snapshot().destinations[&index];
    value.generation += 1;
    world.apply(&[lvs_userspace::control::Command::SetDestination { index, value }]);
    let outcome = send(&mut world, 4000, ACK);
    world.equal("steered anew", server_of(&outcome), Some(TWO[1]));
    let (connection, _) = world.connection();
    world.equal("entry", connection.destination, world.destination(TWO[1]));
}

/// Two VIPs, one real server and port, one client port: the server could not tell them apart.
#[test]
fn nat_connections_that_would_look_the_same() {
    let nat = |vip: &str, name: &str| {
        let rest = "forward: nat, real_servers: [{address: \"192.168.0.11\", port: 8080}]";
        service(name, vip, 80, "tcp", rest)
    };
    let other = "10.0.0.4";
    let mut world = World::new(&(nat(V4.vip, "a") + &nat(other, "b")));
    let outcome = send_to(&mut world, V4.vip, 4000, 80, SYN);
    expect_causes(&mut world, "the first", &outcome, &[]);
    let outcome = send_to(&mut world, other, 4000, 80, SYN);
    expect_causes(&mut world, "the second", &outcome, &[(Cause::NatCollision, 1)]);
    let entries = (world.connections().len(), world.returns().len());
    world.equal("the second stores nothing", entries, (1, 1));
    let outcome = send_to(&mut world, other, 4001, 80, SYN);
    expect_causes(&mut world, "by another port", &outcome, &[]);
    let outcome = send_to(&mut world, V4.vip, 4000, 80, ACK);
    expect_causes(&mut world, "the first goes on", &outcome, &[]);
    hurry(&mut world);
    world.wait_for("the end of all", |world| {
        world.sweep();
        world.connections().is_empty()
    });
    let outcome = send_to(&mut world, other, 4000, 80, SYN);
    expect_causes(&mut world, "the second, later", &outcome, &[]);
    let returns = world.returns();
    world.equal("one way back", returns.len(), 1);
}

/// What the agent does not know is asked of the kernel's tables.
#[test]
fn next_hops_that_nobody_reported() {
    let known = |family: Family| if family.name == "v4" { "10.0.0.77" } else { "2001:db8::77" };
    let mut services = String::new();
    for family in FAMILIES {
        for (port, rest) in [
            (80, servers(&[known(family)])),
            (81, servers(&[family.front])),
            (82, format!("forward: nat, {}", servers(&[known(family)]))),
            (83, format!("forward: ipip, {}", servers(&[family.far]))),
        ] {
            services += &service(&format!("{}-{port}", family.name), family.vip, port, "udp", &rest);
        }
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        for server in [known(family), family.front, family.far] {
            world.lose(server);
        }
        let ip = family.request();
        let name = |what: &str| format!("{} {what}", family.name);
        let sent = |port| FROM_CLIENT.frame(&ip.udp_packet((4000, port), b""));
        let left = link_to(Front, known(family)).frame(&ip.udp_packet((4000, 80), b""));
        world.row(&name("dr"), Front, &sent(80), &Expect::Out(Front, left));
        let left = ip.to(known(family)).routed().udp_packet((4000, 82), b"");
        let left = link_to(Front, known(family)).frame(&left);
        world.row(&name("nat"), Front, &sent(82), &Expect::Out(Front, left));
        world.row(&name("nobody answers for it"), Front, &sent(81), &Expect::Drop(Cause::NoNeighbour));
        world.row(&name("a tunnel without a source"), Front, &sent(83), &Expect::Drop(Cause::NoRoute));
    }
    world.forwarding(false);
    for family in FAMILIES {
        let sent = FROM_CLIENT.frame(&family.request().udp_packet((4000, 80), b""));
        let name = format!("{} the kernel is no router", family.name);
        world.row(&name, Front, &sent, &Expect::Drop(Cause::NoRoute));
    }
}
