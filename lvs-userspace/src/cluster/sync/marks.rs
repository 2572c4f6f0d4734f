//! A set of buckets.

/// A bit for each bucket.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    words: Vec<u64>,
    buckets: u32,
    count: u32,
}

impl Marks {
    /// Of so many buckets, all or none in the set.
    pub(super) fn new(buckets: u32, all: bool) -> Self {
        let mut words = vec![if all { u64::MAX } else { 0 }; buckets.div_ceil(64) as usize];
        if let (true, Some(last), rest @ 1..) = (all, words.last_mut(), buckets % 64) {
            *last = (1 << rest) - 1;
        }
        Self { words, buckets, count: if all { buckets } else { 0 } }
    }

    /// Buckets that may be in the set.
    pub(super) const fn len(&self) -> u32 {
        self.buckets
    }

    /// Buckets in the set.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn has(&self, bucket: u32) -> bool {
        self.words.get(bucket as usize / 64).is_some_and(|word| word & 1 << (bucket % 64) != 0)
    }

    pub(super) fn set(&mut self, bucket: u32) {
        if let Some(word) = self.words.get_mut(bucket as usize / 64) {
            self.count += u32::from(*word & 1 << (bucket % 64) == 0);
            *word |= 1 << (bucket % 64);
        }
    }

    pub(super) fn clear(&mut self, bucket: u32) {
        if let Some(word) = self.words.get_mut(bucket as usize / 64) {
            self.count -= u32::from(*word & 1 << (bucket % 64) != 0);
            *word &= !(1 << (bucket % 64));
        }
    }

    /// The first bucket of the set from `from` on.
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        let first = from as usize / 64;
        let mut mask = u64::MAX << (from % 64);
        for (index, word) in self.words.iter().enumerate().skip(first) {
            let bits = word & mask;
            if bits != 0 {
                return Some(index as u32 * 64 + bits.trailing_zeros());
            }
            mask = u64::MAX;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Marks;

    #[test]
    fn a_set_of_buckets_is_counted_and_walked() {
        let mut marks = Marks::new(130, true);
        assert_eq!((marks.count(), marks.next(129), marks.next(130)), (130, Some(129), None));
        for bucket in 0..130 {
            marks.clear(bucket);
            marks.clear(bucket);
        }
        assert_eq!((marks.count(), marks.next(0)), (0, None));
        marks.set(64);
        marks.set(64);
        assert_eq!(
            (marks.count(), marks.next(0), marks.next(64), marks.next(65)),
            (1, Some(64), Some(64), None)
        );
        assert!(marks.has(64) && !marks.has(63) && !marks.has(1 << 20));
    }
}
