//! Single decisions, each with its reason.

use std::net::IpAddr;
use std::time::Duration;

use lvs_common::address::Address;
use lvs_common::connection::ticks;
use lvs_common::destination::destination_flags::{BEHIND_ROUTER, NEXT_HOP_KNOWN, REMOVED, RESETS};
use lvs_common::ring::Slot;
use lvs_common::service::{owner, service_flags};
use lvs_common::settings::{Settings, flags};
use lvs_common::tcp_state::state;

use super::director::{Director, key, one, pool};
use super::model::Model;
use super::{cluster, config, server, service};
use crate::config::model::{Config, Forward, Limits, RealServer, Scheduler, Timeouts};
use crate::control::plan::key_of;
use crate::control::{Capacity, Command, Event, NextHop, State, Summary};

#[test]
fn a_first_file_is_published_from_the_inside_out() {
    let mut state = State::adopt(Default::default());
    let nat = RealServer { forward: Forward::Nat, ..server(1, 1) };
    let commands = state.handle(Event::Desired(one(Scheduler::Mh, vec![nat])), Duration::ZERO);
    let order: Vec<&str> = commands
        .iter()
        .map(|command| match command {
            Command::SetSettings(_) => "settings",
            Command::ZeroDestination { .. } => "zero destination",
            Command::SetDestination { .. } => "destination",
            Command::ZeroService { .. } => "zero service",
            Command::SetMembers { .. } => "members",
            Command::SetRing { .. } => "ring",
            Command::SetVip { .. } => "vip",
            Command::SetService { .. } => "service",
            other => panic!("{other:?}"),
        })
        .collect();
    let wanted =
        ["settings", "zero destination", "destination", "zero service", "members", "ring", "vip", "service"];
    assert_eq!(order, wanted);
}

#[test]
fn a_weight_of_wlc_is_one_write() {
    let mut director = Director::new(&one(Scheduler::Wlc, pool(&[1, 2, 3])));
    let commands = director.load(&one(Scheduler::Wlc, pool(&[1, 5, 3])));
    assert!(matches!(commands[..], [Command::SetMembers { .. }]), "{commands:?}");
}

#[test]
fn one_server_touches_only_its_service() {
    let services = |weights: &[u32]| {
        config(vec![
            service(1, 80, Scheduler::Mh, pool(&[1, 1])),
            service(2, 80, Scheduler::Mh, pool(weights)),
        ])
    };
    let mut director = Director::new(&services(&[1, 1, 1]));
    let before = director.service(1);
    let commands = director.load(&services(&[1, 1, 1, 1]));
    assert_eq!(director.service(1), before);
    assert_eq!(commands.iter().filter(|command| matches!(command, Command::SetRing { .. })).count(), 1);
    assert!(commands.len() <= 5, "{commands:?}");
}

#[test]
fn a_server_that_comes_back_in_time_is_the_same_destination() {
    let mut director = Director::new(&one(Scheduler::Rr, pool(&[1, 1])));
    let before = director.destinations(1);
    director.load(&one(Scheduler::Rr, pool(&[1])));
    director.sweep(&[]);
    director.sweep(&[(before[1].0, 7)]);
    director.load(&one(Scheduler::Rr, pool(&[1, 1])));
    assert_eq!(director.destinations(1), before);
    // The same for the whole service.
    director.load(&config(Vec::new()));
    director.tick(1);
    director.load(&one(Scheduler::Rr, pool(&[1, 1])));
    assert_eq!(director.destinations(1), before);
}

#[test]
fn an_index_is_used_again_only_after_a_whole_sweep_without_its_flows() {
    let mut director = Director::new(&one(Scheduler::Rr, pool(&[1, 1])));
    let [_, (index, generation)] = director.destinations(1)[..] else { panic!() };
    director.load(&one(Scheduler::Rr, pool(&[1])));
    assert!(director.model.snapshot.destinations[&index].has(REMOVED));
    let other = |director: &mut Director, host| {
        director.load(&one(Scheduler::Rr, vec![server(1, 1), server(host, 1)]));
        let found = director.destinations(1)[1];
        director.load(&one(Scheduler::Rr, pool(&[1])));
        found
    };
    assert_ne!(other(&mut director, 7).0, index);
    // This sweep may have begun before the removal.
    director.sweep(&[]);
    assert_ne!(other(&mut director, 8).0, index);
    director.sweep(&[(index, 1)]);
    assert_ne!(other(&mut director, 9).0, index);
    director.sweep(&[]);
    assert_eq!(other(&mut director, 10), (index, generation + 1));
}

