//! The state machine of one virtual router (RFC 9568 section 6.4, RFC 3768 section 6.4). Pure: advertisements, orders
//! and the time go in, commands come out.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::packet::Advertisement;
use crate::config::model::VrrpVersion;

/// The priority of who owns the addresses, and of who gives them up.
const OWNER: u8 = 255;
const RESIGNS: u8 = 0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    pub version: VrrpVersion,
    /// 1 to 255.
    pub priority: u8,
    /// Whether it takes over from a router of lower priority.
    pub preempt: bool,
    /// How long it lets such a router go on, from when it first hears it.
    pub preempt_delay: Duration,
    /// Between two advertisements.
    pub interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Initialize,
    Backup,
    Active,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send an advertisement with this priority.
    Send { priority: u8 },
    /// The addresses are this router's, and it has said so.
    Take,
    /// They are no longer: before it says so.
    Give,
}

#[derive(Debug)]
pub struct Machine {
    parameters: Parameters,
    /// The address it sends from.
    primary: IpAddr,
    state: State,
    /// When it acts next by itself.
    timer: Option<Instant>,
    /// What the active router says of its own interval (Active_Adver_Interval).
    active_interval: Duration,
    /// While a router of lower priority is let go on: until when.
    preempt_at: Option<Instant>,
}

impl Machine {
    pub const fn new(parameters: Parameters, primary: IpAddr) -> Self {
        let active_interval = parameters.interval;
        Self { parameters, primary, state: State::Initialize, timer: None, active_interval, preempt_at: None }
    }

    pub const fn state(&self) -> State {
        self.state
    }

    /// When [`Self::tick`] is to be called.
    pub const fn next(&self) -> Option<Instant> {
        self.timer
    }

    /// Until when a router of lower priority is let go on.
    pub const fn preempts_at(&self) -> Option<Instant> {
        self.preempt_at
    }

    /// It may take part from now on.
    pub fn start(&mut self, now: Instant) -> Vec<Command> {
        if self.state != State::Initialize {
            return Vec::new();
        }
        self.active_interval = self.parameters.interval;
        self.preempt_at = None;
        if self.parameters.priority == OWNER {
            return self.become_active(now);
        }
        self.become_backup(now);
        Vec::new()
    }

    /// Goes on with other parameters of the same version and interval. An active one tells the others at once.
    pub fn change(&mut self, parameters: Parameters, now: Instant) -> Vec<Command> {
        self.parameters = parameters;
        self.preempt_at = None;
        match self.state {
            State::Active => self.advertise(now),
            State::Backup if self.parameters.priority == OWNER => self.become_active(now),
            State::Initialize | State::Backup => Vec::new(),
        }
    }

    /// It must not take part any more. The others need not wait for the timer.
    pub fn stop(&mut self) -> Vec<Command> {
        let was = self.state;
        (self.state, self.timer, self.preempt_at) = (State::Initialize, None, None);
        match was {
            State::Active => vec![Command::Give, Command::Send { priority: RESIGNS }],
            State::Initialize | State::Backup => Vec::new(),
        }
    }

    pub fn tick(&mut self, now: Instant) -> Vec<Command> {
        if self.timer.is_none_or(|timer| timer > now) {
            return Vec::new();
        }
        match self.state {
            State::Initialize => Vec::new(),
            State::Backup => self.become_active(now),
            State::Active => self.advertise(now),
        }
    }

    /// An advertisement of this virtual router from another machine. What is of the wrong version or, in version 2,
    /// of another interval is not for it (RFC 3768 section 7.1); see [`Self::suits`].
    pub fn heard(&mut self, advertisement: &Advertisement, source: IpAddr, now: Instant) -> Vec<Command> {
        if !self.suits(advertisement) {
            return Vec::new();
        }
        match self.state {
            State::Initialize => Vec::new(),
            State::Backup => {
                self.heard_as_backup(advertisement, now);
                Vec::new()
            }
            State::Active => self.heard_as_active(advertisement, source, now),
        }
    }

    pub fn suits(&self, advertisement: &Advertisement) -> bool {
        advertisement.version == self.parameters.version
            && (advertisement.version == VrrpVersion::V3
                || advertisement.interval == self.parameters.interval)
    }

    fn heard_as_backup(&mut self, advertisement: &Advertisement, now: Instant) {
        if advertisement.priority == RESIGNS {
            self.timer = Some(now + self.skew());
        } else if !self.preempts(advertisement.priority, now) {
            self.active_interval = advertisement.interval;
            self.timer = Some(now + self.down_interval());
        }
    }

    /// Whether the active router, of this priority, is not to be waited for.
    fn preempts(&mut self, priority: u8, now: Instant) -> bool {
        if !self.parameters.preempt || priority >= self.parameters.priority {
            self.preempt_at = None;
            return false;
        }
        let at = *self.preempt_at.get_or_insert(now + self.parameters.preempt_delay);
        at <= now
    }

    fn heard_as_active(
        &mut self,
        advertisement: &Advertisement,
        source: IpAddr,
        now: Instant,
    ) -> Vec<Command> {
        if advertisement.priority == RESIGNS {
            return self.advertise(now);
        }
        let order = advertisement.priority.cmp(&self.parameters.priority);
        if order.then_with(|| source.cmp(&self.primary)) == Ordering::Greater {
            self.active_interval = advertisement.interval;
            self.become_backup(now);
            return vec![Command::Give];
        }
        match self.parameters.version {
            VrrpVersion::V2 => Vec::new(),
            // New in RFC 9568: bridges learn at once who is active.
            VrrpVersion::V3 => vec![Command::Send { priority: self.parameters.priority }],
        }
    }

    fn become_active(&mut self, now: Instant) -> Vec<Command> {
        self.state = State::Active;
        self.preempt_at = None;
        [self.advertise(now), vec![Command::Take]].concat()
    }

    fn become_backup(&mut self, now: Instant) {
        self.state = State::Backup;
        self.timer = Some(now + self.down_interval());
    }

    fn advertise(&mut self, now: Instant) -> Vec<Command> {
        self.timer = Some(now + self.parameters.interval);
        vec![Command::Send { priority: self.parameters.priority }]
    }

    /// The higher the priority, the sooner it acts (Skew_Time).
    fn skew(&self) -> Duration {
        let of = match self.parameters.version {
            VrrpVersion::V2 => Duration::from_secs(1),
            VrrpVersion::V3 => self.active_interval,
        };
        of * (256 - u32::from(self.parameters.priority)) / 256
    }

    /// Without a word for so long, the active router is dead (Active_Down_Interval).
    fn down_interval(&self) -> Duration {
        self.active_interval * 3 + self.skew()
    }
}

/// How long an active router may answer for the addresses after an advertisement was sent, if it sends no other: any
/// backup that has heard it waits for three intervals at the least. A quarter of one is left for clocks and the way.
pub fn lease(interval: Duration) -> Duration {
    interval * 11 / 4
}
