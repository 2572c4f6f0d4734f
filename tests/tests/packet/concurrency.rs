//! Two processors at one flow, at one bucket of the connection table, and the agent's sweep among them. What
//! they leave behind must agree with itself, whoever was first.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use lvs_common::address::Address;
use lvs_common::adoption::{Adoption, action};
use lvs_common::connection::{Entry, flags};
use lvs_common::destination::Load;
use lvs_common::flow::{hash_client, slot_of};
use lvs_common::tcp_state::state;
use lvs_tests::packet::frame::{Tcp, number, tcp_flag};
use lvs_tests::packet::{Runner, Side, World};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::traffic::*;

use tcp_flag::{ACK, FIN, RST, SYN};

const PACKETS: usize = 20_000;
const SERVER_PORT: u16 = 8080;

/// A frame that comes in by one side.
struct Sent {
    side: Side,
    frame: Vec<u8>,
}

/// Everything that a connection of `port` may consist of, from the client, and from a nat server.
fn packets_of(port: u16, nat: bool) -> Vec<Sent> {
    let request = |flags| Sent {
        side: Side::Front,
        frame: FROM_CLIENT.frame(&V4.request().tcp_packet(&Tcp::new(port, 80, flags), b"")),
    };
    let reply = |flags| {
        let packet = V4.reply(V4.back).tcp_packet(&Tcp::new(SERVER_PORT, port, flags), b"");
        Sent { side: Side::Back, frame: link_from(Side::Back, V4.back).frame(&packet) }
    };
    let mut packets: Vec<Sent> = [SYN, ACK, ACK, FIN | ACK, RST].map(request).into();
    if nat {
        packets.extend([SYN | ACK, ACK, FIN | ACK, RST].map(reply));
    }
    packets
}

/// Stays on processor `number` of those there are.
fn pin(number: usize) {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own).expect("the processors of this thread");
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true)).collect();
    let mut one = CpuSet::new();
    one.set(cpus[number % cpus.len()]).expect("a processor");
    sched_setaffinity(own, &one).expect("stay on one processor");
}

/// Sends packets in an order of its own.
fn hammer(number: usize, front: &Runner, back: &Runner, packets: &[Sent]) {
    pin(number);
    let mut random = 0x5eed_u64 + number as u64;
    for _ in 0..PACKETS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let sent = &packets[(random >> 33) as usize % packets.len()];
        if sent.side == Side::Front { front } else { back }.run(&sent.frame);
    }
}

/// Two threads send, others sweep and do what `also` says until they are done.
fn everybody_at_once(world: &World, packets: &[Sent], also: impl FnMut() + Send) {
    let mut also = also;
    let done = AtomicBool::new(false);
    let runners = [(); 2].map(|()| (world.runner(Side::Front), world.runner(Side::Back)));
    let (mut sweeper, settings) = world.sweeper();
    thread::scope(|scope| {
        let senders: Vec<_> = runners
            .iter()
            .enumerate()
            .map(|(number, (front, back))| scope.spawn(move || hammer(number, front, back, packets)))
            .collect();
        let done = &done;
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let now = lvs_userspace::dataplane::now_ticks();
                sweeper.sweep(now, &settings).unwrap_or_else(|error| panic!("{error}"));
            }
        });
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                also();
            }
        });
        let ended: Vec<_> = senders.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        for ended in ended {
            ended.expect("a sender");
        }
    });
}

/// The counts are those of the entries, and no flow has two.
fn agrees_with_itself(world: &mut World, name: &str, servers: &[&str]) {
    let entries = world.connections();
    let keys: HashSet<_> = entries.iter().map(|(key, ..)| *key).collect();
    world.equal(&format!("{name}: entries of the same flow"), entries.len() - keys.len(), 0);
    let established = entries.iter().filter(|(.., embryonic)| !embryonic).count();
    let counted = world.table().established;
    world.equal(&format!("{name}: established"), counted, established as u64);
    for server in servers {
        let index = world.destination(server);
        let mut expected = Load { active: 0, inactive: 0 };
        for (_, connection, _) in &entries {
            if connection.destination == index && connection.flags & flags::COUNTED != 0 {
                let active = state::is_active(connection.state);
                *(if active { &mut expected.active } else { &mut expected.inactive }) += 1;
            }
        }
        let load = world.load(index);
        world.equal(&format!("{name}: connections of {server}"), load, expected);
    }
}

