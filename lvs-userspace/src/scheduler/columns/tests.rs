//! The rule against a model of the data plane and of clients whose flows never end by themselves.

mod model;

use std::time::Duration;

use proptest::prelude::*;

use super::{Columns, SlotsChanged};
use lvs_common::ring::Slot;
use model::{Program, TIMEOUT, World};

const NOW: Duration = Duration::from_secs(1000);
const EVERYBODY: fn(u16) -> bool = |_| true;

fn slot(columns: &Columns) -> Slot {
    columns.slots()[0]
}

#[test]
fn a_slot_becomes_dual_and_retires_after_the_longest_timeout() {
    let mut columns = Columns::new(&[0]);
    assert_eq!(slot(&columns), Slot::single(0));
    assert_eq!(columns.update(&[1], EVERYBODY, NOW), Ok(1));
    assert_eq!(slot(&columns), Slot::new(1, 0, false));
    assert_eq!(columns.update(&[1], EVERYBODY, NOW), Ok(0), "nothing changed");

    let due = columns.next_retirement(TIMEOUT).unwrap();
    assert!(due >= NOW + TIMEOUT && due <= NOW + TIMEOUT + Duration::from_secs(2));
    assert_eq!(columns.retire(TIMEOUT, due - Duration::from_millis(1)), 0);
    assert_eq!(columns.retire(TIMEOUT, due), 1);
    assert_eq!(slot(&columns), Slot::new(1, 1, true), "flows of 0 live on as entries");
    assert_eq!(columns.next_retirement(TIMEOUT), None);
}

#[test]
fn a_further_change_moves_current_only_and_does_not_delay_retirement() {
    let mut columns = Columns::new(&[0]);
    columns.update(&[1], EVERYBODY, NOW).unwrap();
    let due = columns.next_retirement(TIMEOUT);
    columns.update(&[2], EVERYBODY, NOW + TIMEOUT / 2).unwrap();
    assert_eq!(slot(&columns), Slot::new(2, 0, true), "entries may name 1");
    assert_eq!(columns.next_retirement(TIMEOUT), due);
}

#[test]
fn a_change_taken_back_leaves_the_slot_unsettled() {
    let mut columns = Columns::new(&[0]);
    columns.update(&[1], EVERYBODY, NOW).unwrap();
    columns.update(&[0], EVERYBODY, NOW).unwrap();
    assert_eq!(slot(&columns), Slot::new(0, 0, true));
    assert!(slot(&columns).consults_table());
}

#[test]
fn the_flows_of_a_dead_server_keep_nothing_open() {
    let mut columns = Columns::new(&[0]);
    columns.update(&[1], |position| position != 0, NOW).unwrap();
    assert_eq!(slot(&columns), Slot::single(1), "dead while settled");

    columns.update(&[2], EVERYBODY, NOW).unwrap();
    columns.update(&[2], |position| position != 1, NOW).unwrap();
    assert_eq!(slot(&columns), Slot::single(2), "a dead base gives way, and entries named 1 and 2 only");

    columns.update(&[3], EVERYBODY, NOW).unwrap();
    columns.update(&[4], |position| position != 3, NOW).unwrap();
    assert_eq!(slot(&columns), Slot::new(4, 2, false), "a dead current leaves no entry");

    columns.update(&[5], |position| position != 2, NOW).unwrap();
    assert_eq!(slot(&columns), Slot::new(5, 5, true), "flows of 4 live on");
}

#[test]
fn drained_servers_keep_their_flows_when_nobody_can_serve() {
    let mut columns = Columns::new(&[0, 1]);
    columns.update(&[], EVERYBODY, NOW).unwrap();
    assert_eq!(columns.slots(), [Slot::new(Slot::NOBODY, 0, false), Slot::new(Slot::NOBODY, 1, false)]);
    columns.update(&[0, 0], EVERYBODY, NOW).unwrap();
    assert_eq!(columns.slots(), [Slot::single(0), Slot::new(0, 1, false)], "nobody has no flows");
    columns.update(&[], |_| false, NOW).unwrap();
    assert_eq!(columns.slots(), [Slot::single(Slot::NOBODY); 2]);
    columns.update(&[1, 1], EVERYBODY, NOW).unwrap();
    assert_eq!(columns.slots(), [Slot::single(1); 2]);
}

