//! Random lives of a director: reloads, sweeps, neighbours, restarts and crashes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::model::Model;
use super::{cluster, config, server, service};
use crate::config::model::{Cluster, Config, Forward, Protocol, RealServer, Scheduler, Service};
use crate::control::state::{Capacity, Holdings, State};
use crate::control::{Event, NextHop};

#[derive(Clone, Debug)]
enum Step {
    Desired(Config),
    NextHop(u8, Option<Option<u8>>),
    /// Bit `i`: index `i` has connections.
    Swept(u64),
    Tick(u16),
    /// Time for everything that waits.
    Rest,
    /// The agent is started again.
    Restart,
    /// The agent dies after so many commands of a reload, and is started again, maybe with another file.
    Crash(Config, prop::sample::Index, Option<Config>),
}

fn schedulers() -> impl Strategy<Value = Scheduler> {
    prop::sample::select(vec![
        Scheduler::Rr,
        Scheduler::Wrr,
        Scheduler::Lc,
        Scheduler::Wlc,
        Scheduler::Sh,
        Scheduler::Mh,
        Scheduler::Mh,
    ])
}

fn servers() -> impl Strategy<Value = Vec<RealServer>> {
    let some = |hosts: std::ops::Range<u8>, count: std::ops::Range<usize>| {
        prop::collection::btree_map(hosts, (0u32..4, 0u8..12), count)
    };
    prop_oneof![3 => some(1..7, 0..5), 1 => some(1..40, 14..36)].prop_map(|servers| {
        let real_server = |(host, (weight, kind)): (u8, (u32, u8))| {
            let forward = match kind {
                0 => Forward::Nat,
                1 => Forward::Ipip,
                2 => Forward::Local,
                _ => Forward::Dr,
            };
            let resets = weight == 0 && kind % 2 == 1;
            RealServer { forward, resets, ..server(host, weight) }
        };
        servers.into_iter().map(real_server).collect()
    })
}

/// Pools come from a small set, so that services often agree.
fn configs() -> impl Strategy<Value = Config> {
    let of_service = (any::<prop::sample::Index>(), schedulers(), 0u8..8, any::<bool>());
    let keys = prop::collection::btree_map((1u8..4, prop::bool::ANY, prop::bool::ANY), of_service, 0..6);
    // To which group each of some addresses belongs, if to one; some are VIPs.
    let groups = prop::option::of(prop::collection::vec(prop::option::of(0usize..3), 5));
    (prop::collection::vec(servers(), 1..4), keys, groups).prop_map(|(pools, services, groups)| {
        let services = services.into_iter().map(|((vip, every_port, udp), (pool, scheduler, track, _))| {
            let port = if every_port { 0 } else { 80 };
            let pool = pool.get(&pools).clone();
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            Service { protocol, track_always: track == 0, ..service(vip, port, scheduler, pool) }
        });
        Config { cluster: groups.and_then(|groups| cluster_of(&groups)), ..config(services.collect()) }
    })
}

