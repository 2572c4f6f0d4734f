//! How much was sent of late.

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Bytes of the last whole second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    began: Duration,
    bytes: u64,
    last: u64,
}

impl Rate {
    pub(super) fn sent(&mut self, now: Duration, bytes: usize) {
        if now.saturating_sub(self.began) >= SECOND {
            *self = Self { began: now, bytes: 0, last: self.of(now) };
        }
        self.bytes += bytes as u64;
    }

    pub(super) fn of(&self, now: Duration) -> u64 {
        match now.saturating_sub(self.began) {
            passed if passed < SECOND => self.last,
            passed if passed < 2 * SECOND => self.bytes,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_second_is_what_counts() {
        let at = |milliseconds| Duration::from_secs(100) + Duration::from_millis(milliseconds);
        let mut rate = Rate::default();
        for milliseconds in (0..1000).step_by(10) {
            rate.sent(at(milliseconds), 50);
        }
        assert_eq!(rate.of(at(999)), 0, "no second has passed");
        assert_eq!(rate.of(at(1000)), 5000);
        assert_eq!(rate.of(at(1999)), 5000);
        assert_eq!(rate.of(at(2000)), 0);
    }
}
