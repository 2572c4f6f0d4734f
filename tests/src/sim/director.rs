//! One director: its agent, and the data plane that goes on without it.

use std::collections::VecDeque;
use std::time::Duration;

use lvs_userspace::cluster::beat::{Beat, Fitness};
use lvs_userspace::cluster::election::{Inherited, Node, Output, Promised, Settings};
use lvs_userspace::cluster::identity::GroupId;

use super::clock::Clock;
use super::wire::Question;
use super::world::What;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agent {
    Running,
    /// SIGSTOP: its clock goes on, messages wait.
    Stopped,
    /// kill -9: the data plane stays.
    Killed,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lease {
    pub(super) epoch: u64,
    /// By the director's clock.
    pub(super) ends: Duration,
}

#[derive(Debug)]
pub(super) struct Director {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) agent: Agent,
    /// The machine runs.
    pub(super) is_up: bool,
    /// Its host has stopped it.
    pub(super) is_frozen: bool,
    /// When it went on after its host had stopped it.
    pub(super) thawed: Option<Duration>,
    pub(super) node: Node,
    /// What it was told to do and has not done yet.
    pub(super) orders: VecDeque<Output>,
    pub(super) inbox: VecDeque<Beat>,
    /// What the data plane has, by group.
    pub(super) leases: Vec<Lease>,
    /// What is on its file of holds that it has promised, by group.
    pub(super) promised: Vec<Option<Promised>>,
    pub(super) fitness: Vec<Fitness>,
    pub(super) served: Vec<u64>,
    /// What the wire is asked about a group, by group.
    pub(super) questions: Vec<Option<Question>>,
    /// What was due while it could do nothing.
    pub(super) late: Vec<What>,
    /// Numbers its wake-ups: only the last one that was ordered counts.
    pub(super) wake: u64,
}

impl Director {
    pub(super) fn new(settings: Settings, clock: Clock, time: Duration) -> Self {
        let groups = settings.groups.len();
        let mut director = Self {
            node: Node::new(settings.clone(), &[], clock.at(time)),
            settings,
            clock,
            agent: Agent::Running,
            is_up: true,
            is_frozen: false,
            thawed: None,
            orders: VecDeque::new(),
            inbox: VecDeque::new(),
            leases: vec![Lease::default(); groups],
            promised: vec![None; groups],
            fitness: vec![Fitness { is_fit: true, score: 100 }; groups],
            served: vec![0; groups],
            questions: vec![None; groups],
            late: Vec::new(),
            wake: 0,
        };
        director.tell_facts();
        director
    }

    /// The agent can do something.
    pub(super) fn runs(&self) -> bool {
        self.is_up && !self.is_frozen && self.agent == Agent::Running
    }

    pub(super) fn now(&self, time: Duration) -> Duration {
        self.clock.at(time)
    }

    /// Packets for a group are answered.
    pub(super) fn answers(&self, group: usize, time: Duration) -> bool {
        self.is_up && !self.is_frozen && self.now(time) < self.leases[group].ends
    }

    /// Another life of the agent, on the same machine.
    pub(super) fn start_agent(&mut self, life: u64, time: Duration) {
        let now = self.now(time);
        self.settings.life = life;
        let inherited: Vec<Inherited> = self
            .leases
            .iter()
            .zip(&self.settings.groups)
            .filter(|(lease, _)| lease.ends > now)
            .map(|(lease, group)| Inherited { group: group.group, epoch: lease.epoch, ends: lease.ends })
            .collect();
        self.node = Node::new(self.settings.clone(), &inherited, now);
        let promised: Vec<Promised> = self.promised.iter().flatten().copied().collect();
        self.node.recall(&promised);
        self.agent = Agent::Running;
        self.forget();
        self.tell_facts();
    }

    pub(super) fn kill_agent(&mut self) {
        self.agent = Agent::Killed;
        self.forget();
    }

    /// What an agent takes with it.
    fn forget(&mut self) {
        self.orders.clear();
        self.inbox.clear();
        self.questions.fill(None);
        self.late.clear();
    }

    /// The machine is gone, and with it what its data plane knew.
    pub(super) fn crash(&mut self) {
        self.kill_agent();
        self.is_up = false;
        self.leases.fill(Lease::default());
        self.promised.fill(None);
    }

    pub(super) fn set_fitness(&mut self, group: usize, fitness: Fitness) {
        self.fitness[group] = fitness;
        self.node.set_fitness(self.settings.groups[group].group, fitness);
    }

    pub(super) fn number(&self, group: GroupId) -> usize {
        self.settings.groups.iter().position(|settings| settings.group == group).unwrap_or(0)
    }

    fn tell_facts(&mut self) {
        for (group, fitness) in self.settings.groups.clone().iter().zip(self.fitness.clone()) {
            self.node.set_fitness(group.group, fitness);
            self.node.set_ready(group.group, true);
        }
    }
}