#[test]
fn a_slot_settles_by_evidence_from_after_its_publication() {
    let mut columns = Columns::new(&[0, 0, 0, 0]);
    columns.update(&[1, 1, 1, 0], EVERYBODY, NOW).unwrap();
    columns.update(&[0, 0, 1, 0], EVERYBODY, NOW).unwrap();
    assert!(columns.is_unsettled());
    assert_eq!(columns.settle([], NOW, NOW), 0, "the walk began before the slot was published");

    let later = NOW + Duration::from_secs(3);
    let holders = [(0, 1), (0, 0), (1, 0), (2, 0), (9, 9)];
    assert_eq!(columns.settle(holders, later, later), 1);
    let expected = [Slot::new(0, 0, true), Slot::single(0), Slot::new(1, 0, false), Slot::single(0)];
    assert_eq!(columns.slots(), expected, "0 has a stranger, 2 is dual");
}

#[test]
fn a_position_is_referenced_by_either_column() {
    let mut columns = Columns::new(&[0]);
    columns.update(&[1], EVERYBODY, NOW).unwrap();
    assert_eq!([0, 1, 2].map(|position| columns.references(position)), [true, true, false]);
    columns.update(&[1], |position| position != 0, NOW).unwrap();
    assert!(!columns.references(0));
}

#[test]
fn an_adopted_ring_begins_its_times_anew() {
    let mut first = Columns::new(&[0, 0]);
    first.update(&[1, 0], EVERYBODY, NOW).unwrap();
    let later = NOW + TIMEOUT;
    let second = Columns::adopt(first.slots().to_vec(), later);
    assert_eq!(second.slots(), first.slots());
    assert!(second.next_retirement(TIMEOUT).unwrap() >= later + TIMEOUT);
}

#[test]
fn a_ring_of_another_length_is_refused() {
    let mut columns = Columns::new(&[0, 0]);
    let refused = columns.update(&[0; 3], EVERYBODY, NOW);
    assert_eq!(refused, Err(SlotsChanged { slots: 2, wanted: 3 }));
    assert_eq!(columns.slots(), [Slot::single(0); 2]);
}

/// What an operator does; after each step the world goes on for a while.
type Scenario = fn(&mut World);

fn drain_and_undrain(world: &mut World) {
    world.set_weight(0, 0);
    world.pass(TIMEOUT / 2);
    world.set_weight(0, 100);
    world.pass(TIMEOUT * 3);
}

fn slow_drain_and_undrain(world: &mut World) {
    world.set_weight(0, 0);
    world.pass(TIMEOUT * 2);
    world.set_weight(0, 100);
    world.pass(TIMEOUT * 3);
}

fn rolling_drain(world: &mut World) {
    for server in world.servers() {
        world.set_weight(server, 0);
        world.pass(TIMEOUT / 4);
        world.set_weight(server, 100);
        world.pass(TIMEOUT / 4);
    }
    world.pass(TIMEOUT * 2);
}

fn one_then_another(world: &mut World) {
    world.set_weight(0, 0);
    world.pass(TIMEOUT / 3);
    world.set_weight(1, 0);
    world.pass(TIMEOUT * 2);
    world.set_weight(0, 100);
    world.pass(TIMEOUT / 3);
    world.set_weight(1, 100);
    world.pass(TIMEOUT * 2);
}

fn two_deaths_and_returns(world: &mut World) {
    for server in [0, 1] {
        world.kill(server);
        world.pass(TIMEOUT / 5);
    }
    for server in [0, 1] {
        world.revive(server, 100);
        world.pass(TIMEOUT / 5);
    }
    world.pass(TIMEOUT * 2);
}

fn slow_start(world: &mut World) {
    world.kill(0);
    world.pass(TIMEOUT / 10);
    world.revive(0, 0);
    for step in 1..=10 {
        world.set_weight(0, step * 10);
        world.pass(TIMEOUT / 10);
    }
    world.pass(TIMEOUT * 2);
}

fn rolling_restart(world: &mut World) {
    for server in world.servers() {
        world.set_weight(server, 0);
        world.pass(TIMEOUT / 2);
        world.kill(server);
        world.pass(TIMEOUT / 10);
        world.revive(server, 100);
        world.pass(TIMEOUT / 2);
    }
    world.pass(TIMEOUT * 2);
}

fn everybody_drained_at_once(world: &mut World) {
    for server in world.servers() {
        world.set_weight(server, 0);
    }
    world.pass(TIMEOUT * 2);
    for server in world.servers() {
        world.set_weight(server, 100);
        world.pass(TIMEOUT / 10);
    }
}

const SCENARIOS: [(&str, Scenario); 8] = [
    ("drain and undrain", drain_and_undrain),
    ("drain, retire, undrain", slow_drain_and_undrain),
    ("rolling drain", rolling_drain),
    ("A then B", one_then_another),
    ("two deaths and returns", two_deaths_and_returns),
    ("slow start", slow_start),
    ("rolling restart", rolling_restart),
    ("everybody drained at once", everybody_drained_at_once),
];

