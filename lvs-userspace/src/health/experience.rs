//! What this director's own checks have found out, apart from whose verdicts are in force: by it directors are
//! compared. Pure.
//!
//! Every director probes for itself, so each finds out at another time what has happened to a real server, up to a
//! whole [`round`] apart. Such a difference is none between the directors. So a result that has changed counts for
//! a round in favour of who holds the group: when its time is over the others have found it out too, or it is
//! theirs alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::threshold::Standing;
use super::watch::Change;
use crate::config::model::{Check, Path, Timing};

/// By check; those that have had no result here are not in it.
#[derive(Debug, Default)]
pub struct Experience(BTreeMap<Arc<Check>, Found>);

#[derive(Clone, Copy, Debug)]
struct Found {
    standing: Standing,
    since: Duration,
    /// It has never been another one.
    is_first: bool,
}

impl Experience {
    /// Takes in what the own checks have told, whether or not it is in force.
    pub fn learn(&mut self, changes: &[Change], now: Duration) {
        for Change { check, standing, .. } in changes {
            let former = self.0.get(check);
            if former.is_none_or(|former| former.standing != *standing) {
                let found = Found { standing: *standing, since: now, is_first: former.is_none() };
                self.0.insert(Arc::clone(check), found);
            }
        }
    }

    /// Forgets checks that are no longer made.
    pub fn keep(&mut self, is_made: impl Fn(&Check) -> bool) {
        self.0.retain(|check, _| is_made(check));
    }

    /// What counts of a check where directors are compared. `in_force`: its verdict here, which is the active
    /// director's where that one is followed. `holds`: the group it is for is held here.
    pub fn counted(&self, check: &Check, in_force: Standing, holds: bool, now: Duration) -> Standing {
        let Some(found) = self.0.get(check) else { return in_force };
        // The default route of such a server leads to the active director: no other can find out that it is wrong.
        let is_blind = !holds && matches!(check.path, Some(Path::Translated { .. }));
        let is_fresh = now < found.since + round(&check.timing);
        match found.standing {
            Standing::Up if is_blind => in_force,
            standing if !is_fresh => standing,
            _ if holds => Standing::Up,
            _ if found.is_first => in_force,
            _ => Standing::Down,
        }
    }
}