#[test]
fn another_forwarding_method_or_port_is_another_destination() {
    let real_server = |forward, port| vec![RealServer { forward, port, ..server(1, 1) }];
    let mut director = Director::new(&one(Scheduler::Mh, real_server(Forward::Dr, 80)));
    let dr = director.destinations(1);
    director.load(&one(Scheduler::Mh, real_server(Forward::Nat, 80)));
    let nat = director.destinations(1);
    director.load(&one(Scheduler::Mh, real_server(Forward::Nat, 8080)));
    assert!(dr != nat && nat != director.destinations(1));
}

#[test]
fn a_neighbour_is_one_write_for_each_destination_and_survives_a_restart() {
    let mut file = one(Scheduler::Rr, pool(&[1, 1]));
    file.services.push(service(2, 80, Scheduler::Rr, pool(&[1])));
    let mut director = Director::new(&file);
    let address = IpAddr::from([10, 0, 0, 1]);
    let next_hop = NextHop {
        interface: 3,
        source_mac: [2, 0, 0, 0, 0, 1],
        next_hop_mac: Some([2, 0, 0, 0, 0, 2]),
        behind_router: true,
        mtu: 1400,
        source_address: Some(IpAddr::from([10, 0, 0, 254])),
    };
    let commands = director.handle(Event::NextHop { address, next_hop: Some(next_hop.clone()) });
    assert_eq!(commands.len(), 2);
    for command in &commands {
        let Command::SetDestination { value, .. } = command else { panic!("{command:?}") };
        assert_eq!(value.flags, NEXT_HOP_KNOWN | BEHIND_ROUTER);
        assert_eq!((value.interface, value.mtu), (3, 1400));
        assert_eq!((value.source, value.next_hop), ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]));
        assert_eq!(value.source_address, Address::from_v4([10, 0, 0, 254]));
    }
    assert_eq!(director.handle(Event::NextHop { address, next_hop: Some(next_hop.clone()) }), []);

    // A new agent has no report yet, and must not forget what is there.
    let mut heir = State::adopt(director.model.snapshot.clone());
    assert_eq!(heir.handle(Event::Desired(file.clone()), director.now), []);

    let silent = NextHop { next_hop_mac: None, ..next_hop };
    let commands = director.handle(Event::NextHop { address, next_hop: Some(silent) });
    let Command::SetDestination { value, .. } = commands[0] else { panic!("{commands:?}") };
    assert_eq!((value.flags, value.next_hop, value.mtu), (BEHIND_ROUTER, [0; 6], 1400));

    // A server that comes later is told at once what is known of its address.
    file.services.push(service(3, 80, Scheduler::Rr, pool(&[1])));
    director.load(&file);
    let (index, _) = director.destinations(3)[0];
    assert_eq!(director.model.snapshot.destinations[&index].mtu, 1400);
}