/// What is idle for a moment is over, so that the sweep has something to do.
fn hurry(world: &mut World) {
    world.settings(|settings| settings.timeouts = [1; 16]);
}

/// Waits for everything to end, and looks whether all counts come down to nothing.
fn comes_to_an_end(world: &mut World, servers: &[&str]) {
    world.wait_for("the end of all", |world| {
        world.sweep();
        world.connections().is_empty()
    });
    agrees_with_itself(world, "at the end", servers);
}

#[test]
fn one_flow() {
    for (name, forward, server, nat) in [("dr", "dr", V4.front, false), ("nat", "nat", V4.back, true)] {
        let port = if nat { format!(", port: {SERVER_PORT}") } else { String::new() };
        let rest =
            format!("scheduler: rr, forward: {forward}, real_servers: [{{address: \"{server}\"{port}}}]");
        let mut world = World::new(&service("one", V4.vip, 80, "tcp", &rest));
        hurry(&mut world);
        let packets = packets_of(4000, nat);
        for round in 0..4 {
            everybody_at_once(&world, &packets, thread::yield_now);
            agrees_with_itself(&mut world, &format!("{name}, round {round}"), &[server]);
        }
        comes_to_an_end(&mut world, &[server]);
    }
}

/// More flows of one home than its window holds, and fewer embryonic ones allowed than there are: entries are
/// displaced, evicted, retired and taken again all the time.
#[test]
fn one_bucket() {
    flows_of_one_home("connections: 64, embryonic: 16, destinations: 64");
}

/// The same where most flows find no room among the established ones.
#[test]
fn the_last_room() {
    flows_of_one_home("connections: 4, embryonic: 32, destinations: 64");
}

fn flows_of_one_home(limits: &str) {
    let servers = [V4.front, "10.0.0.12", "10.0.0.13"];
    let rest = format!("scheduler: wlc, {}", self::servers(&servers));
    let mut world = World::with_limits(&service("many", V4.vip, 80, "tcp", &rest), limits);
    hurry(&mut world);
    let ports = ports_of_one_home(&world);
    let packets: Vec<Sent> = ports.into_iter().flat_map(|port| packets_of(port, false)).collect();
    for round in 0..4 {
        everybody_at_once(&world, &packets, thread::yield_now);
        agrees_with_itself(&mut world, &format!("round {round}"), &servers);
    }
    comes_to_an_end(&mut world, &servers);
}

/// So many clients' ports that one bucket is the home of all.
fn ports_of_one_home(world: &World) -> Vec<u16> {
    let settings = world.snapshot().settings.expect("settings");
    let client = Address::from(lvs_tests::packet::frame::address(V4.client)).halves();
    let home = |port| slot_of(hash_client(settings.seed, client, port, number::TCP), settings.buckets);
    let wanted = home(1024);
    let ports: Vec<u16> = (1024..u16::MAX).filter(|port| home(*port) == wanted).take(80).collect();
    assert_eq!(ports.len(), 80, "flows of one home");
    ports
}

