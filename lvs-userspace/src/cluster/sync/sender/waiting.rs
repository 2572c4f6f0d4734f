//! Buckets that wait to be looked at, and for how long.

use std::time::Duration;

use super::super::marks::Marks;

/// They are looked at in the order of the table, round after round: whatever was marked before a round began has been
/// looked at when it ends. So two times are enough to know how old the oldest mark may be.
#[derive(Debug)]
pub(super) struct Waiting {
    marks: Marks,
    /// Where this round is.
    cursor: u32,
    /// When the first bucket was marked in the round before, and in this one.
    former: Option<Duration>,
    latest: Option<Duration>,
}

impl Waiting {
    /// All of so many buckets.
    pub(super) fn all(buckets: u32, now: Duration) -> Self {
        Self { marks: Marks::new(buckets, true), cursor: 0, former: None, latest: Some(now) }
    }

    pub(super) fn mark(&mut self, now: Duration, bucket: u32) {
        self.forget();
        self.marks.set(bucket);
        self.latest.get_or_insert(now);
    }

    /// A bucket has changed at `since`, and has to be looked at once more.
    pub(super) fn mark_again(&mut self, since: Duration, bucket: u32) {
        self.forget();
        self.marks.set(bucket);
        self.former = Some(self.former.map_or(since, |former| former.min(since)));
    }

    /// Times of marks that are gone.
    fn forget(&mut self) {
        if self.count() == 0 {
            (self.former, self.latest) = (None, None);
        }
    }

    /// All buckets again.
    pub(super) fn mark_all(&mut self, now: Duration) {
        let since = self.since();
        *self = Self::all(self.marks.len(), now);
        self.former = since;
    }

    /// The next bucket of this round; `None` ends it.
    pub(super) fn next(&mut self) -> Option<u32> {
        let next = self.marks.next(self.cursor);
        match next {
            Some(bucket) => self.cursor = bucket + 1,
            None => {
                self.cursor = 0;
                self.former = self.latest.take().filter(|_| self.count() > 0);
            }
        }
        next
    }

    /// It was looked at.
    pub(super) fn clear(&mut self, bucket: u32) {
        self.marks.clear(bucket);
    }

    pub(super) const fn count(&self) -> u32 {
        self.marks.count()
    }

    /// Since when the oldest mark may have been waiting, if there is one.
    pub(super) fn since(&self) -> Option<Duration> {
        self.former.into_iter().chain(self.latest).min().filter(|_| self.count() > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_behind_the_round_waits_for_the_next() {
        let at = Duration::from_millis;
        let mut waiting = Waiting::all(100, at(1));
        while let Some(bucket) = waiting.next() {
            waiting.clear(bucket);
        }
        assert_eq!((waiting.count(), waiting.since()), (0, None));
        waiting.mark(at(10), 50);
        waiting.mark(at(12), 60);
        assert_eq!(waiting.next(), Some(50));
        waiting.clear(50);
        waiting.mark(at(20), 7);
        assert_eq!(waiting.next(), Some(60));
        waiting.clear(60);
        assert_eq!(waiting.next(), None);
        assert_eq!(waiting.since(), Some(at(10)), "no younger than it is");
        waiting.mark_again(at(5), 3);
        assert_eq!(waiting.since(), Some(at(5)));
        for bucket in [3, 7] {
            assert_eq!(waiting.next(), Some(bucket));
            waiting.clear(bucket);
        }
        waiting.mark(at(30), 9);
        assert_eq!(waiting.since(), Some(at(30)), "those of before are gone");
    }

    proptest! {
        /// It never says that the oldest mark is younger than it is, and forgets what was looked at after two rounds.
        #[test]
        fn the_oldest_mark_is_as_old_as_is_said(steps in prop::collection::vec((0_u32..20, 0_u8..4), 1..300)) {
            let mut waiting = Waiting::all(20, Duration::ZERO);
            let mut model: std::collections::BTreeMap<u32, Duration> = (0..20).map(|bucket| (bucket, Duration::ZERO)).collect();
            for (step, (bucket, what)) in (1..).zip(steps) {
                let now = Duration::from_millis(step);
                if what == 0 {
                    waiting.mark(now, bucket);
                    model.entry(bucket).or_insert(now);
                } else if let Some(bucket) = waiting.next() {
                    waiting.clear(bucket);
                    model.remove(&bucket);
                }
                prop_assert_eq!(waiting.count() as usize, model.len());
                prop_assert!(waiting.since() <= model.values().min().copied() || model.is_empty());
                prop_assert_eq!(waiting.since().is_some(), !model.is_empty());
            }
            let mut rounds = 0;
            while waiting.count() > 0 {
                match waiting.next() {
                    Some(bucket) => waiting.clear(bucket),
                    None => rounds += 1,
                }
                prop_assert!(rounds <= 2);
            }
        }
    }
}
