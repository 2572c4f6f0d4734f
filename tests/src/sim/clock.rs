//! A machine's monotonic clock, as far from the others' as real ones are.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What it shows when the world begins.
    offset: Duration,
    /// How much faster it runs than the world's, in parts of a million.
    drift: i64,
    /// How long it has stood still so far.
    stopped: Duration,
    /// Since when it stands still.
    stops_at: Option<Duration>,
}

impl Clock {
    pub(super) const fn new(offset: Duration, drift: i64) -> Self {
        Self { offset, drift, stopped: Duration::ZERO, stops_at: None }
    }

    /// What it shows at a time of the world.
    pub(super) fn at(&self, time: Duration) -> Duration {
        let run = self.stops_at.map_or(time, |stop| stop.min(time)) - self.stopped;
        let nanoseconds = run.as_nanos() as i64;
        let drifted = nanoseconds + nanoseconds / 1_000_000 * self.drift;
        self.offset + Duration::from_nanos(drifted as u64)
    }

    /// When it shows this, if it does not stand still before.
    pub(super) fn when(&self, shown: Duration) -> Duration {
        let drifted = shown.saturating_sub(self.offset).as_nanos() as i64;
        let run = drifted - drifted / 1_000_000 * self.drift;
        // Rounding must not lead to a time at which it does not show it yet.
        Duration::from_nanos(run as u64) + self.stopped + Duration::from_micros(1)
    }

    /// The whole machine is stopped, as a guest is by its host.
    pub(super) fn stop(&mut self, time: Duration) {
        self.stops_at = Some(time);
    }

    pub(super) fn go_on(&mut self, time: Duration) {
        if let Some(stop) = self.stops_at.take() {
            self.stopped += time - stop;
        }
    }
}
