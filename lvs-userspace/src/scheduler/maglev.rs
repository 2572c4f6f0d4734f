//! Weighted Maglev: the ring of the hashing schedulers.
//!
//! Every member walks all slots in an order of its own (offset and skip from its key's hash; the number
//! of slots is prime, so each skip reaches every slot) and takes the next free one when it is its turn.
//! Turns are by credit: each round a member adds its weight to its credit and takes a slot when that
//! reaches the highest weight. Maglev: Eisenbud et al., NSDI 2016, section 3.4; turns by credit: Katran.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lvs_common::limits::RING_SIZES;

use super::member::{Member, in_stable_order};

/// With fewer slots for the smallest weight its share is off by more than 2 %: worth a warning.
pub const FEWEST_SLOTS: u32 = 100;

/// Slots for the smallest weight in a new ring: some beyond [`FEWEST_SLOTS`], so that the pool may grow,
/// and so that a removal moves, in the mean, less than 2 % of the slots beside those that must move.
const WANTED_SLOTS: u32 = 128;

const OFFSET_SEED: u64 = 1;
const SKIP_SEED: u64 = 2;

struct Walker {
    position: u16,
    weight: u64,
    taken: u64,
    next: usize,
    skip: usize,
}

impl Walker {
    fn new(member: &Member, slots: u32) -> Self {
        let (offset, skip) = (member.key.hash(OFFSET_SEED), member.key.hash(SKIP_SEED));
        Self {
            position: member.position,
            weight: u64::from(member.weight),
            taken: 0,
            next: (offset % u64::from(slots)) as usize,
            skip: (skip % u64::from(slots - 1)) as usize + 1,
        }
    }

    /// The round in which the credit for the next slot is complete.
    fn next_round(&self, highest: u64) -> u64 {
        ((self.taken + 1) * highest).div_ceil(self.weight)
    }

    /// Takes the next free slot of this member's order; there must be one.
    fn take(&mut self, ring: &mut [Option<u16>]) {
        self.taken += 1;
        while ring[self.next].is_some() {
            // Both are below the length, so this is the remainder, at a tenth of a division's time.
            let next = self.next + self.skip;
            self.next = if next >= ring.len() { next - ring.len() } else { next };
        }
        ring[self.next] = Some(self.position);
    }
}

/// The position of each of `slots` slots; empty if no member has a weight.
///
/// `slots` must be a prime, as those of [`RING_SIZES`] are. The result depends on keys, weights and
/// positions, not on the order of `members`.
pub fn build(members: &[Member], slots: u32) -> Vec<u16> {
    let mut walkers: Vec<Walker> =
        in_stable_order(members).iter().map(|member| Walker::new(member, slots)).collect();
    let Some(highest) = walkers.iter().map(|walker| walker.weight).max() else {
        return Vec::new();
    };
    // Rounds in which nobody's credit is complete are skipped: with unlike weights most are.
    let mut turns: BinaryHeap<_> = walkers
        .iter()
        .enumerate()
        .map(|(index, walker)| Reverse((walker.next_round(highest), index)))
        .collect();
    let mut ring = vec![None; slots as usize];
    for _ in 0..slots {
        let Some(mut turn) = turns.peek_mut() else { break };
        let walker = &mut walkers[turn.0.1];
        walker.take(&mut ring);
        turn.0.0 = walker.next_round(highest);
    }
    ring.into_iter().flatten().collect()
}

/// The smallest ring that gives the smallest weight 128 slots, else the largest.
///
/// For a service that has no ring yet: one that has keeps its size (see [`super::columns`]).
pub fn ring_size(members: &[Member]) -> u32 {
    let [.., largest] = RING_SIZES;
    let enough = |slots: &u32| smallest_share(members, *slots) >= Some(WANTED_SLOTS);
    RING_SIZES.into_iter().find(enough).unwrap_or(largest)
}

/// Slots due to the smallest weight above 0; `None` if there is none.
pub fn smallest_share(members: &[Member], slots: u32) -> Option<u32> {
    let weights = || members.iter().map(|member| u64::from(member.weight)).filter(|&weight| weight > 0);
    let share = weights().min()? * u64::from(slots) / weights().sum::<u64>();
    u32::try_from(share).ok()
}

#[cfg(test)]
mod tests;
