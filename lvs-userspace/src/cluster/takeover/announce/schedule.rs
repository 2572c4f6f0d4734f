//! When an address is announced: a burst at once, since frames get lost while switches learn; then again, for
//! those that were cut off; then in intervals, if it is wanted. Pure.

use std::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Rounds of the burst; one at least.
    pub burst: u32,
    /// Between two of them.
    pub spacing: Duration,
    /// After the burst, each from the one before.
    pub repeats: Vec<Duration>,
    /// Between two rounds ever after.
    pub refresh: Option<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            burst: 5,
            spacing: Duration::from_millis(5),
            repeats: [1, 2, 4].map(Duration::from_secs).to_vec(),
            refresh: None,
        }
    }
}

/// The rounds that are still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Rounds done.
    done: u32,
    /// `None` after the last one.
    next: Option<Instant>,
}

impl Schedule {
    /// The first round is due at once.
    pub(crate) const fn start(now: Instant) -> Self {
        Self { done: 0, next: Some(now) }
    }

    pub(crate) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a round is to be sent now; it counts as sent. A round that was missed is not made up for.
    pub(crate) fn take_due(&mut self, timing: &Timing, now: Instant) -> bool {
        let is_due = self.next.is_some_and(|next| next <= now);
        if is_due {
            self.done = self.done.saturating_add(1);
            self.next = self.pause(timing).map(|pause| now + pause);
        }
        is_due
    }

    /// Until the round after those done.
    fn pause(&self, timing: &Timing) -> Option<Duration> {
        if self.done < timing.burst {
            return Some(timing.spacing);
        }
        let repeat = usize::try_from(self.done - timing.burst.max(1)).unwrap_or(usize::MAX);
        timing.repeats.get(repeat).copied().or(timing.refresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds after the start at which rounds are sent, within the first `seconds`.
    fn rounds(timing: &Timing, seconds: u64) -> Vec<u128> {
        let start = Instant::now();
        let mut schedule = Schedule::start(start);
        let mut sent = Vec::new();
        while let Some(next) = schedule.next().filter(|next| *next <= start + Duration::from_secs(seconds)) {
            assert!(next <= start || !schedule.take_due(timing, next - Duration::from_nanos(1)), "too early");
            assert!(schedule.take_due(timing, next));
            sent.push((next - start).as_millis());
        }
        sent
    }

    #[test]
    fn a_burst_then_repeats_then_nothing() {
        assert_eq!(rounds(&Timing::default(), 3600), [0, 5, 10, 15, 20, 1020, 3020, 7020]);
    }

    #[test]
    fn it_is_refreshed_for_ever_if_wanted() {
        let refresh = Some(Duration::from_secs(60));
        let timing = Timing { burst: 1, repeats: vec![Duration::from_secs(1)], refresh, ..Timing::default() };
        assert_eq!(rounds(&timing, 130), [0, 1_000, 61_000, 121_000]);
        let timing = Timing { burst: 0, repeats: Vec::new(), refresh: None, ..timing };
        assert_eq!(rounds(&timing, 3600), [0], "one at least");
    }

    #[test]
    fn missed_rounds_are_not_made_up_for() {
        let (timing, start) = (Timing::default(), Instant::now());
        let mut schedule = Schedule::start(start);
        let late = start + Duration::from_secs(5);
        assert!(schedule.take_due(&timing, late));
        assert!(!schedule.take_due(&timing, late));
        assert_eq!(schedule.next(), Some(late + timing.spacing));
    }
}