/// As one of weight 0 it stays base of its slots; only its destination says more, and says so first.
#[test]
fn a_server_that_resets_keeps_its_slots_and_its_next_hop() {
    let down = |resets| {
        let mut servers = pool(&[1, 1, 1]);
        if resets {
            (servers[1].weight, servers[1].resets) = (0, true);
        }
        one(Scheduler::Mh, servers)
    };
    let mut director = Director::new(&down(false));
    let address = IpAddr::from([10, 0, 0, 2]);
    let next_hop = |last| NextHop {
        interface: 2,
        source_mac: [2, 0, 0, 0, 0, 1],
        next_hop_mac: Some([2, 0, 0, 0, 0, last]),
        behind_router: false,
        mtu: 1500,
        source_address: None,
    };
    director.handle(Event::NextHop { address, next_hop: Some(next_hop(2)) });
    let (index, generation) = director.destinations(1)[1];
    let bases: Vec<u16> = director.slots(1).iter().map(Slot::base).collect();
    let commands = director.load(&down(true));
    let Command::SetDestination { index: first, value } = commands[0] else { panic!("{commands:?}") };
    assert_eq!((first, value.generation, value.flags), (index, generation, NEXT_HOP_KNOWN | RESETS));
    assert_eq!(director.slots(1).iter().map(Slot::base).collect::<Vec<_>>(), bases);
    assert!(director.slots(1).iter().all(|slot| slot.current() != 1));
    assert_eq!(director.state.describe().services[0].destinations.iter().filter(|one| one.resets).count(), 1);
    let mut heir = State::adopt(director.model.snapshot.clone());
    assert_eq!(heir.handle(Event::Desired(down(true)), director.now), []);

    // Its neighbour is one thing, its health another.
    let commands = director.handle(Event::NextHop { address, next_hop: Some(next_hop(3)) });
    let [Command::SetDestination { value, .. }] = commands[..] else { panic!("{commands:?}") };
    assert_eq!((value.flags, value.next_hop[5]), (NEXT_HOP_KNOWN | RESETS, 3));
    director.load(&down(false));
    assert_eq!(director.model.snapshot.destinations[&index].flags, NEXT_HOP_KNOWN);
    // Taken out it is removed, and nothing else.
    director.load(&down(true));
    director.load(&one(Scheduler::Mh, vec![server(1, 1), server(3, 1)]));
    assert!(director.model.snapshot.destinations[&index].has(REMOVED));
    director.load(&down(false));
    assert_eq!(director.model.snapshot.destinations[&index].flags, NEXT_HOP_KNOWN);
}

/// The program writes it into the answers.
#[test]
fn a_nat_server_has_the_vip_as_its_source_whatever_is_known_of_its_neighbour() {
    let nat = RealServer { forward: Forward::Nat, ..server(1, 1) };
    let mut file = one(Scheduler::Rr, vec![nat.clone()]);
    // The same machine by nat and by ipip: one report is for both.
    let ipip = RealServer { forward: Forward::Ipip, ..nat.clone() };
    file.services.push(service(2, 80, Scheduler::Rr, vec![ipip]));
    let mut director = Director::new(&file);
    let sources = |director: &Director| {
        [1, 2].map(|vip| {
            let (index, _) = director.destinations(vip)[0];
            director.model.snapshot.destinations[&index].source_address
        })
    };
    let vip = key(1, 80).address;
    assert_eq!(sources(&director), [vip, Address::UNSPECIFIED]);

    let own = IpAddr::from([10, 0, 0, 254]);
    let known = NextHop {
        interface: 3,
        source_mac: [2, 0, 0, 0, 0, 1],
        next_hop_mac: Some([2, 0, 0, 0, 0, 2]),
        behind_router: false,
        mtu: 1500,
        source_address: Some(own),
    };
    let silent = NextHop { next_hop_mac: None, ..known.clone() };
    for (next_hop, outer) in
        [(Some(known), own.into()), (Some(silent), own.into()), (None, Address::UNSPECIFIED)]
    {
        let report = Event::NextHop { address: IpAddr::from([10, 0, 0, 1]), next_hop: next_hop.clone() };
        director.handle(report);
        assert_eq!(sources(&director), [vip, outer], "{next_hop:?}");
    }
    // One that comes when the report is there already.
    file.services.push(service(3, 80, Scheduler::Rr, vec![nat]));
    director.load(&file);
    let (index, _) = director.destinations(3)[0];
    assert_eq!(director.model.snapshot.destinations[&index].source_address, key(3, 80).address);
}

