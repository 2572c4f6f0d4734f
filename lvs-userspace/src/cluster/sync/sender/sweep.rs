//! Looks through the whole table for connections whose packets the receivers should know of.

use std::time::Duration;

use super::super::{Directory, SWEEP, Source};
use super::one::Sender;

#[derive(Debug)]
pub(super) struct Sweep {
    buckets: u32,
    began: Option<Duration>,
    /// The next bucket.
    at: u32,
}

impl Sweep {
    pub(super) const fn new(buckets: u32) -> Self {
        Self { buckets, began: None, at: 0 }
    }

    /// A part of the table, as large as the time that has passed is of [`SWEEP`]: read once for all who follow.
    pub(super) fn go_on(
        &mut self,
        now: Duration,
        source: &impl Source,
        directory: &Directory,
        senders: &mut [Sender],
    ) {
        let passed = now.saturating_sub(*self.began.get_or_insert(now));
        let due = u128::from(self.buckets) * passed.as_nanos() / SWEEP.as_nanos();
        let end = u32::try_from(due).unwrap_or(u32::MAX).min(self.buckets);
        for bucket in self.at..end {
            let Some(entries) = source.read(bucket) else { continue };
            for sender in &mut *senders {
                sender.compare_times(now, bucket, &entries, directory);
            }
        }
        self.at = self.at.max(end);
        if self.at == self.buckets {
            *self = Self { began: Some(now), ..Self::new(self.buckets) };
        }
    }
}
