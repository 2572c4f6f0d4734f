//! Single rules of the state machine.

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

/// It neither resigns nor begins anew, and the others know at once what it is now.
#[test]
fn other_parameters_leave_it_what_it_is() {
    let now = Instant::now();
    let (mut machine, then) = active(parameters(100), now);
    assert_eq!(machine.change(parameters(90), then), [Command::Send { priority: 90 }]);
    assert_eq!((machine.state(), machine.next()), (State::Active, Some(then + SECOND)));
    assert_eq!(machine.heard(&advertisement(95), ip("10.0.0.4"), then), [Command::Give]);
    let next = machine.next();
    assert_eq!(machine.change(parameters(94), then), []);
    assert_eq!((machine.state(), machine.next()), (State::Backup, next));
    let taken = [Command::Send { priority: 255 }, Command::Take];
    assert_eq!(machine.change(parameters(255), then), taken);
    machine.stop();
    assert_eq!(machine.change(parameters(100), then), []);
    assert_eq!(machine.state(), State::Initialize);
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
