//! What goes wrong, or is wanted by operators, and how it ends.

use super::*;

impl World {
    pub(super) fn begin(&mut self, fault: Fault) {
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

    pub(super) fn operate(&mut self, director: usize, order: impl FnOnce(&mut Director, Duration)) {
        let time = self.time;
        if self.directors[director].runs() {
            let one = &mut self.directors[director];
            let now = one.now(time);
            order(one, now);
            self.think(director);
        }
    }

    pub(super) fn end(&mut self, number: usize) {
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
                    let lease = check::let_off(one);
                    self.check_all();
                    self.push(time + lease + WORK, What::Look);
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

    pub(super) fn set_fit(&mut self, director: usize, is_fit: bool) {
        for group in 0..self.groups {
            let score = self.directors[director].fitness[group].score;
            self.directors[director].set_fitness(group, Fitness { is_fit, score });
        }
        if self.directors[director].runs() {
            self.think(director);
        }
    }

    /// The agent begins a new life where it has none.
    pub(super) fn start(&mut self, director: usize) {
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
    pub(super) fn resume(&mut self, director: usize) {
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
}

/// Ends what an operator has ordered.
pub(super) fn take_back(director: &mut Director, now: Duration) {
    for group in director.settings.groups.clone() {
        if director.node.mode(group.group) != Some(Mode::Normal) {
            director.node.take(group.group, now).ok();
        }
    }
}
