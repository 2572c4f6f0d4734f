//! The state machine of one virtual router (RFC 9568 section 6.4, RFC 3768 section 6.4). Pure: advertisements, orders
//! and the time go in, commands come out.

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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn parameters(priority: u8) -> Parameters {
        let (preempt, preempt_delay) = (true, Duration::ZERO);
        Parameters { version: VrrpVersion::V3, priority, preempt, preempt_delay, interval: SECOND }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn machine(parameters: Parameters) -> Machine {
        Machine::new(parameters, ip("10.0.0.5"))
    }

    fn advertisement(priority: u8) -> Advertisement {
        let addresses = vec![ip("192.0.2.10")];
        Advertisement { version: VrrpVersion::V3, router_id: 51, priority, interval: SECOND, addresses }
    }

    /// Started, and active since nobody was heard.
    fn active(parameters: Parameters, now: Instant) -> (Machine, Instant) {
        let mut machine = machine(parameters);
        machine.start(now);
        let then = machine.next().unwrap();
        machine.tick(then);
        assert_eq!(machine.state(), State::Active);
        (machine, then)
    }

    #[test]
    fn a_backup_waits_for_three_intervals_and_its_skew() {
        let now = Instant::now();
        let mut machine = machine(parameters(100));
        assert_eq!(machine.tick(now), []);
        assert_eq!(machine.start(now), []);
        assert_eq!(machine.start(now), [], "once");
        let then = now + SECOND * 3 + SECOND * 156 / 256;
        assert_eq!(machine.next(), Some(then));
        assert_eq!(machine.tick(then - Duration::from_nanos(1)), []);
        assert_eq!(machine.tick(then), [Command::Send { priority: 100 }, Command::Take]);
        assert_eq!(machine.tick(then + SECOND), [Command::Send { priority: 100 }]);
        assert_eq!(machine.stop(), [Command::Give, Command::Send { priority: 0 }]);
        assert_eq!((machine.state(), machine.next()), (State::Initialize, None));
        assert_eq!(machine.stop(), []);
    }

    #[test]
    fn the_owner_is_active_at_once() {
        let mut machine = machine(parameters(255));
        assert_eq!(machine.start(Instant::now()), [Command::Send { priority: 255 }, Command::Take]);
        let higher = machine.heard(&advertisement(254), ip("10.0.0.9"), Instant::now());
        assert_eq!(higher, [Command::Send { priority: 255 }]);
    }

    #[test]
    fn a_backup_follows_who_is_at_least_as_good_and_preempts_others() {
        let start = Instant::now();
        for (priority, preempt, waits) in
            [(150, true, true), (100, true, true), (99, true, false), (99, false, true)]
        {
            let mut machine = machine(Parameters { preempt, ..parameters(100) });
            machine.start(start);
            let (before, now) = (machine.next(), start + SECOND);
            assert_eq!(machine.heard(&advertisement(priority), ip("10.0.0.9"), now), []);
            assert_eq!(machine.next() != before, waits, "{priority} {preempt}");
        }
    }

    /// Version 3 takes the interval from who is active.
    #[test]
    fn a_backup_takes_the_interval_of_the_active_one() {
        let now = Instant::now();
        let mut machine = machine(parameters(100));
        machine.start(now);
        let slow = Advertisement { interval: SECOND * 2, ..advertisement(150) };
        machine.heard(&slow, ip("10.0.0.9"), now);
        assert_eq!(machine.next(), Some(now + SECOND * 6 + SECOND * 2 * 156 / 256));
        machine.heard(&advertisement(0), ip("10.0.0.9"), now);
        assert_eq!(machine.next(), Some(now + SECOND * 2 * 156 / 256), "resigned: the skew alone");
    }

    #[test]
    fn a_preemption_may_be_delayed() {
        let now = Instant::now();
        let mut machine = machine(Parameters { preempt_delay: SECOND * 10, ..parameters(100) });
        machine.start(now);
        for second in 0..10 {
            let now = now + SECOND * second;
            machine.heard(&advertisement(50), ip("10.0.0.9"), now);
            assert_eq!(machine.next(), Some(now + machine.down_interval()), "{second}");
        }
        let then = now + SECOND * 10;
        let timer = machine.next();
        machine.heard(&advertisement(50), ip("10.0.0.9"), then);
        assert_eq!(machine.next(), timer, "not waited for any more");
        // Somebody better, and the delay begins anew.
        machine.heard(&advertisement(150), ip("10.0.0.8"), then);
        machine.heard(&advertisement(50), ip("10.0.0.9"), then);
        assert_eq!(machine.next(), Some(then + machine.down_interval()));
    }

    #[test]
    fn an_active_one_yields_to_who_is_better() {
        let now = Instant::now();
        for (priority, source, yields) in [
            (101, "10.0.0.1", true),
            (99, "10.0.0.9", false),
            (100, "10.0.0.6", true),
            (100, "10.0.0.4", false),
            (100, "10.0.0.5", false),
        ] {
            let (mut machine, now) = active(parameters(100), now);
            let commands = machine.heard(&advertisement(priority), ip(source), now);
            let (expected, state) = match yields {
                true => (Command::Give, State::Backup),
                false => (Command::Send { priority: 100 }, State::Active),
            };
            assert_eq!((commands, machine.state()), (vec![expected], state), "{priority} {source}");
        }
        let (mut machine, now) = active(parameters(100), now);
        assert_eq!(machine.heard(&advertisement(0), ip("10.0.0.9"), now), [Command::Send { priority: 100 }]);
    }

    #[test]
    fn version_2_differs() {
        let now = Instant::now();
        let old = Parameters { version: VrrpVersion::V2, interval: SECOND * 2, ..parameters(128) };
        let mut waiting = machine(old.clone());
        waiting.start(now);
        assert_eq!(waiting.next(), Some(now + SECOND * 6 + SECOND / 2), "the skew is of a second");
        let good = Advertisement { version: VrrpVersion::V2, interval: SECOND * 2, ..advertisement(200) };
        for other in [Advertisement { interval: SECOND, ..good.clone() }, advertisement(200)] {
            let before = waiting.next();
            waiting.heard(&other, ip("10.0.0.9"), now + SECOND);
            assert_eq!(waiting.next(), before, "{other:?}");
        }
        waiting.heard(&good, ip("10.0.0.9"), now + SECOND);
        assert_eq!(waiting.next(), Some(now + SECOND * 7 + SECOND / 2));
        let (mut active, now) = active(old, now);
        let lower = Advertisement { priority: 1, ..good };
        assert_eq!(active.heard(&lower, ip("10.0.0.9"), now), [], "silence asserts nothing");
    }

    /// Two machines on a perfect link: at no time do both hold a lease, unless one preempts the other.
    #[test]
    fn leases_end_before_a_backup_takes_over() {
        for interval in [Duration::from_millis(10), SECOND, SECOND * 40] {
            for priority in 1..=254 {
                let parameters = Parameters { interval, ..parameters(priority) };
                let mut backup = machine(parameters);
                let now = Instant::now();
                backup.start(now);
                let sent = Advertisement { interval, ..advertisement(255) };
                backup.heard(&sent, ip("10.0.0.9"), now);
                assert!(now + lease(interval) < backup.next().unwrap());
            }
        }
        assert!(lease(SECOND) > SECOND * 2, "one lost advertisement does not end it");
    }
}