/// What another director tells, among packets of the same flows: it begins, moves and ends them.
#[test]
fn connections_taken_over_among_packets() {
    let servers = [V4.front, "10.0.0.12", "10.0.0.13"];
    let rest = format!("scheduler: wlc, {}", self::servers(&servers));
    let limits = "connections: 64, embryonic: 16, destinations: 64";
    let mut world = World::with_limits(&service("many", V4.vip, 80, "tcp", &rest), limits);
    hurry(&mut world);
    let ports = ports_of_one_home(&world);
    let packets: Vec<Sent> = ports.iter().flat_map(|port| packets_of(*port, false)).collect();
    let destinations = servers.map(|server| world.destination(server));
    let first = destinations.map(|destination| adoption(&world, 0, destination));
    let told: Vec<Adoption> = ports
        .iter()
        .zip(first.into_iter().cycle())
        .map(|(port, first)| Adoption { client_port: *port, ..first })
        .collect();
    let mut writer = world.flow_writer();
    let mut reader = world.flow_reader();
    let mut round = 0_usize;
    let mut also = || {
        round += 1;
        let now = lvs_userspace::dataplane::now_ticks();
        let mut records = told.clone();
        for (number, record) in records.iter_mut().enumerate() {
            record.last_seen = now;
            let embryonic = (number + round).is_multiple_of(3);
            record.state = if embryonic { state::SYN_RECEIVED } else { state::ESTABLISHED } as u8;
            record.flags = flags::COUNTED | if embryonic { flags::EMBRYONIC } else { 0 };
        }
        writer.apply(&mut records).expect("the records are carried out");
        let some = records.iter().step_by(2);
        let mut over: Vec<_> = some.map(|record| Adoption::drop(record.place, record.version)).collect();
        writer.apply(&mut over).expect("the records are carried out");
        while let Some(bucket) = reader.next_marked() {
            reader.read(bucket);
        }
    };
    for round in 0..4 {
        everybody_at_once(&world, &packets, &mut also);
        agrees_with_itself(&mut world, &format!("round {round}"), &servers);
    }
    comes_to_an_end(&mut world, &servers);
}

/// A connection of `port` to the one service, with a destination.
fn adoption(world: &World, port: u16, destination: u32) -> Adoption {
    let snapshot = world.snapshot();
    Adoption {
        client: Address::from(lvs_tests::packet::frame::address(V4.client)),
        client_port: port,
        virtual_port: 80,
        service: world.service(V4.vip, 80, number::TCP).index,
        destination,
        generation: snapshot.destinations[&destination].generation,
        action: action::HOLD,
        ..Adoption::NONE
    }
}

/// What is read is of one connection, though places change their owners all the time.
#[test]
fn no_entry_is_read_in_parts() {
    let servers = [V4.front, "10.0.0.12", "10.0.0.13"];
    let rest = format!("scheduler: wlc, {}", self::servers(&servers));
    let limits = "connections: 16, embryonic: 16, destinations: 64";
    let world = World::with_limits(&service("many", V4.vip, 80, "tcp", &rest), limits);
    let destinations = servers.map(|server| world.destination(server));
    let of = |port: u16| destinations[usize::from(port) % servers.len()];
    let first = destinations.map(|destination| adoption(&world, 0, destination));
    let told: Vec<Adoption> = ports_of_one_home(&world)
        .into_iter()
        .map(|port| Adoption {
            client_port: port,
            state: state::ESTABLISHED as u8,
            last_seen: u32::from(port),
            ..first[usize::from(port) % first.len()]
        })
        .collect();
    let reader = world.flow_reader();
    let done = AtomicBool::new(false);
    let seen = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (done, seen) = (&done, &seen);
        let writers: Vec<_> = (0..2)
            .map(|number| {
                let (mut writer, told) = (world.flow_writer(), &told);
                scope.spawn(move || {
                    pin(number);
                    for round in 0.. {
                        let enough = round >= 400 && seen.load(Ordering::Relaxed) > 20_000;
                        if enough || done.load(Ordering::Relaxed) {
                            break;
                        }
                        let mut records: Vec<_> =
                            told.iter().copied().skip((round * 7 + number * 40) % 64).take(16).collect();
                        writer.apply(&mut records).expect("the records are carried out");
                        let mut over: Vec<_> = records
                            .iter()
                            .map(|record| Adoption::drop(record.place, record.version))
                            .collect();
                        writer.apply(&mut over).expect("the records are carried out");
                    }
                })
            })
            .collect();
        let reading = scope.spawn(move || {
            let is_mixed = |entry: &Entry| {
                entry.destination != of(entry.client_port) || entry.last_seen != u32::from(entry.client_port)
            };
            while !done.load(Ordering::Relaxed) {
                let cells = (0..reader.buckets()).filter_map(|bucket| reader.read(bucket));
                for entry in cells.flatten().flatten() {
                    seen.fetch_add(1, Ordering::Relaxed);
                    if is_mixed(&entry) {
                        done.store(true, Ordering::Relaxed);
                        return Some(entry);
                    }
                }
            }
            None
        });
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        for ended in ended {
            ended.expect("a writer");
        }
        assert_eq!(reading.join().expect("a reader"), None, "an entry of two connections");
    });
}