fn run(program: Program, servers: usize, scenario: Scenario) -> World {
    let mut world = World::new(program, servers, 1500, 7);
    world.pass(TIMEOUT * 2);
    scenario(&mut world);
    world
}

#[test]
fn no_live_flow_of_a_living_server_moves() {
    for servers in [3, 8, 32] {
        for (name, scenario) in SCENARIOS {
            let world = run(Program::TCP, servers, scenario);
            assert_eq!(world.moved, 0, "{name} with {servers} servers");
            assert!(world.packets > 5_000, "{name}: only {} packets", world.packets);
        }
    }
}

#[test]
fn udp_stays_where_it_is_tracked() {
    for (name, scenario) in SCENARIOS {
        let world = run(Program { udp: true, tracked: true, ..Program::TCP }, 8, scenario);
        assert_eq!(world.moved, 0, "{name}");
    }
}

/// A datagram says nothing of the age of its flow: one change costs the flows of the slots it touches.
#[test]
fn untracked_udp_moves_once_with_its_slot() {
    let world = run(Program { udp: true, ..Program::TCP }, 8, |world| {
        world.set_weight(0, 0);
        world.pass(TIMEOUT * 2);
        world.set_weight(0, 100);
        world.pass(TIMEOUT * 2);
    });
    let share = world.moved as f64 / 1500.0;
    println!("{:.1} % of the flows moved", share * 100.0);
    assert!((0.09..0.25).contains(&share), "{share}");
}

/// Two columns without the flag: what the flag is there for, and proof that the model can fail.
#[test]
fn without_the_flag_flows_move() {
    let naive = Program { heeds_unsettled: false, ..Program::TCP };
    for (name, scenario) in SCENARIOS {
        let moved = run(naive, 8, scenario).moved;
        println!("{name}: {moved} of 1500");
        assert!(moved > 0, "{name}");
    }
}

#[test]
fn slots_settle_when_foreign_flows_are_gone() {
    let mut world = run(Program::TCP, 8, drain_and_undrain);
    world.look();
    world.settle();
    assert!(world.columns().is_unsettled(), "flows that began elsewhere live on");
    world.close_all();
    world.pass(TIMEOUT * 2);
    world.look();
    world.settle();
    assert!(!world.columns().is_unsettled());
    assert!(world.columns().slots().iter().all(|slot| !slot.consults_table()));
}

#[test]
fn a_ring_of_another_size_takes_over_after_a_tracked_timeout() {
    for (tracked_for, moves) in [(TIMEOUT, false), (TIMEOUT / 4, true)] {
        let mut world = World::new(Program::TCP, 8, 1500, 7);
        world.pass(TIMEOUT);
        world.set_weight(0, 0);
        world.pass(TIMEOUT / 4);
        world.track(true);
        world.pass(tracked_for);
        world.resize(1021);
        world.track(false);
        world.pass(TIMEOUT);
        world.set_weight(0, 100);
        world.pass(TIMEOUT * 2);
        assert_eq!(world.moved > 0, moves, "{} moved, tracked for {tracked_for:?}", world.moved);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Weight(usize, u32),
    Kill(usize),
    Revive(usize, u32),
    Replace(usize),
    Retire,
    Look,
    Settle,
    Track(bool),
    Restart,
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8usize, prop_oneof![Just(0), 1..=100u32]).prop_map(|(server, weight)| Step::Weight(server, weight)),
        1 => (0..8usize).prop_map(Step::Kill),
        2 => (0..8usize, 0..=100u32).prop_map(|(server, weight)| Step::Revive(server, weight)),
        1 => (0..8usize).prop_map(Step::Replace),
        2 => Just(Step::Retire),
        2 => Just(Step::Look),
        2 => Just(Step::Settle),
        1 => any::<bool>().prop_map(Step::Track),
        1 => Just(Step::Restart),
        6 => (1..150u32).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_history_moves_a_live_flow_of_a_living_server(
        servers in 1..8usize,
        seed in any::<u64>(),
        reuse in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(Program::TCP, servers, 150, seed);
        world.reuse_ports = reuse;
        world.retires_by_itself = false;
        for step in &steps {
            match *step {
                Step::Weight(server, weight) => world.set_weight(server % servers, weight),
                Step::Kill(server) => world.kill(server % servers),
                Step::Revive(server, weight) => world.revive(server % servers, weight),
                Step::Replace(server) => world.replace(server % servers),
                Step::Retire => world.retire(),
                Step::Look => world.look(),
                Step::Settle => world.settle(),
                Step::Track(tracked) => world.track(tracked),
                Step::Restart => world.restart(),
                Step::Pass(seconds) => world.pass(Duration::from_secs(u64::from(seconds))),
            }
            prop_assert_eq!(world.moved, 0);
        }
    }
}
