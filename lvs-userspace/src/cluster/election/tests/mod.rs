//! Single rules; that they hold together is the simulator's to show (`cargo xtask sim`).

mod beats;
mod fence;
mod handover;
mod hold;
mod split;
mod takeover;

use std::time::Duration;

use super::*;
use crate::cluster::beat::{Echo, Promise};

const KEEPALIVE: Duration = Duration::from_millis(100);
const DEADTIME: Duration = Duration::from_millis(500);

fn id(number: usize) -> NodeId {
    NodeId::of(&format!("director-{number}"))
}

fn group() -> GroupId {
    GroupId::of("www")
}

/// Directors, and perhaps a voter, that hear each other at once.
struct Cluster {
    nodes: Vec<Node>,
    voter: Option<Voter>,
    now: Duration,
    /// `(from, to)`: nothing passes.
    cut: Vec<(usize, usize)>,
    /// The lease of each, as the data plane has it.
    leases: Vec<Duration>,
    /// What the wire says of the addresses.
    wire: Wire,
    /// Connections are told at once when it is asked for, or never.
    tells: bool,
    notices: Vec<(usize, Notice)>,
    outputs: Vec<(usize, Output)>,
}

impl Cluster {
    fn new(directors: usize, has_voter: bool) -> Self {
        Self::with(directors, has_voter, |_| {})
    }

    fn with(directors: usize, has_voter: bool, change: impl Fn(&mut Settings)) -> Self {
        let now = Duration::from_secs(100);
        let nodes =
            (0..directors).map(|number| Node::new(settings(number, directors, has_voter, &change), &[], now));
        let mut cluster = Self {
            nodes: nodes.collect(),
            voter: has_voter.then(|| Voter::new(NodeId::of("witness"), 1, Duration::ZERO, now)),
            now,
            cut: Vec::new(),
            leases: vec![Duration::ZERO; directors],
            wire: Wire::Silent,
            tells: true,
            notices: Vec::new(),
            outputs: Vec::new(),
        };
        cluster.nodes.iter_mut().for_each(well);
        cluster
    }

    fn isolate(&mut self, member: usize) {
        for other in 0..=self.nodes.len() {
            self.cut.extend([(member, other), (other, member)]);
        }
    }

    /// Lets time pass, ten milliseconds at a time; those in `stopped` do nothing.
    fn pass(&mut self, time: Duration, stopped: &[usize]) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(10);
            for number in (0..self.nodes.len()).filter(|number| !stopped.contains(number)) {
                self.nodes[number].tick(self.now);
                self.carry_out(number, stopped);
            }
        }
    }

    fn carry_out(&mut self, from: usize, stopped: &[usize]) {
        for output in self.nodes[from].take_outputs() {
            self.outputs.push((from, output.clone()));
            match output {
                Output::Send(beat) => self.send(from, &beat, stopped),
                Output::Lease { ends, .. } => self.leases[from] = ends,
                Output::Do(Task::Probe { group, attempt, .. }) => {
                    self.nodes[from].probed(group, attempt, self.wire, self.now);
                }
                Output::Do(Task::Tidy { group }) if self.tells => self.nodes[from].tidied(group),
                Output::Do(Task::Tell(notice)) => self.notices.push((from, notice)),
                Output::Do(_) => {}
            }
        }
    }

    fn send(&mut self, from: usize, beat: &Beat, stopped: &[usize]) {
        for to in 0..self.nodes.len() {
            if to != from && !stopped.contains(&to) && !self.cut.contains(&(from, to)) {
                self.nodes[to].receive(beat, self.now);
            }
        }
        let voter = self.nodes.len();
        if let Some(member) = &mut self.voter
            && !self.cut.contains(&(from, voter))
            && let (_, Some(answer)) = member.receive(beat, self.now)
            && !self.cut.contains(&(voter, from))
        {
            self.nodes[from].receive(&answer, self.now);
        }
    }

    fn holders(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.leases[*number] > self.now).collect()
    }

    fn told(&self, number: usize, notice: &Notice) -> bool {
        self.notices.iter().any(|(of, told)| *of == number && told == notice)
    }
}

fn settings(number: usize, directors: usize, has_voter: bool, change: &dyn Fn(&mut Settings)) -> Settings {
    let mut settings = Settings {
        node: id(number),
        life: 1000 + number as u64,
        peers: (0..directors).filter(|other| *other != number).map(id).collect(),
        voter: has_voter.then(|| NodeId::of("witness")),
        keepalive: KEEPALIVE,
        deadtime: DEADTIME,
        initdead: Duration::from_secs(2),
        failback: None,
        groups: vec![GroupSettings {
            group: group(),
            order: (0..directors).map(id).collect(),
            fences: false,
        }],
    };
    change(&mut settings);
    settings
}

fn well(node: &mut Node) {
    node.set_fitness(group(), Fitness { is_fit: true, score: 100 });
    node.set_ready(group(), true);
}