/// What a packet for no service is looked at for. Whether a flag is there as long as a service needs it,
/// the model looks after every command.
#[test]
fn flags_come_before_the_services_that_need_them_and_go_after_them() {
    let by = |forward, host| RealServer { forward, ..server(host, 1) };
    let every_port = RealServer { port: 0, ..by(Forward::Nat, 2) };
    let services = [
        (service(1, 80, Scheduler::Mh, vec![by(Forward::Nat, 1), by(Forward::Dr, 2)]), true),
        (service(2, 80, Scheduler::Mh, vec![by(Forward::Nat, 1)]), false),
        (service(3, 0, Scheduler::Mh, vec![every_port]), false),
        (service(4, 80, Scheduler::Mh, vec![by(Forward::Ipip, 1)]), true),
        (service(5, 80, Scheduler::Mh, vec![by(Forward::Local, 3)]), false),
        (service(6, 80, Scheduler::Mh, Vec::new()), false),
    ];
    let all = config(services.iter().map(|(service, _)| service.clone()).collect());
    let mut director = Director::new(&all);
    for (service, answers_routed) in &services {
        let installed = &director.model.snapshot.services[&key_of(service)];
        let routed = installed.flags & service_flags::ANSWERS_ROUTED != 0;
        assert_eq!(routed, *answers_routed, "{}", service.name);
    }
    let flags_of = |director: &Director| director.model.snapshot.settings.unwrap().flags;
    assert_eq!(flags_of(&director), flags::NAT | flags::ANSWERS_ROUTED | flags::ANY_PORT);
    assert_eq!(director.load(&all), []);

    // Each alone, from nothing and back to nothing.
    director.load(&config(Vec::new()));
    let alone = [
        flags::NAT | flags::ANSWERS_ROUTED,
        flags::NAT,
        flags::NAT | flags::ANY_PORT,
        flags::ANSWERS_ROUTED,
        0,
        0,
    ];
    for ((service, _), wanted) in services.iter().zip(alone) {
        assert_eq!(flags_of(&director), 0);
        let file = config(vec![service.clone()]);
        let commands = director.load(&file);
        assert_eq!(flags_of(&director), wanted, "{}", service.name);
        if wanted != 0 {
            assert_eq!(settings_among(&commands), [(0, wanted)], "{}: before all else", service.name);
        }
        let commands = director.load(&config(Vec::new()));
        let last = commands.len() - 1;
        let cleared = if wanted == 0 { vec![] } else { vec![(last, 0)] };
        assert_eq!(settings_among(&commands), cleared, "{}: after all else", service.name);
    }

    // From one to another: both while it lasts.
    let nat = config(vec![services[2].0.clone()]);
    let ipip = config(vec![services[3].0.clone()]);
    director.load(&nat);
    let commands = director.load(&ipip);
    let both = flags::NAT | flags::ANY_PORT | flags::ANSWERS_ROUTED;
    assert_eq!(settings_among(&commands), [(0, both), (commands.len() - 1, flags::ANSWERS_ROUTED)]);
    // The forwarding method of one service changes.
    let dr = config(vec![service(4, 80, Scheduler::Mh, vec![by(Forward::Nat, 1)])]);
    let commands = director.load(&dr);
    let both = flags::NAT | flags::ANSWERS_ROUTED;
    assert_eq!(settings_among(&commands), [(0, both), (commands.len() - 1, flags::NAT)]);
    assert_eq!(director.service(4).flags & service_flags::ANSWERS_ROUTED, 0);
}

/// Where among the commands the settings are written, and with which flags.
fn settings_among(commands: &[Command]) -> Vec<(usize, u32)> {
    let settings = commands.iter().enumerate().filter_map(|(position, command)| match command {
        Command::SetSettings(settings) => Some((position, settings.flags)),
        _ => None,
    });
    settings.collect()
}

/// A service that does not fit stays as it was, and so must what it needs.
#[test]
fn the_flags_of_a_service_that_is_held_back_stay() {
    let capacity = Capacity { destinations: 2, ..Capacity::default() };
    let nat = |host| RealServer { forward: Forward::Nat, ..server(host, 1) };
    let mut state = State::adopt_with(Default::default(), capacity);
    state.handle(Event::Desired(one(Scheduler::Mh, vec![nat(1)])), Duration::ZERO);
    // Two more than fit, all of them dr.
    state.handle(Event::Desired(one(Scheduler::Mh, pool(&[1, 1, 1]))), Duration::ZERO);
    assert!(state.warnings()[0].contains("no free destination"), "{:?}", state.warnings());
    let mut model = Model::default();
    model.adopt(state.snapshot().clone());
    model.heeds_its_services();
}

#[test]
fn timeouts_are_those_of_the_file() {
    let mut file = config(Vec::new());
    file.timeouts = Timeouts { tcp: 1, tcp_fin: 2, udp: 3 };
    let director = Director::new(&file);
    let timeouts = director.model.snapshot.settings.unwrap().timeouts;
    let of = |state: u32| timeouts[state as usize];
    assert_eq!(of(state::ESTABLISHED), ticks::from_seconds(1));
    assert_eq!(of(state::FIN_WAIT), ticks::from_seconds(2));
    assert_eq!(of(state::UDP), ticks::from_seconds(3));
    assert_eq!(of(state::TIME_WAIT), ticks::from_seconds(120));
}

