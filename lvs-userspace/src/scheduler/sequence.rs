//! The sequences of rr and wrr, walked by a cursor: each step is the next new flow's position.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::member::{Member, in_stable_order};

/// Longest sequence.
pub const LENGTH: u32 = 65_536;

/// Every position with a weight once.
pub fn round_robin(members: &[Member]) -> Vec<u16> {
    in_stable_order(members).iter().map(|member| member.position).collect()
}

/// Every position as often as its weight says, as evenly as can be: any beginning of the sequence, of
/// whatever length, holds each position's share of it rounded up or down.
///
/// The sequence is as long as the sum of the weights, divided by what all of them have in common. Where
/// that is more than [`LENGTH`], weights are scaled down to it and rounded, none to 0: shares above 1 in
/// 1000 are then right within 1 %.
pub fn weighted(members: &[Member]) -> Vec<u16> {
    let members = in_stable_order(members);
    let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
    interleave(&turns(&weights)).into_iter().map(|index| members[index].position).collect()
}

/// Weights in lowest terms, or scaled so that they add up to [`LENGTH`] at the most.
fn turns(weights: &[u32]) -> Vec<u64> {
    let common = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight / common)).sum();
    if sum <= u64::from(LENGTH) {
        return weights.iter().map(|&weight| u64::from(weight / common)).collect();
    }
    // Rounding adds at most one turn for each member.
    let length = u64::from(LENGTH) - weights.len() as u64;
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    weights.iter().map(|&weight| ((u64::from(weight) * length + total / 2) / total).max(1)).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Indices into `turns`, index `i` for `turns[i]` times.
///
/// Of `n` turns in `length` steps, number `k` is due within steps `k * length / n` (rounded down) to
/// `(k + 1) * length / n` (rounded up). A fair machine that serves everybody a little at every moment meets all
/// these deadlines, so serving the earliest deadline first does too (unit tasks, one machine).
fn interleave(turns: &[u64]) -> Vec<usize> {
    let length: u64 = turns.iter().sum();
    let mut later: BinaryHeap<_> = (0..turns.len()).map(|index| Reverse((0, index, 0))).collect();
    let mut ready = BinaryHeap::new();
    let mut sequence = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    for step in 0..length {
        while let Some(&Reverse((release, index, done))) = later.peek()
            && release <= step
        {
            later.pop();
            let deadline = ((done + 1) * length).div_ceil(turns[index]);
            ready.push(Reverse((deadline, release, index, done + 1)));
        }
        let Some(Reverse((_, _, index, done))) = ready.pop() else { break };
        sequence.push(index);
        if done < turns[index] {
            later.push(Reverse((done * length / turns[index], index, done)));
        }
    }
    sequence
}

#[cfg(test)]
mod tests;
