//! What a seed stands for: a cluster, its faults, and what has to be true in the end.

use std::time::Duration;

use lvs_userspace::cluster::election::{GroupSettings, Settings};
use lvs_userspace::cluster::identity::{GroupId, NodeId};

use super::check::{self, Violation};
use super::clock::Clock;
use super::director::Director;
use super::fault::{self, Fault, Timed};
use super::network::Network;
use super::random::Random;
use super::wire::Probing;
use super::world::World;

/// The largest number of dead times after the last fault until exactly one director serves each group: one that
/// starts waits for four, a voter that has restarted is silent for six, and two attempts may collide.
const RECOVERY: u32 = 16;
/// Dead times at the end in which nothing may change any more.
const QUIET: u32 = 30;

#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    random: Random,
    directors: usize,
    has_voter: bool,
    keepalive: Duration,
    deadtime: Duration,
    failback: Option<Duration>,
    groups: usize,
    /// The first director begins without hearing the others: where there are two, both ask for what neither has.
    is_apart: bool,
    /// Each group has a program that fences.
    fences: bool,
}

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub violation: Option<Violation>,
    pub messages: u64,
    /// What happened, if it was asked for.
    pub trace: Vec<String>,
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let directors: usize = random.one_of(&[2, 2, 2, 2, 3, 3, 4, 5]);
        let has_voter = if directors == 2 { random.chance(700) } else { directors.is_multiple_of(2) };
        let (keepalive, deadtime) =
            random.one_of(&[(100, 500), (100, 500), (10, 50), (2000, 10_000), (100, 300), (200, 2000)]);
        let (keepalive, deadtime) = (Duration::from_millis(keepalive), Duration::from_millis(deadtime));
        let failback = random.one_of(&[None, Some(Duration::ZERO), Some(deadtime * 5)]);
        let groups = 1 + random.below(3);
        let is_apart = seed.is_multiple_of(8);
        // None of those that have found something without.
        let fences = seed % 6 == 2;
        Self { seed, random, directors, has_voter, keepalive, deadtime, failback, groups, is_apart, fences }
    }

    /// With programs that fence.
    #[must_use]
    pub fn that_fences(self) -> Self {
        Self { fences: true, ..self }
    }

    /// Two directors without a voter that begin without hearing each other.
    #[must_use]
    pub fn of_two_apart(self) -> Self {
        Self { directors: 2, has_voter: false, is_apart: true, ..self }
    }

    pub fn run(self, trace: bool) -> Outcome {
        let seed = self.seed;
        let (mut world, span) = self.build();
        if trace {
            world.trace = Some(Vec::new());
        }
        let deadtime = world.directors[0].settings.deadtime;
        world.run(span + deadtime * RECOVERY);
        if world.violation.is_none() {
            settled(&mut world, "once all is mended");
            let holders = holders(&world);
            let quiet = world.time + deadtime * QUIET;
            // Looks between, so that a gap does not hide.
            while world.violation.is_none() && world.time < quiet {
                let next = (world.time + deadtime / 3).min(quiet);
                world.run(next);
                settled(&mut world, "while nothing is wrong");
            }
            let flapped = self::holders(&world) != holders;
            let fails_back = world.directors[0].settings.failback.is_some();
            if world.violation.is_none() && flapped && !fails_back {
                let what = "a group moved while nothing was wrong".to_owned();
                world.violation = Some(Violation { time: world.time, what });
            }
            if world.violation.is_none() && fails_back {
                preferred(&mut world);
            }
        }
        Outcome {
            seed,
            messages: world.messages(),
            violation: world.violation.take(),
            trace: world.trace.take().unwrap_or_default(),
        }
    }

    fn build(mut self) -> (World, Duration) {
        let random = &mut self.random;
        let nodes: Vec<NodeId> =
            (0..self.directors).map(|number| NodeId::of(&format!("director-{number}"))).collect();
        let voter = self.has_voter.then(|| NodeId::of("witness"));
        let groups: Vec<GroupSettings> = (0..self.groups)
            .map(|number| {
                let mut order = nodes.clone();
                order.rotate_left(number % nodes.len());
                GroupSettings { group: GroupId::of(&format!("group-{number}")), order, fences: self.fences }
            })
            .collect();
        let span = self.deadtime * 30;
        let probing = Probing::of(self.deadtime);
        let directors = nodes.iter().map(|node| {
            let settings = Settings {
                node: *node,
                life: random.next(),
                peers: nodes.iter().filter(|other| *other != node).copied().collect(),
                voter,
                keepalive: self.keepalive,
                deadtime: self.deadtime,
                initdead: self.deadtime * 4,
                failback: self.failback,
                groups: groups.clone(),
            };
            let offset = random.between(Duration::from_secs(1)..Duration::from_secs(100_000));
            let drift = random.below(401) as i64 - 200;
            Director::new(settings, Clock::new(offset, drift), Duration::ZERO)
        });
        let directors: Vec<Director> = directors.collect();
        let members = directors.len() + usize::from(self.has_voter);
        // Three beats to the dead time leave no room for losses.
        let loss = if self.deadtime < self.keepalive * 5 { 0 } else { random.one_of(&[0, 0, 10, 50]) };
        let delay = random.between(Duration::from_micros(100)..self.keepalive / 4);
        let doubled = random.one_of(&[0, 20]);
        let heartbeat = Network::new(members, loss, doubled, delay);
        let wire = Network::new(members, 0, 0, probing.way());
        let mut faults = fault::plan(random, self.directors, self.has_voter, self.deadtime, span);
        if self.is_apart {
            let ends = Random::new(self.seed).between(self.deadtime * 4..span);
            faults.push(Timed { fault: Fault::Isolate { member: 0 }, begins: Duration::ZERO, ends });
        }
        (World::new(self.random, directors, voter, heartbeat, wire, faults), span)
    }
}

/// Exactly one director answers for each group.
fn settled(world: &mut World, when: &str) {
    for group in 0..world.directors[0].settings.groups.len() {
        if world.violation.is_some() {
            return;
        }
        if let Err(what) = check::exactly_one(&world.directors, group, world.time) {
            world.violation = Some(Violation { time: world.time, what: format!("{what} {when}") });
        }
    }
}

/// Who serves each group.
fn holders(world: &World) -> Vec<Option<usize>> {
    let groups = 0..world.directors[0].settings.groups.len();
    groups.map(|group| check::exactly_one(&world.directors, group, world.time).ok()).collect()
}

/// With failback each group is at its preferred director.
fn preferred(world: &mut World) {
    for group in 0..world.directors[0].settings.groups.len() {
        let first = world.directors[0].settings.groups[group].order[0];
        if let Ok(one) = check::exactly_one(&world.directors, group, world.time)
            && world.directors[one].settings.node != first
        {
            let what = format!("director {one} serves group {group}, which is not the preferred one");
            world.violation = Some(Violation { time: world.time, what });
        }
    }
}
