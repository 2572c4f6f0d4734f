//! Several machines of one virtual router on a simulated link: whatever happened before, one of them is active in the
//! end, and it is the right one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::machine::{Command, Machine, Parameters, State, lease};
use super::packet::Advertisement;
use crate::config::model::VrrpVersion;

const INTERVAL: Duration = Duration::from_millis(100);

struct World {
    now: Instant,
    nodes: Vec<Node>,
    /// On their way: when they arrive, at whom, from whom.
    packets: BTreeMap<(Instant, usize), (usize, u8)>,
    /// Machines of the one half do not hear those of the other.
    is_cut: bool,
    delay: Duration,
}

struct Node {
    machine: Machine,
    priority: u8,
    is_alive: bool,
    /// Until when its data plane answers.
    lease: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Incident {
    Kill(usize),
    Stop(usize),
    Start(usize),
    Cut,
    Heal,
    /// Milliseconds.
    Pass(u64),
}

fn address(index: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, index as u8 + 1).into()
}

fn machine(priority: u8, preempt: bool, index: usize) -> Machine {
    let (version, preempt_delay) = (VrrpVersion::V3, Duration::ZERO);
    Machine::new(Parameters { version, priority, preempt, preempt_delay, interval: INTERVAL }, address(index))
}

impl World {
    fn new(priorities: &[u8], preempt: bool, delay: Duration) -> Self {
        let nodes = priorities.iter().enumerate().map(|(index, priority)| Node {
            machine: machine(*priority, preempt, index),
            priority: *priority,
            is_alive: false,
            lease: None,
        });
        let nodes = nodes.collect();
        Self { now: Instant::now(), nodes, packets: BTreeMap::new(), is_cut: false, delay }
    }

    fn suffer(&mut self, incident: Incident, preempt: bool) {
        match incident {
            Incident::Kill(index) => self.nodes[index].is_alive = false,
            Incident::Stop(index) if self.nodes[index].is_alive => {
                let commands = self.nodes[index].machine.stop();
                self.carry_out(index, commands);
                self.nodes[index].is_alive = false;
            }
            Incident::Start(index) if !self.nodes[index].is_alive => {
                let node = &mut self.nodes[index];
                (node.machine, node.is_alive) = (machine(node.priority, preempt, index), true);
                let commands = node.machine.start(self.now);
                self.carry_out(index, commands);
            }
            Incident::Stop(_) | Incident::Start(_) => {}
            Incident::Cut => self.is_cut = true,
            Incident::Heal => self.is_cut = false,
            Incident::Pass(milliseconds) => self.pass(Duration::from_millis(milliseconds)),
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timers = self.nodes.iter().enumerate().filter(|(_, node)| node.is_alive);
            let timer = timers.filter_map(|(index, node)| Some((node.machine.next()?, index))).min();
            let packet = self.packets.first_key_value().map(|(key, _)| *key);
            // What has arrived counts before the time.
            let next = match (packet, timer) {
                (Some((arrives, _)), Some((at, _))) => arrives.min(at),
                (Some((at, _)), None) | (None, Some((at, _))) => at,
                (None, None) => break,
            };
            if next > end {
                break;
            }
            self.now = next.max(self.now);
            match (packet, timer) {
                (Some(key @ (arrives, to)), _) if arrives <= next => {
                    let Some((from, priority)) = self.packets.remove(&key) else { continue };
                    if self.nodes[to].is_alive {
                        let heard = advertisement(priority);
                        let commands = self.nodes[to].machine.heard(&heard, address(from), self.now);
                        self.carry_out(to, commands);
                    }
                }
                (_, Some((_, index))) => {
                    let commands = self.nodes[index].machine.tick(self.now);
                    self.carry_out(index, commands);
                }
                _ => {}
            }
        }
        self.now = end;
    }

