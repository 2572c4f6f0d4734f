//! Events in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use lvs_userspace::cluster::beat::{Beat, Fitness};
use lvs_userspace::cluster::election::{Mode, Notice, Output, Task, Voter, Wire};
use lvs_userspace::cluster::identity::{GroupId, NodeId};

use super::check::{self, Violation};
use super::director::{Agent, Director, Lease};
use super::fault::{Fault, Timed};
use super::network::Network;
use super::random::Random;

/// From a decision to its being done, at the most: the thread may be interrupted in between.
const WORK: Duration = Duration::from_millis(3);

#[derive(Debug)]
pub(super) enum What {
    Tick {
        director: usize,
        wake: u64,
    },
    Arrives {
        to: usize,
        beat: Box<Beat>,
    },
    /// Outputs are carried out.
    Work {
        director: usize,
        life: u64,
    },
    /// A director asks on the wire.
    Question {
        director: usize,
        life: u64,
        group: GroupId,
        attempt: u64,
    },
    Asked {
        by: usize,
        to: usize,
        group: GroupId,
        attempt: u64,
    },
    /// `attempt`: of the question that it answers.
    Answered {
        to: usize,
        group: GroupId,
        attempt: Option<u64>,
    },
    Listened {
        director: usize,
        life: u64,
        group: GroupId,
        attempt: u64,
    },
    Probed {
        director: usize,
        life: u64,
        group: GroupId,
        attempt: u64,
        found: Wire,
        until: Duration,
    },
    Announces {
        director: usize,
        group: GroupId,
    },
    Fenced {
        director: usize,
        life: u64,
        group: GroupId,
        attempt: u64,
    },
    /// The connections of a group have been told.
    Tidied {
        director: usize,
        life: u64,
        group: GroupId,
    },
    Begins(usize),
    Ends(usize),
    /// Operators want nothing special any more.
    Restore,
    /// A planned restart has come to its end.
    Restart {
        director: usize,
    },
    Look,
}

#[derive(Debug)]
struct Event {
    time: Duration,
    order: u64,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.time, self.order) == (other.time, other.order)
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.order).cmp(&(other.time, other.order))
    }
}

pub(super) struct World {
    pub(super) time: Duration,
    events: BinaryHeap<Reverse<Event>>,
    order: u64,
    random: Random,
    /// Of the service's wire.
    wire_random: Random,
    pub(super) directors: Vec<Director>,
    voter: Option<(NodeId, Voter, bool)>,
    pub(super) heartbeat: Network,
    pub(super) wire: Network,
    faults: Vec<Timed>,
    groups: usize,
    /// Two directors are checked for the weaker rule only.
    is_weak: bool,
    /// They were not held apart, and are not joined again.
    is_split: bool,
    pub(super) violation: Option<Violation>,
    pub(super) trace: Option<Vec<String>>,
    messages: u64,
}

impl World {
    pub(super) fn new(
        random: Random,
        directors: Vec<Director>,
        voter: Option<NodeId>,
        heartbeat: Network,
        wire: Network,
        faults: Vec<Timed>,
    ) -> Self {
        let groups = directors[0].settings.groups.len();
        let is_weak = directors[0].settings.is_weak();
        let silence = directors[0].settings.deadtime;
        let mut world = Self {
            time: Duration::ZERO,
            events: BinaryHeap::new(),
            order: 0,
            wire_random: random.clone(),
            random,
            voter: voter.map(|node| (node, Voter::new(node, 1, silence, Duration::ZERO), true)),
            directors,
            heartbeat,
            wire,
            faults,
            groups,
            is_weak,
            is_split: false,
            violation: None,
            trace: None,
            messages: 0,
        };
        for director in 0..world.directors.len() {
            world.schedule_tick(director);
        }
        let mended = world.faults.iter().map(|fault| fault.ends).max().unwrap_or_default();
        world.push(mended + Duration::from_millis(1), What::Restore);
        for fault in 0..world.faults.len() {
            let Timed { begins, ends, .. } = world.faults[fault];
            world.push(begins, What::Begins(fault));
            world.push(ends, What::Ends(fault));
        }
        world
    }

    pub(super) const fn messages(&self) -> u64 {
        self.messages
    }

    /// Runs until `end`, or until something is wrong.
    pub(super) fn run(&mut self, end: Duration) {
        self.push(end, What::Look);
        while self.violation.is_none()
            && let Some(Reverse(event)) = self.events.pop()
        {
            self.time = event.time;
            let is_last = matches!(event.what, What::Look) && event.time == end;
            self.step(event.what);
            if is_last {
                break;
            }
        }
    }