#[test]
fn a_reload_leaves_alone_what_the_file_does_not_own() {
    let director = Director::new(&one(Scheduler::Wrr, pool(&[3, 1])));
    let mut snapshot = director.model.snapshot.clone();
    snapshot.services.get_mut(&key(1, 80)).unwrap().owner = owner::COMMAND_LINE;
    let mut state = State::adopt(snapshot);
    assert_eq!(state.handle(Event::Desired(config(Vec::new())), director.now), []);
    assert_eq!(state.describe().services[0].owner, "command-line");
}

#[test]
fn what_cannot_be_right_is_built_anew() {
    let mut file = one(Scheduler::Mh, pool(&[1, 1]));
    file.services.push(service(2, 80, Scheduler::Wlc, pool(&[1, 1])));
    let sane = Director::new(&file).model.snapshot;
    let (first, second) = (key(1, 80), key(2, 80));
    let damages: [&dyn Fn(&mut crate::control::Snapshot); 10] = [
        &|kernel| kernel.members.clear(),
        &|kernel| kernel.destinations.clear(),
        &|kernel| kernel.rings.clear(),
        &|kernel| kernel.vips.clear(),
        &|kernel| kernel.settings = None,
        &|kernel| kernel.rings.values_mut().for_each(|slots| slots[7] = Slot::single(2)),
        &|kernel| kernel.rings.values_mut().for_each(|slots| slots.truncate(5)),
        &|kernel| kernel.services.get_mut(&second).unwrap().members = sane.services[&first].members,
        &|kernel| kernel.services.get_mut(&second).unwrap().index = sane.services[&first].index,
        &|kernel| kernel.services.values_mut().for_each(|service| service.member_count = u32::MAX),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut damaged = sane.clone();
        damage(&mut damaged);
        let mut state = State::adopt(damaged);
        let commands = state.handle(Event::Desired(file.clone()), Duration::ZERO);
        assert!(!commands.is_empty(), "damage {number} went unseen");
        let mut healed = State::adopt(state.snapshot().clone());
        assert!(healed.warnings().is_empty(), "damage {number}: {:?}", healed.warnings());
        assert_eq!(healed.handle(Event::Desired(file.clone()), Duration::ZERO), [], "damage {number}");
        let mut model = Model::default();
        model.adopt(state.snapshot().clone());
        model.fulfils(&file, &Default::default());
    }
}

/// The data plane knows the sizes of its maps and the seed, and has set them.
#[test]
fn the_shape_of_the_connection_table_is_left_alone() {
    let file = one(Scheduler::Rr, pool(&[1]));
    let mut snapshot = Director::new(&file).model.snapshot;
    let shape = Settings {
        embryonic_slots: 1024,
        buckets: 77,
        connections: 12,
        seed: 0x1234_5678_9abc_def1,
        ..snapshot.settings.unwrap()
    };
    snapshot.settings = Some(shape);
    let mut state = State::adopt(snapshot);
    assert_eq!(state.handle(Event::Desired(file.clone()), Duration::ZERO), []);
    // Not when other settings are written either.
    let mut shorter = file;
    shorter.timeouts.tcp = 1;
    let commands = state.handle(Event::Desired(shorter), Duration::ZERO);
    let [Command::SetSettings(written)] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(Settings { timeouts: shape.timeouts, ..written }, shape);
    assert_ne!(written, shape);
}

#[test]
fn a_change_that_does_not_fit_leaves_the_service_as_it_is() {
    let capacity = Capacity { destinations: 3, ..Capacity::default() };
    let mut state = State::adopt_with(Default::default(), capacity);
    state.handle(Event::Desired(one(Scheduler::Wrr, pool(&[1, 1]))), Duration::ZERO);
    let before = state.snapshot().clone();
    assert_eq!(state.handle(Event::Desired(one(Scheduler::Wrr, pool(&[1, 2, 3, 4]))), Duration::ZERO), []);
    assert_eq!(*state.snapshot(), before);
    assert_eq!(state.handle(Event::Tick, Duration::ZERO), []);
    assert!(!state.handle(Event::Desired(one(Scheduler::Wrr, pool(&[1, 2, 3]))), Duration::ZERO).is_empty());
}