    fn carry_out(&mut self, index: usize, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Send { priority } => {
                    for to in (0..self.nodes.len()).filter(|to| *to != index) {
                        if !self.is_cut || to % 2 == index % 2 {
                            // Each at a time of its own, so that none replaces another.
                            let mut at = self.now + self.delay;
                            while self.packets.contains_key(&(at, to)) {
                                at += Duration::from_nanos(1);
                            }
                            self.packets.insert((at, to), (index, priority));
                        }
                    }
                    if self.nodes[index].machine.state() == State::Active {
                        self.nodes[index].lease = Some(self.now + lease(INTERVAL));
                    }
                }
                Command::Take => {}
                Command::Give => self.nodes[index].lease = None,
            }
        }
    }

    fn active(&self) -> Vec<usize> {
        let is_active = |node: &Node| node.is_alive && node.machine.state() == State::Active;
        (0..self.nodes.len()).filter(|index| is_active(&self.nodes[*index])).collect()
    }
}

fn advertisement(priority: u8) -> Advertisement {
    let addresses = vec![address(99)];
    Advertisement { version: VrrpVersion::V3, router_id: 1, priority, interval: INTERVAL, addresses }
}

fn incident(nodes: usize) -> impl Strategy<Value = Incident> {
    prop_oneof![
        (0..nodes).prop_map(Incident::Kill),
        (0..nodes).prop_map(Incident::Stop),
        (0..nodes).prop_map(Incident::Start),
        Just(Incident::Cut),
        Just(Incident::Heal),
        (0..1_000_u64).prop_map(Incident::Pass),
    ]
}

proptest! {
    #[test]
    fn one_is_active_in_the_end(
        priorities in prop::collection::vec(1..255_u8, 2..5),
        preempt: bool,
        delay in 0..10_u64,
        incidents in prop::collection::vec(incident(4), 0..40),
    ) {
        let nodes = priorities.len();
        let mut world = World::new(&priorities, preempt, Duration::from_millis(delay));
        for incident in incidents {
            let incident = match incident {
                Incident::Kill(index) => Incident::Kill(index % nodes),
                Incident::Stop(index) => Incident::Stop(index % nodes),
                Incident::Start(index) => Incident::Start(index % nodes),
                other => other,
            };
            world.suffer(incident, preempt);
        }
        world.suffer(Incident::Heal, preempt);
        world.suffer(Incident::Start(0), preempt);
        world.pass(INTERVAL * 20);
        let active = world.active();
        prop_assert_eq!(active.len(), 1, "{:?}", active);
        let alive = (0..nodes).filter(|index| world.nodes[*index].is_alive);
        let best = alive.max_by_key(|index| (priorities[*index], *index));
        // Among equals whoever is active goes on.
        let is_best = best.is_some_and(|best| priorities[best] == priorities[active[0]]);
        prop_assert!(!preempt || is_best, "{:?} {:?}", active, best);
        let leases = world.nodes.iter().filter(|node| node.lease.is_some_and(|ends| ends > world.now));
        prop_assert_eq!(leases.count(), 1);
    }

    /// Of two on a sound link without preemption: whoever dies, both never answer at a time.
    #[test]
    fn leases_of_a_pair_do_not_overlap(
        priorities in prop::array::uniform2(1..255_u8),
        delay in 0..10_u64,
        lives in prop::collection::vec((1..2_000_u64, any::<bool>()), 1..10),
    ) {
        let mut world = World::new(&priorities, false, Duration::from_millis(delay));
        for (step, (milliseconds, in_order)) in lives.into_iter().enumerate() {
            let index = step % 2;
            world.suffer(Incident::Start(index), false);
            // Until it has heard the other, or is active itself.
            world.pass(INTERVAL * 5);
            for _ in 0..milliseconds {
                world.pass(Duration::from_millis(1));
                let leases = world.nodes.iter().filter(|node| node.lease.is_some_and(|ends| ends > world.now));
                prop_assert!(leases.count() <= 1);
            }
            let gone = 1 - index;
            world.suffer(if in_order { Incident::Stop(gone) } else { Incident::Kill(gone) }, false);
            for _ in 0..600 {
                world.pass(Duration::from_millis(1));
                let leases = world.nodes.iter().filter(|node| node.lease.is_some_and(|ends| ends > world.now));
                prop_assert!(leases.count() <= 1);
            }
        }
    }
}
