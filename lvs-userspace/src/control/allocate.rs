//! Who may use which index: single indices and runs of chunks, lowest first.

use std::collections::{BTreeMap, BTreeSet};

/// Hands out indices below a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Indices {
    limit: u32,
    /// Indices at and above this one were never handed out.
    next: u32,
    free: BTreeSet<u32>,
}

impl Indices {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, next: 0, free: BTreeSet::new() }
    }

    /// The lowest free index; `None` when all are taken.
    pub(super) fn allocate(&mut self) -> Option<u32> {
        if let Some(index) = self.free.pop_first() {
            return Some(index);
        }
        if self.next >= self.limit {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// Takes this very index; false when it is taken already or out of range.
    pub(super) fn claim(&mut self, index: u32) -> bool {
        if index >= self.limit {
            return false;
        }
        if index < self.next {
            return self.free.remove(&index);
        }
        self.free.extend(self.next..index);
        self.next = index + 1;
        true
    }

    pub(super) fn release(&mut self, index: u32) {
        debug_assert!(index < self.next, "index {index} was never handed out");
        self.free.insert(index);
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.next as usize - self.free.len()
    }

    /// Releases every index that `used` does not name.
    pub(super) fn release_all_but(&mut self, used: &BTreeSet<u32>) {
        self.free = (0..self.next).filter(|index| !used.contains(index)).collect();
    }
}

/// A run of neighbouring chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub first: u32,
    pub chunks: u32,
}

impl Region {
    pub(super) const EMPTY: Self = Self { first: 0, chunks: 0 };
}

/// Hands out regions below a limit, the first that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Regions {
    /// First chunk of every free run -> its length. Neighbouring runs are always joined.
    free: BTreeMap<u32, u32>,
}

impl Regions {
    pub(super) fn new(limit: u32) -> Self {
        Self { free: BTreeMap::from([(0, limit)]) }
    }

    /// `chunks` neighbouring chunks; `None` when there is no such run.
    pub(super) fn allocate(&mut self, chunks: u32) -> Option<Region> {
        if chunks == 0 {
            return Some(Region::EMPTY);
        }
        let (&first, _) = self.free.iter().find(|(_, length)| **length >= chunks)?;
        let region = Region { first, chunks };
        self.claim(region).then_some(region)
    }

    /// Takes this very region; false, and nothing taken, when a part of it is taken or out of range.
    pub(super) fn claim(&mut self, region: Region) -> bool {
        if region.chunks == 0 {
            return true;
        }
        let Some((&first, &length)) = self.free.range(..=region.first).next_back() else { return false };
        let (Some(end), Some(taken)) = (first.checked_add(length), region.first.checked_add(region.chunks))
        else {
            return false;
        };
        if taken > end {
            return false;
        }
        self.free.remove(&first);
        if first < region.first {
            self.free.insert(first, region.first - first);
        }
        if taken < end {
            self.free.insert(taken, end - taken);
        }
        true
    }

    pub(super) fn release(&mut self, region: Region) {
        if region.chunks == 0 {
            return;
        }
        let mut run = region;
        if let Some((&before, &length)) = self.free.range(..region.first).next_back()
            && before + length == region.first
        {
            run = Region { first: before, chunks: length + region.chunks };
        }
        if let Some(after) = self.free.remove(&(region.first + region.chunks)) {
            run.chunks += after;
        }
        self.free.insert(run.first, run.chunks);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn indices_are_handed_out_lowest_first_and_end_at_the_limit() {
        let mut indices = Indices::new(4);
        assert!(indices.claim(2));
        assert!(!indices.claim(2));
        assert!(!indices.claim(4));
        assert_eq!([indices.allocate(), indices.allocate(), indices.allocate()], [Some(0), Some(1), Some(3)]);
        assert_eq!(indices.allocate(), None);
        indices.release(1);
        assert_eq!(indices.allocate(), Some(1));
    }

    proptest! {
        #[test]
        fn regions_never_overlap_and_all_come_back(steps in prop::collection::vec((any::<bool>(), 0u32..5, 0usize..9), 1..60)) {
            let fresh = Regions::new(24);
            let mut regions = fresh.clone();
            let mut held: Vec<Region> = Vec::new();
            for (take, chunks, which) in steps {
                if take {
                    if let Some(region) = regions.allocate(chunks) {
                        prop_assert_eq!(region.chunks, chunks);
                        prop_assert!(region.first + region.chunks <= 24);
                        for other in &held {
                            prop_assert!(
                                chunks == 0 || other.chunks == 0
                                    || region.first >= other.first + other.chunks
                                    || other.first >= region.first + region.chunks
                            );
                        }
                        prop_assert!(chunks == 0 || !regions.clone().claim(region));
                        held.push(region);
                    }
                } else if which < held.len() {
                    regions.release(held.swap_remove(which));
                }
            }
            for region in held {
                regions.release(region);
            }
            prop_assert_eq!(regions, fresh);
        }
    }
}
