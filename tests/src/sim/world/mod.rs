//! Events in the order of time.

mod event;
mod faults;
mod fence;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use lvs_userspace::cluster::beat::{Beat, Fitness};
use lvs_userspace::cluster::election::{Mode, Notice, Output, Task, Voter, Wire};
use lvs_userspace::cluster::identity::NodeId;

use super::check::{self, Violation};
use super::director::{Agent, Director, Lease};
use super::fault::{Fault, Timed};
use super::network::Network;
use super::random::Random;
use event::Event;
pub(super) use event::What;
use faults::take_back;

/// From a decision to its being done, at the most: the thread may be interrupted in between.
const WORK: Duration = Duration::from_millis(3);

pub(super) struct World {
    pub(super) time: Duration,
    events: BinaryHeap<Reverse<Event>>,
    order: u64,
    random: Random,
    /// Of the service's wire.
    wire_random: Random,
    /// Of programs that fence.
    fence_random: Random,
    pub(super) directors: Vec<Director>,
    voter: Option<(NodeId, Voter, bool)>,
    pub(super) heartbeat: Network,
    pub(super) wire: Network,
    faults: Vec<Timed>,
    /// When the last fault is over.
    mended: Duration,
    groups: usize,
    /// Two directors are checked for the weaker rule only.
    is_weak: bool,
    /// By group: two directors answer for it.
    split: Vec<bool>,
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
        let mended = faults.iter().map(|fault| fault.ends).max().unwrap_or_default();
        let mut world = Self {
            time: Duration::ZERO,
            events: BinaryHeap::new(),
            order: 0,
            wire_random: random.clone(),
            fence_random: random.clone(),
            random,
            voter: voter.map(|node| (node, Voter::new(node, 1, silence, Duration::ZERO), true)),
            directors,
            heartbeat,
            wire,
            faults,
            mended,
            groups,
            is_weak,
            split: vec![false; groups],
            violation: None,
            trace: None,
            messages: 0,
        };
        for director in 0..world.directors.len() {
            world.schedule_tick(director);
        }
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
            What::Asked { by, to, about, attempt } => self.asked(by, to, about, attempt),
            What::Answered { to, about, attempt } => self.hear(to, about, attempt, Wire::Answered),
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
            What::Shot { director } => self.shoot(director),
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
            What::Question { about, attempt, .. } => self.question(director, about, attempt),
            What::Listened { group, attempt, .. } => self.listened(director, group, attempt),
            What::Probed { group, attempt, found, until, .. } => {
                self.note(|| format!("{director}: the wire says of {group:?}: {found:?}"));
                self.directors[director].node.probed(group, attempt, found, until);
                self.think(director);
            }
            What::Fenced { group, node, done, .. } => {
                let one = &mut self.directors[director];
                let now = one.now(self.time);
                one.node.fenced(group, node, done, now);
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
                one.leases[number] = Lease { epoch, ends };
                self.check(number);
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
            Task::Probe { group, attempt, besides } => self.ask(director, group, attempt, besides),
            Task::Fence { group, node } => self.fence(director, group, node),
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
            Task::Remember(promised) => {
                let one = &mut self.directors[director];
                let number = one.number(promised.group);
                one.promised[number] = Some(promised);
            }
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

    fn check_all(&mut self) {
        for group in 0..self.groups {
            self.check(group);
        }
    }

    fn check(&mut self, group: usize) {
        let outcome = check::one_at_most(&self.directors, group, self.time);
        let may_be = if self.split[group] { self.may_stay_apart() } else { self.may_part() };
        self.split[group] = outcome.is_err();
        if let Err(what) = outcome
            && !may_be
        {
            self.violation = Some(Violation { time: self.time, what });
        }
    }

    /// Two directors without a voter are held apart by hearing each other, or by the wire on which one asks for the
    /// addresses of the other. Where faults have taken both there is no rule, nor for as long after them as goes by what was
    /// heard and asked before.
    fn may_part(&self) -> bool {
        self.is_weak && self.suffers(Fault::cuts_wire) && self.suffers(Fault::silences)
    }

    /// Two that both serve do so until they hear each other.
    fn may_stay_apart(&self) -> bool {
        self.is_weak && self.suffers(Fault::silences)
    }

    fn suffers(&self, what: fn(Fault) -> bool) -> bool {
        let deadtime = self.directors[0].settings.deadtime;
        let mut faults = self.faults.iter().filter(|timed| what(timed.fault));
        faults.any(|timed| timed.begins <= self.time && self.time <= timed.ends + deadtime)
    }
}