/// Also while every real server is out: their probes are what brings them back.
#[test]
fn probes_on_the_path_are_looked_for_as_long_as_a_service_wants_them() {
    let mut probed = service(1, 80, Scheduler::Mh, Vec::new());
    probed.health.probes_the_path = true;
    let plain = service(2, 80, Scheduler::Mh, Vec::new());
    let mut director = Director::new(&config(vec![probed.clone(), plain.clone()]));
    let flags_of = |director: &Director| director.model.snapshot.settings.unwrap().flags;
    assert_eq!(flags_of(&director), flags::PROBES);
    assert_eq!(director.load(&config(vec![probed, plain.clone()])), []);
    director.load(&config(vec![plain]));
    assert_eq!(flags_of(&director), 0);
}

#[test]
fn what_does_not_fit_waits_for_room() {
    let file =
        |count: u8| config((1..=count).map(|vip| service(vip, 80, Scheduler::Rr, pool(&[1, 1]))).collect());
    let capacity = Capacity { destinations: 4, ..Capacity::default() };
    let mut state = State::adopt_with(Default::default(), capacity);
    state.handle(Event::Desired(file(2)), Duration::ZERO);
    let mut moved = file(3);
    moved.services.remove(0);
    state.handle(Event::Desired(moved), Duration::ZERO);
    assert!(!state.snapshot().services.contains_key(&key(3, 80)));
    assert!(state.warnings()[0].contains("no free destination"), "{:?}", state.warnings());
    for _ in 0..2 {
        state.handle(Event::Swept { references: Default::default() }, Duration::ZERO);
    }
    assert!(state.snapshot().services.contains_key(&key(3, 80)));
    assert!(state.warnings().is_empty());
}

#[test]
fn the_operator_is_warned_of_coarse_shares() {
    let warnings = Summary::of(&one(Scheduler::Mh, pool(&[1, 60_000]))).warnings;
    assert!(warnings[0].contains("of 65537 slots"), "{warnings:?}");
    let warnings = Summary::of(&one(Scheduler::Wrr, pool(&[65_535, 65_534]))).warnings;
    assert!(warnings[0].contains("add up to 131069"), "{warnings:?}");
    let warnings = Summary::of(&one(Scheduler::Lc, Vec::new())).warnings;
    assert!(warnings[0].contains("no real server"), "{warnings:?}");
}

/// The table has room for as many embryonic connections as the loader makes of the limit: a power of two.
#[test]
fn a_summary_counts_the_connection_table_as_it_is_made() {
    let bytes = |embryonic| {
        let mut config = config(Vec::new());
        config.limits = Limits { connections: 4096, embryonic, ..config.limits };
        Summary::of(&config).connection_bytes
    };
    assert_eq!(bytes(1025), bytes(2048));
    assert!(bytes(1025) > bytes(1024));
}

#[test]
fn a_summary_reads_like_the_file() {
    let mut services =
        vec![service(1, 80, Scheduler::Wrr, pool(&[3, 1])), service(2, 0, Scheduler::Mh, pool(&[1]))];
    services[1].real_servers[0].port = 0;
    let text = Summary::of(&config(services)).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..6],
        [
            "service s1-80 192.0.2.1:80/tcp wrr, tracked, ring 1 of 4 slots",
            "    10.0.0.1:80 dr weight 3",
            "    10.0.0.2:80 dr weight 1",
            "service s2-0 192.0.2.2:*/tcp mh, ring 0 of 4093 slots",
            "    10.0.0.1:* dr weight 1",
            "2 services, 3 destinations, 2 rings",
        ],
        "{text}"
    );
}

