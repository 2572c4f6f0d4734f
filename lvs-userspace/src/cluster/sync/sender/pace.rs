//! So many bytes a second, at the most ten milliseconds' worth of them at once.

use std::time::Duration;

/// What may go at once when nothing has gone for a while: of a second this part,
const BURST: u64 = 100;
/// and in bytes at least and at the most.
const BURST_BYTES: (u64, u64) = (4096, 64 * 1024);

#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// What may go: nanoseconds' worth of it.
    credit: Duration,
    burst: Duration,
    last: Duration,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64, now: Duration) -> Self {
        let bytes_per_second = bytes_per_second.max(1);
        let (least, most) = BURST_BYTES;
        let burst = time_of((bytes_per_second / BURST).clamp(least, most), bytes_per_second);
        Self { bytes_per_second, credit: burst, burst, last: now }
    }

    pub(super) fn allows(&mut self, now: Duration) -> bool {
        self.credit = (self.credit + now.saturating_sub(self.last)).min(self.burst);
        self.last = self.last.max(now);
        !self.credit.is_zero()
    }

    /// So many bytes have gone: what they are over the credit is missing next time.
    pub(super) fn sent(&mut self, bytes: usize) {
        let time = time_of(bytes as u64, self.bytes_per_second);
        match self.credit.checked_sub(time) {
            Some(rest) => self.credit = rest,
            None => {
                // A debt is paid by time that does not count.
                self.last += time - self.credit;
                self.credit = Duration::ZERO;
            }
        }
    }
}

fn time_of(bytes: u64, bytes_per_second: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / bytes_per_second)
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::time::Duration;

    #[test]
    fn bytes_go_no_faster_than_they_may() {
        let mut pace = Pace::new(1_000_000, Duration::ZERO);
        let mut sent = 0;
        for microseconds in (0..1_000_000).step_by(100) {
            while pace.allows(Duration::from_micros(microseconds)) {
                pace.sent(1400);
                sent += 1400;
            }
        }
        assert!((1_000_000..1_000_000 + 64 * 1024 + 1400).contains(&sent), "{sent} bytes in a second");
    }
}
