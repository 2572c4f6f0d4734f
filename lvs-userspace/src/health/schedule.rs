//! When a check is due. Pure, and without a random number: what varies is a hash of definition and round.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::config::model::{Check, Timing};

/// The first round of all checks is spread over this time at the most: at the start and after a reload
/// everybody waits for verdicts.
const FIRST_ROUND: Duration = Duration::from_secs(1);

/// Of one check, for as long as it is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    seed: u64,
    round: u64,
}

impl Schedule {
    pub(super) fn new(check: &Check) -> Self {
        let mut hasher = DefaultHasher::new();
        check.hash(&mut hasher);
        Self { seed: hasher.finish(), round: 0 }
    }

    /// From now to the first probe.
    pub(super) fn first(&self, timing: &Timing) -> Duration {
        timing.interval.min(FIRST_ROUND).mul_f64(self.fraction())
    }

    /// From the beginning of a probe to the beginning of the next.
    pub(super) fn next(&mut self, timing: &Timing, in_doubt: bool) -> Duration {
        self.round += 1;
        let interval = if in_doubt { timing.fast_interval } else { timing.interval };
        if self.round == 1 && !in_doubt {
            // The first round was close together; from here on the whole interval is used.
            return interval.mul_f64(self.fraction().max(0.1));
        }
        let jitter = f64::from(timing.jitter) / 100.0;
        interval.mul_f64(1.0 + jitter * (2.0 * self.fraction() - 1.0))
    }

    /// From 0 to 1, as good as random from round to round and from check to check.
    fn fraction(&self) -> f64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let mut mixed = self.seed.wrapping_add((self.round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::watch::tests::check;

    #[test]
    fn a_thousand_checks_spread_over_their_interval() {
        let timing = Timing { interval: Duration::from_secs(5), ..Timing::default() };
        let mut seconds = [0; 5];
        for host in 0..1000u32 {
            let mut schedule = Schedule::new(&check(host));
            let first = schedule.first(&timing);
            assert!(first <= Duration::from_secs(1));
            let second = first + schedule.next(&timing, false);
            let third = second + schedule.next(&timing, false);
            seconds[(third.as_millis() % 5000 / 1000) as usize] += 1;
        }
        assert!(seconds.iter().all(|count| (150..250).contains(count)), "{seconds:?}");
    }

    #[test]
    fn intervals_keep_within_the_jitter() {
        let timing = Timing { jitter: 20, ..Timing::default() };
        let mut schedule = Schedule::new(&check(1));
        schedule.next(&timing, false);
        for _ in 0..1000 {
            let next = schedule.next(&timing, false).as_secs_f64();
            assert!((4.0..=6.0).contains(&next), "{next}");
            let next = schedule.next(&timing, true).as_secs_f64();
            assert!((0.8..=1.2).contains(&next), "{next}");
        }
    }
}