#[test]
fn an_address_needs_its_lease_before_its_services_do_and_longer() {
    let nat = RealServer { forward: Forward::Nat, ..server(1, 1) };
    let alone = one(Scheduler::Rr, vec![nat]);
    let grouped = Config { cluster: cluster(&[&[9], &[1, 7]]), ..alone.clone() };
    let mut director = Director::new(&alone);
    let names = |commands: &[Command]| -> Vec<&str> {
        commands
            .iter()
            .map(|command| match command {
                Command::SetSettings(_) => "settings",
                Command::SetGroupAddress { .. } => "group address",
                Command::DeleteGroupAddress { .. } => "no group address",
                Command::SetDestination { .. } => "destination",
                Command::SetService { .. } => "service",
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let joining = director.load(&grouped);
    let addresses = ["group address"; 3];
    assert_eq!(names(&joining), [&["settings"][..], &addresses, &["destination", "service"]].concat());
    let (index, _) = director.destinations(1)[0];
    assert_eq!(director.service(1).lease, 2, "the second group's");
    assert_eq!(director.model.snapshot.destinations[&index].lease, 2);
    let leaving = director.load(&alone);
    let addresses = ["no group address"; 3];
    assert_eq!(names(&leaving), [&["destination", "service"][..], &addresses, &["settings"]].concat());
    assert_eq!(director.service(1).lease, 0);
}

#[test]
fn a_removed_nat_server_answers_under_the_lease_of_today() {
    let nat = |host| RealServer { forward: Forward::Nat, ..server(host, 1) };
    let file = |servers, groups: &[&[u8]]| Config { cluster: cluster(groups), ..one(Scheduler::Rr, servers) };
    let mut director = Director::new(&file(vec![nat(1), nat(2)], &[&[1]]));
    let leases = |director: &Director| -> Vec<u8> {
        director.model.snapshot.destinations.values().map(|destination| destination.lease).collect()
    };
    assert_eq!(leases(&director), [1, 1]);
    director.load(&file(vec![nat(1)], &[&[1]]));
    director.load(&file(vec![nat(1)], &[&[9], &[1]]));
    assert_eq!(leases(&director), [2, 2]);
}

#[test]
fn a_group_beyond_the_last_lease_is_never_held() {
    let hosts: Vec<[u8; 1]> = (2..=255).map(|host| [host]).collect();
    let mut groups: Vec<&[u8]> = hosts.iter().map(<[u8; 1]>::as_slice).collect();
    groups.extend([&[0][..], &[1]]);
    let director = Director::new(&Config { cluster: cluster(&groups), ..one(Scheduler::Rr, pool(&[1])) });
    assert_eq!(director.service(1).lease, u8::MAX);
    assert!(u32::from(director.service(1).lease) >= lvs_common::limits::LEASES);
}

/// The service keeps its form, since there is no ring for the one that is wanted, but not its lease.
#[test]
fn a_service_that_does_not_fit_gives_up_a_lease_whose_addresses_go() {
    let file = |weight| {
        let first = service(1, 80, Scheduler::Rr, pool(&[weight]));
        config(vec![first, service(2, 80, Scheduler::Mh, pool(&[1]))])
    };
    let capacity = Capacity { rings: 1, ..Capacity::default() };
    let mut state = State::adopt_with(Default::default(), capacity);
    let mut model = Model::default();
    let mut load = |file: &Config| {
        model.expect(file);
        // The model looks after each command whether the address of every lease is there.
        model.apply_all(&state.handle(Event::Desired(file.clone()), Duration::ZERO));
        let leases = [1, 2].map(|vip| model.snapshot.services[&key(vip, 80)].lease);
        (leases, state.warnings().iter().any(|warning| warning.contains("no free ring")))
    };
    let grouped = |weight| Config { cluster: cluster(&[&[1, 2]]), ..file(weight) };
    assert_eq!(load(&grouped(0)), ([1, 1], false));
    assert_eq!(load(&file(1)), ([0, 0], true));
    assert_eq!(load(&grouped(1)), ([1, 1], true));
}

/// Entries come from the director that has served so far, and win over the ring until a census finds none.
#[test]
fn a_ring_of_a_group_begins_unsettled_where_another_director_may_have_served() {
    let file = config(vec![service(1, 80, Scheduler::Mh, pool(&[1, 1]))]);
    for (file, unsettled) in [(Config { cluster: cluster(&[&[1]]), ..file.clone() }, true), (file, false)] {
        let mut state = State::adopt_with(Default::default(), Capacity::default());
        let mut model = Model::default();
        model.expect(&file);
        model.apply_all(&state.handle(Event::Desired(file), Duration::ZERO));
        let ring = model.snapshot.services[&key(1, 80)].ring;
        assert!(model.snapshot.rings[&ring].iter().all(|slot| slot.is_unsettled() == unsettled));
    }
}