/// The group of each address from 192.0.2.1 on.
fn cluster_of(membership: &[Option<usize>]) -> Option<Arc<Cluster>> {
    let members = |group| {
        let hosts = (1u8..).zip(membership).filter(move |(_, own)| **own == Some(group));
        hosts.map(|(host, _)| host).collect::<Vec<u8>>()
    };
    let groups: Vec<Vec<u8>> = (0..3).map(members).filter(|hosts| !hosts.is_empty()).collect();
    cluster(&groups.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A file and what an editor makes of it next.
pub(super) fn edited() -> impl Strategy<Value = Vec<Config>> {
    let edit = (0u8..5, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u32..4);
    (configs(), prop::collection::vec(edit, 0..4)).prop_map(|(first, edits)| {
        let mut files = vec![first];
        for (kind, which, whom, weight) in edits {
            let mut file = files[files.len() - 1].clone();
            if file.services.is_empty() {
                continue;
            }
            let number = which.index(file.services.len());
            let touched = if kind == 0 { 0..file.services.len() } else { number..number + 1 };
            for service in &mut file.services[touched] {
                let pool = &mut service.real_servers;
                let host = 50 + whom.index(3) as u8;
                match kind {
                    0 | 1 if !pool.is_empty() => {
                        let number = whom.index(pool.len());
                        pool[number].weight = weight;
                        pool[number].resets = weight == 0 && kind == 1;
                    }
                    2 if !pool.is_empty() => drop(pool.remove(whom.index(pool.len()))),
                    3 if pool.iter().all(|other| other.address != IpAddr::from([10, 0, 0, host])) => {
                        pool.push(server(host, weight));
                    }
                    4 => service.track_always = !service.track_always,
                    _ => {}
                }
            }
            files.push(file);
        }
        files
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => edited().prop_map(|files| files.into_iter().map(Step::Desired).collect()),
        1 => (1u8..7, prop::option::of(prop::option::of(0u8..3))).prop_map(|(host, mac)| vec![Step::NextHop(host, mac)]),
        2 => prop_oneof![Just(0), any::<u64>()].prop_map(|busy| vec![Step::Swept(busy)]),
        2 => (0u16..1200).prop_map(|seconds| vec![Step::Tick(seconds)]),
        1 => Just(vec![Step::Restart]),
        1 => Just(vec![Step::Rest]),
        1 => (configs(), any::<prop::sample::Index>(), prop::option::of(configs()))
            .prop_map(|(file, at, next)| vec![Step::Crash(file, at, next)]),
    ];
    prop::collection::vec(step, 1..7).prop_map(|steps| steps.into_iter().flatten().collect())
}

struct Life {
    model: Model,
    state: State,
    capacity: Capacity,
    config: Config,
    now: Duration,
}

impl Life {
    fn new(capacity: Capacity) -> Self {
        let model = Model::default();
        let state = State::adopt_with(model.snapshot.clone(), capacity);
        let mut life =
            Self { model, state, capacity, config: config(Vec::new()), now: Duration::from_secs(1000) };
        life.desired(config(Vec::new()));
        life
    }

    fn handle(&mut self, event: Event) {
        let commands = self.state.handle(event, self.now);
        self.model.apply_all(&commands);
        assert_eq!(*self.state.snapshot(), self.model.snapshot);
    }

    fn restart(&mut self) {
        self.state = State::adopt_with(self.model.snapshot.clone(), self.capacity);
        assert!(self.state.warnings().is_empty(), "{:?}", self.state.warnings());
    }

    fn desired(&mut self, file: Config) {
        let holders = self.model.holders();
        self.config = file.clone();
        self.model.expect(&file);
        self.handle(Event::Desired(file));
        self.model.keeps(&holders);
        self.settled();
    }

    /// The same file again changes nothing, neither now nor after a restart.
    fn settled(&mut self) {
        if self.state.incomplete {
            return;
        }
        self.model.fulfils(&self.config, &self.state.learning);
        self.handle(Event::Desired(self.config.clone()));
        let mut heir = State::adopt_with(self.model.snapshot.clone(), self.capacity);
        let (mine, theirs) = (self.state.describe(), heir.describe());
        assert!(theirs.removed_destinations >= mine.removed_destinations);
        assert_eq!(theirs.rings, mine.rings);
        for event in [Event::Desired(self.config.clone()), Event::Desired(self.config.clone())] {
            assert_eq!(heir.handle(event, self.now), []);
        }
        assert_eq!(heir.describe().services, mine.services);
        assert_eq!(self.state.handle(Event::Desired(self.config.clone()), self.now), []);
    }

    fn rest(&mut self) {
        // What did not fit begins in the first round.
        for _ in 0..2 {
            self.now += Duration::from_secs(2000);
            for event in [Event::Tick, swept(0), swept(0), Event::Tick] {
                self.handle(event);
            }
            if let Some(census) = self.state.census(self.now) {
                self.handle(Event::Counted(census));
            }
        }
        assert!(self.state.incomplete || self.state.learning.is_empty());
        self.settled();
    }

    /// In the end nothing is left behind.
    fn end(mut self) {
        self.desired(config(Vec::new()));
        self.rest();
        assert!(self.model.snapshot.rings.is_empty());
        let (mine, fresh) = (&self.state.holdings, Holdings::new(self.capacity));
        assert_eq!(mine.chunks, fresh.chunks);
        for indices in [&mine.service_indices, &mine.destinations, &mine.ring_indices] {
            assert_eq!(indices.in_use(), 0);
        }
    }

    fn step(&mut self, step: Step) {
        self.now += Duration::from_secs(1);
        match step {
            Step::Desired(file) => self.desired(file),
            Step::NextHop(host, report) => {
                let next_hop = report.map(|mac| NextHop {
                    interface: 2,
                    source_mac: [2, 0, 0, 0, 0, 1],
                    next_hop_mac: mac.map(|mac| [2, 0, 0, 0, 1, mac]),
                    behind_router: mac == Some(0),
                    mtu: 1500,
                    source_address: Some(IpAddr::from([10, 0, 0, 254])),
                });
                self.handle(Event::NextHop { address: IpAddr::from([10, 0, 0, host]), next_hop });
                self.settled();
            }
            Step::Swept(busy) => {
                self.handle(swept(busy));
                self.settled();
            }
            Step::Tick(seconds) => {
                self.now += Duration::from_secs(u64::from(seconds));
                self.handle(Event::Tick);
                self.settled();
            }
            Step::Restart => {
                self.restart();
                self.handle(Event::Tick);
                self.desired(self.config.clone());
            }
            Step::Rest => self.rest(),
            Step::Crash(file, at, next) => {
                let commands = self.state.handle(Event::Desired(file.clone()), self.now);
                let done = at.index(commands.len() + 1);
                self.model.expect(&file);
                self.model.apply_all(&commands[..done]);
                self.restart();
                self.desired(next.unwrap_or(file));
            }
        }
    }
}

fn swept(busy: u64) -> Event {
    Event::Swept { references: (0..64).map(|index| (index, (busy >> index & 1) as u32)).collect() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_command_leaves_a_kernel_that_makes_sense(steps in steps()) {
        let mut life = Life::new(Capacity::default());
        for step in steps {
            life.step(step);
            prop_assert!(!life.state.incomplete);
        }
        life.end();
    }

    #[test]
    fn so_does_it_where_room_is_short(steps in steps(), rings in 1u32..4, destinations in 20u32..90, chunks in 2u32..9) {
        let mut life = Life::new(Capacity { services: 7, destinations, member_chunks: chunks, rings });
        for step in steps {
            life.step(step);
        }
        life.end();
    }
}