    pub(super) fn push(&mut self, time: Duration, what: What) {
        self.order += 1;
        self.events.push(Reverse(Event { time, order: self.order, what }));
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.3} ms {}", self.time.as_secs_f64() * 1e3, line()));
        }
    }

    fn step(&mut self, what: What) {
        match what {
            What::Look => self.check_all(),
            What::Tick { director, wake } => {
                if self.directors[director].wake == wake && self.directors[director].runs() {
                    self.think(director);
                }
            }
            What::Arrives { to, beat } => self.arrive(to, *beat),
            What::Work { director, life } => {
                if self.is_current(director, life) && self.directors[director].runs() {
                    self.work(director);
                }
            }
            What::Asked { by, to, group, attempt } => self.asked(by, to, group, attempt),
            What::Answered { to, group, attempt } => self.hear(to, group, attempt, Wire::Answered),
            What::Announces { director, group } => self.announces(director, group),
            What::Question { director, life, .. }
            | What::Listened { director, life, .. }
            | What::Probed { director, life, .. }
            | What::Fenced { director, life, .. }
            | What::Tidied { director, life, .. } => {
                if !self.is_current(director, life) {
                } else if self.directors[director].runs() {
                    self.work_on(director, what);
                } else {
                    self.directors[director].late.push(what);
                }
            }
            What::Begins(fault) => self.begin(self.faults[fault].fault),
            What::Ends(fault) => self.end(fault),
            What::Restart { director } => self.start(director),
            What::Restore => {
                for director in 0..self.directors.len() {
                    self.operate(director, take_back);
                }
            }
        }
    }

    /// What a director that asks does next.
    fn work_on(&mut self, director: usize, what: What) {
        match what {
            What::Question { group, attempt, .. } => self.question(director, group, attempt),
            What::Listened { group, attempt, .. } => self.listened(director, group, attempt),
            What::Probed { group, attempt, found, until, .. } => {
                self.note(|| format!("{director}: the wire says of {group:?}: {found:?}"));
                self.directors[director].node.probed(group, attempt, found, until);
                self.think(director);
            }
            What::Fenced { group, attempt, .. } => {
                self.directors[director].node.fenced(group, attempt, true);
                self.think(director);
            }
            What::Tidied { group, .. } => {
                self.directors[director].node.tidied(group);
                self.think(director);
            }
            _ => {}
        }
    }

    /// Whom a frame on the service's wire reaches, and when.
    pub(super) fn frames(&mut self, from: usize) -> Vec<(usize, Duration)> {
        let others = (0..self.directors.len()).filter(|other| *other != from);
        let random = &mut self.wire_random;
        others
            .flat_map(|to| self.wire.copies(from, to, random).into_iter().map(move |delay| (to, delay)))
            .collect()
    }

    /// From a fact to its being told, at the most: the thread may be interrupted in between.
    pub(super) fn delay_of_wire(&mut self) -> Duration {
        let keepalive = self.directors[0].settings.keepalive;
        self.wire_random.between(Duration::ZERO..WORK.min(keepalive / 8))
    }

    fn is_current(&self, director: usize, life: u64) -> bool {
        self.directors[director].settings.life == life
    }

    /// Replaces the wake-up that was due before.
    fn schedule_tick(&mut self, director: usize) {
        let one = &mut self.directors[director];
        one.wake += 1;
        let wake = one.wake;
        let due = one.clock.when(one.node.next_tick()).max(self.time + Duration::from_micros(50));
        let keepalive = one.settings.keepalive;
        // A thread is woken late now and then.
        let late = if self.random.chance(20) {
            self.random.between(Duration::ZERO..keepalive / 2)
        } else {
            Duration::ZERO
        };
        self.push(due + late, What::Tick { director, wake });
    }

    /// The agent's thread runs: messages first, then the time.
    fn think(&mut self, director: usize) {
        let time = self.time;
        let one = &mut self.directors[director];
        let now = one.now(time);
        while let Some(beat) = one.inbox.pop_front() {
            one.node.receive(&beat, now);
        }
        one.node.tick(now);
        let outputs = one.node.take_outputs();
        let life = one.settings.life;
        if !outputs.is_empty() {
            one.orders.extend(outputs);
            let delay = self
                .random
                .between(Duration::ZERO..WORK.min(self.directors[director].settings.keepalive / 8));
            self.push(time + delay, What::Work { director, life });
        }
        self.schedule_tick(director);
    }

    fn work(&mut self, director: usize) {
        let orders: Vec<Output> = self.directors[director].orders.drain(..).collect();
        for order in orders {
            self.carry_out(director, order);
        }
    }

    fn carry_out(&mut self, director: usize, order: Output) {
        match order {
            Output::Send(beat) => {
                let members = self.directors.len() + usize::from(self.voter.is_some());
                for to in (0..members).filter(|to| *to != director) {
                    self.send(director, to, &beat);
                }
            }
            Output::Lease { group, epoch, ends, .. } => {
                let one = &mut self.directors[director];
                let number = one.number(group);
                let was = one.answers(number, self.time);
                one.leases[number] = Lease { epoch, ends };
                if !was && one.answers(number, self.time) {
                    self.check(number);
                }
            }
            Output::Do(task) => self.carry_out_task(director, task),
        }
    }

    fn carry_out_task(&mut self, director: usize, task: Task) {
        let life = self.directors[director].settings.life;
        match task {
            Task::Serve { group, epoch } => {
                let number = self.directors[director].number(group);
                self.directors[director].served[number] += 1;
                self.note(|| format!("{director}: SERVES group {number}, epoch {epoch}"));
                self.announce(director, group);
            }
            Task::Announce { group } => self.announce(director, group),
            Task::Probe { group, attempt } => self.ask(director, group, attempt),
            Task::Fence { group, attempt, .. } => {
                let takes = self.directors[director].settings.deadtime;
                self.push(self.time + takes, What::Fenced { director, life, group, attempt });
            }
            Task::Tell(Notice::Held { .. }) => {
                // The agent ends, and its next life begins within the hold.
                let takes =
                    self.random.between(Duration::ZERO..self.directors[director].settings.deadtime * 2);
                self.note(|| format!("{director}: ends for a planned restart"));
                self.directors[director].kill_agent();
                self.push(self.time + takes, What::Restart { director });
            }
            Task::Tell(notice) => self.note(|| format!("{director}: {notice:?}")),
            Task::Withdraw { .. } => {}
            // Sometimes nobody hears of it.
            Task::Tidy { group } => {
                let takes =
                    self.random.between(Duration::ZERO..self.directors[director].settings.deadtime / 2);
                if self.random.chance(800) {
                    self.push(self.time + takes, What::Tidied { director, life, group });
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, beat: &Beat) {
        for delay in self.heartbeat.copies(from, to, &mut self.random) {
            self.messages += 1;
            self.push(self.time + delay, What::Arrives { to, beat: Box::new(beat.clone()) });
        }
    }

    fn arrive(&mut self, to: usize, beat: Beat) {
        if to < self.directors.len() {
            let one = &mut self.directors[to];
            // A socket holds what comes for a stopped process, and no more than so much.
            if one.is_up && !one.is_frozen && one.agent != Agent::Killed && one.inbox.len() < 200 {
                one.inbox.push_back(beat);
                if one.runs() {
                    self.think(to);
                }
            }
            return;
        }
        let time = self.time;
        let Some((_, voter, true)) = &mut self.voter else { return };
        let sender = beat.sender;
        if let (_, Some(answer)) = voter.receive(&beat, time)
            && let Some(director) = self.directors.iter().position(|one| one.settings.node == sender)
        {
            self.send(to, director, &answer);
        }
    }

    fn begin(&mut self, fault: Fault) {
        self.note(|| format!("-- {fault:?}"));
        let time = self.time;
        match fault {
            Fault::CutOneWay { from, to } => self.heartbeat.set_cut(from, to, true),
            Fault::Isolate { member } => self.heartbeat.isolate(member, true),
            Fault::Unplug { director } => {
                self.heartbeat.isolate(director, true);
                self.wire.isolate(director, true);
                self.set_fit(director, false);
            }
            Fault::PullServiceLink { director } => {
                self.wire.isolate(director, true);
                self.set_fit(director, false);
            }
            Fault::Stop { director } => {
                if self.directors[director].agent == Agent::Running {
                    self.directors[director].agent = Agent::Stopped;
                }
            }
            Fault::Kill { director } => self.directors[director].kill_agent(),
            Fault::Crash { director } => self.directors[director].crash(),
            Fault::Freeze { director } => {
                if !self.directors[director].is_frozen {
                    self.directors[director].is_frozen = true;
                    self.directors[director].clock.stop(time);
                }
            }
            Fault::Unsettle { director } => {
                let score = 100 - self.random.below(3) as u16;
                for group in 0..self.groups {
                    let is_fit = self.directors[director].fitness[group].is_fit;
                    self.directors[director].set_fitness(group, Fitness { is_fit, score });
                }
            }
            Fault::Loss { per_mille } => self.heartbeat.loss = per_mille,
            Fault::RestartVoter => {
                if let Some((_, _, is_up)) = &mut self.voter {
                    *is_up = false;
                }
            }
            Fault::Standby { director } => self.operate(director, |one, now| {
                for group in one.settings.groups.clone() {
                    one.node.standby(group.group, now).ok();
                }
            }),
            Fault::PlannedRestart { director } => self.operate(director, |one, now| {
                let length = one.settings.deadtime * 6;
                one.node.hold(length, now).ok();
            }),
        }
    }

    fn operate(&mut self, director: usize, order: impl FnOnce(&mut Director, Duration)) {
        let time = self.time;
        if self.directors[director].runs() {
            let one = &mut self.directors[director];
            let now = one.now(time);
            order(one, now);
            self.think(director);
        }
    }

    fn end(&mut self, number: usize) {
        let Timed { fault, .. } = self.faults[number];
        self.note(|| format!("-- over: {fault:?}"));
        let time = self.time;
        match fault {
            Fault::CutOneWay { from, to } => self.heartbeat.set_cut(from, to, false),
            Fault::Isolate { member } => self.heartbeat.isolate(member, false),
            Fault::Unplug { director } => {
                self.heartbeat.isolate(director, false);
                self.wire.isolate(director, false);
                self.set_fit(director, true);
            }
            Fault::PullServiceLink { director } => {
                self.wire.isolate(director, false);
                self.set_fit(director, true);
            }
            Fault::Stop { director } => {
                if self.directors[director].agent == Agent::Stopped {
                    self.directors[director].agent = Agent::Running;
                    self.resume(director);
                }
            }
            Fault::Kill { director } | Fault::Crash { director } => self.start(director),
            Fault::Freeze { director } => {
                let one = &mut self.directors[director];
                if one.is_frozen {
                    one.is_frozen = false;
                    one.thawed = Some(time);
                    one.clock.go_on(time);
                    self.check_all();
                    self.resume(director);
                }
            }
            Fault::Unsettle { director } => {
                for group in 0..self.groups {
                    let is_fit = self.directors[director].fitness[group].is_fit;
                    self.directors[director].set_fitness(group, Fitness { is_fit, score: 100 });
                }
            }
            Fault::Loss { .. } => self.heartbeat.loss = 0,
            Fault::RestartVoter => {
                let life = self.random.next();
                let silence = self.directors[0].settings.deadtime * 6;
                if let Some((node, voter, is_up)) = &mut self.voter {
                    *voter = Voter::new(*node, life, silence, time);
                    *is_up = true;
                }
            }
            Fault::Standby { director } => self.operate(director, take_back),
            Fault::PlannedRestart { .. } => {}
        }
    }

    fn set_fit(&mut self, director: usize, is_fit: bool) {
        for group in 0..self.groups {
            let score = self.directors[director].fitness[group].score;
            self.directors[director].set_fitness(group, Fitness { is_fit, score });
        }
        if self.directors[director].runs() {
            self.think(director);
        }
    }

    /// The agent begins a new life where it has none.
    fn start(&mut self, director: usize) {
        let life = self.random.next();
        let time = self.time;
        let one = &mut self.directors[director];
        if one.agent != Agent::Killed {
            return;
        }
        one.is_up = true;
        one.start_agent(life, time);
        self.note(|| format!("{director}: starts"));
        if self.directors[director].runs() {
            self.think(director);
        }
    }

    /// It goes on where it was: what it was about to do, or what has come meanwhile, whichever is first.
    fn resume(&mut self, director: usize) {
        if !self.directors[director].runs() {
            return;
        }
        for what in std::mem::take(&mut self.directors[director].late) {
            self.push(self.time, what);
        }
        if self.random.chance(500) {
            self.work(director);
            self.think(director);
        } else {
            let life = self.directors[director].settings.life;
            self.think(director);
            self.push(self.time, What::Work { director, life });
        }
    }

    fn check_all(&mut self) {
        for group in 0..self.groups {
            self.check(group);
        }
    }

    fn check(&mut self, group: usize) {
        match check::one_at_most(&self.directors, group, self.time) {
            Ok(()) => self.is_split = false,
            Err(_) if self.is_excused() => self.is_split = true,
            Err(what) => self.violation = Some(Violation { time: self.time, what }),
        }
    }

    /// Two directors without a voter are held apart by hearing each other, or by the wire on which one asks for
    /// the addresses of the other. Where faults may have taken both there is no rule.
    fn is_excused(&self) -> bool {
        let within = |timed: &Timed| timed.begins <= self.time;
        let cuts_wire = self.faults.iter().filter(|timed| within(timed)).any(|timed| {
            matches!(timed.fault, Fault::Unplug { .. } | Fault::PullServiceLink { .. } | Fault::Freeze { .. })
        });
        self.is_weak && (cuts_wire || self.is_split)
    }
}

/// Ends what an operator has ordered.
fn take_back(director: &mut Director, now: Duration) {
    for group in director.settings.groups.clone() {
        if director.node.mode(group.group) != Some(Mode::Normal) {
            director.node.take(group.group, now).ok();
        }
    }
}