/// The longest time from what happens to a server to the result that tells of it.
pub fn round(timing: &Timing) -> Duration {
    let Timing { interval, fast_interval, timeout, rise, fall, jitter } = *timing;
    let later = rise.max(fall).saturating_sub(1);
    let longest = interval.max(timeout) + later * fast_interval.max(timeout) + timeout;
    longest + longest * jitter / 100
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Standing::{Down, Untested, Up};
    use super::*;
    use crate::health::watch::tests::check;
    use crate::health::watch::{Finding, Outcome, Watch};

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn change(check: &Arc<Check>, standing: Standing) -> Change {
        let check = Arc::clone(check);
        Change { check, standing, evidence: String::new(), failures: 0, certificate: None }
    }

    /// By default: 5 s to the next probe, 2 s to its end, twice 2 s more, and a tenth of all.
    const ROUND: Duration = Duration::from_millis(12_100);

    #[test]
    fn a_round_is_as_long_as_the_worst_luck() {
        assert_eq!(round(&Timing::default()), ROUND);
    }

    #[test]
    fn what_counts_of_a_check() {
        let fresh = second(100) + ROUND - Duration::from_millis(1);
        let settled = second(100) + ROUND;
        let check = Arc::new(check(1));
        // What was found out at 0 and at 100 s, when it is asked for, what counts for a holder and for another one;
        // in force is `Up`, then `Down`.
        for (results, now, holder, other) in [
            (&[][..], settled, [Up, Down], [Up, Down]),
            // The first result: in force is what the active director says.
            (&[(100, Up)], fresh, [Up, Up], [Up, Down]),
            (&[(100, Down)], fresh, [Up, Up], [Up, Down]),
            (&[(100, Up)], settled, [Up, Up], [Up, Up]),
            (&[(100, Down)], settled, [Down, Down], [Down, Down]),
            // A later one.
            (&[(0, Up), (100, Down)], fresh, [Up, Up], [Down, Down]),
            (&[(0, Up), (100, Down)], settled, [Down, Down], [Down, Down]),
            (&[(0, Down), (100, Up)], fresh, [Up, Up], [Down, Down]),
            (&[(0, Down), (100, Up)], settled, [Up, Up], [Up, Up]),
            // The same again is no news.
            (&[(0, Up), (100, Up)], fresh, [Up, Up], [Up, Up]),
        ] {
            let mut experience = Experience::default();
            for (at, standing) in results {
                experience.learn(&[change(&check, *standing)], second(*at));
            }
            let counted = |holds| [Up, Down].map(|force| experience.counted(&check, force, holds, now));
            assert_eq!((counted(true), counted(false)), (holder, other), "{results:?} at {now:?}");
        }
    }

    /// Every few seconds another result, at one director only: as a holder it stays as good as any, else it is no better.
    #[test]
    fn a_server_that_flaps_for_one_director_moves_nothing() {
        let check = Arc::new(check(1));
        let mut experience = Experience::default();
        experience.learn(&[change(&check, Up)], second(0));
        for round in 2..40 {
            let now = second(10 * round);
            experience.learn(&[change(&check, if round % 2 == 0 { Down } else { Up })], now);
            for later in [now, now + second(9)] {
                assert_eq!(experience.counted(&check, Up, true, later), Up);
                assert_eq!(experience.counted(&check, Up, false, later), Down);
            }
        }
    }

    #[test]
    fn a_standby_is_not_believed_that_a_route_to_the_active_one_is_right() {
        let path = Some(Path::Translated { client: [198, 18, 0, 1].into() });
        let check = Arc::new(Check { path, ..check(1) });
        let mut experience = Experience::default();
        experience.learn(&[change(&check, Up)], second(0));
        assert_eq!(experience.counted(&check, Down, false, second(100)), Down);
        assert_eq!(experience.counted(&check, Down, true, second(100)), Up);
        // That it is not reached at all is known to whoever tries.
        experience.learn(&[change(&check, Down)], second(100));
        assert_eq!(experience.counted(&check, Up, false, second(200)), Down);
    }

    #[test]
    fn checks_that_are_gone_are_forgotten() {
        let [one, other] = [1, 2].map(|host| Arc::new(check(host)));
        let mut experience = Experience::default();
        experience.learn(&[change(&one, Down), change(&other, Down)], second(0));
        experience.keep(|check| *check == *other);
        let counted = |check| experience.counted(check, Untested, false, second(100));
        assert_eq!([counted(&one), counted(&other)], [Untested, Down]);
    }

    /// A director that probes one server.
    struct Director {
        watch: Watch,
        experience: Experience,
        running: Option<(Duration, bool, crate::health::watch::Ticket)>,
        standing: Standing,
    }

    impl Director {
        fn new(check: &Arc<Check>, begins: Duration) -> Self {
            let mut watch = Watch::default();
            watch.set([(Arc::clone(check), Untested)].into(), Default::default(), begins);
            Self { watch, experience: Experience::default(), running: None, standing: Untested }
        }

        /// A server that is up answers at once, one that is down never.
        fn pass(&mut self, now: Duration, is_up: bool) {
            if let Some((ends, passed, ticket)) = self.running
                && ends <= now
            {
                let finding = if passed { Finding::Passed } else { Finding::Failed };
                let outcome =
                    Outcome { finding, summary: String::new(), took: Duration::ZERO, certificate: None };
                if let Some(change) = self.watch.end(ticket, outcome, now).change {
                    self.standing = change.standing;
                    self.experience.learn(&[change], now);
                }
                self.running = None;
            }
            if self.running.is_none()
                && let Some((ticket, check)) = self.watch.begin(now)
            {
                let ends = if is_up { now } else { now + check.timing.timeout };
                self.running = Some((ends, is_up, ticket));
            }
        }
    }

    proptest! {
        /// A server that goes and comes, at whatever times two directors probe it, makes neither the better holder,
        /// as long as each state lasts for a round.
        #[test]
        fn no_server_makes_a_difference_that_both_will_find(
            late in 0..12_000u64,
            states in prop::collection::vec(0..30_000u64, 1..6),
        ) {
            const STEP: Duration = Duration::from_millis(50);
            let check = Arc::new(check(1));
            let [mut holder, mut other] =
                [0, late].map(|begins| Director::new(&check, Duration::from_millis(begins)));
            let (mut now, mut is_up) = (Duration::ZERO, true);
            for extra in states {
                let until = now + ROUND + 10 * STEP + Duration::from_millis(extra);
                while now < until {
                    holder.pass(now, is_up);
                    other.pass(now, is_up);
                    let force = holder.standing;
                    let at_holder = holder.experience.counted(&check, force, true, now);
                    let at_other = other.experience.counted(&check, force, false, now);
                    prop_assert!(at_holder != Down || at_other == Down, "at {now:?}");
                    now += STEP;
                }
                is_up = !is_up;
            }
        }
    }
}
