use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::{LENGTH, Member, round_robin, weighted};
use crate::scheduler::StableKey;

fn pool(weights: &[u32]) -> Vec<Member> {
    let member = |(index, &weight): (usize, &u32)| {
        let [high, low] = (index as u16).to_be_bytes();
        let key = StableKey::new(IpAddr::from([10, 9, high, low]), 80);
        Member { key, position: index as u16, weight }
    };
    weights.iter().enumerate().map(member).collect()
}

fn counts(sequence: &[u16]) -> BTreeMap<u16, u64> {
    let mut counts = BTreeMap::new();
    for &position in sequence {
        *counts.entry(position).or_default() += 1;
    }
    counts
}

#[test]
fn round_robin_names_everyone_with_a_weight_once() {
    assert_eq!(round_robin(&pool(&[1, 0, 7, 3])), [0, 2, 3]);
    assert!(round_robin(&pool(&[0])).is_empty());
}

#[test]
fn known_sequences() {
    for (weights, sequence) in [
        (vec![1, 1, 1], vec![0, 1, 2]),
        (vec![100, 100], vec![0, 1]),
        (vec![2, 1], vec![0, 1, 0]),
        (vec![5, 1, 1], vec![0, 0, 0, 1, 0, 2, 0]),
        (vec![3, 0, 3], vec![0, 2]),
        (vec![], vec![]),
        (vec![0, 0], vec![]),
        (vec![9], vec![0]),
    ] {
        assert_eq!(weighted(&pool(&weights)), sequence, "{weights:?}");
    }
}

#[test]
fn many_light_members_do_not_come_in_one_burst() {
    let mut weights = vec![1; 1001];
    weights[0] = 1000;
    let sequence = weighted(&pool(&weights));
    assert!(sequence.windows(3).all(|three| three.contains(&0)));
}

#[test]
fn weights_without_a_common_divisor_are_approximated() {
    let weights = [65_535, 65_534, 65_521, 30_011, 997];
    let sequence = weighted(&pool(&weights));
    assert!(sequence.len() <= LENGTH as usize, "{}", sequence.len());
    let counts = counts(&sequence);
    let sum: u32 = weights.iter().sum();
    for (position, weight) in weights.iter().enumerate() {
        let wanted = f64::from(*weight) / f64::from(sum);
        let share = counts[&(position as u16)] as f64 / sequence.len() as f64;
        assert!((share / wanted - 1.0).abs() < 0.01, "weight {weight}: {share}, wanted {wanted}");
    }
}

#[test]
fn the_longest_pool_stays_within_the_cap() {
    let mut weights = vec![1; 4096];
    weights[7] = 65_535;
    weights[9] = 65_521;
    let sequence = weighted(&pool(&weights));
    assert!(sequence.len() <= LENGTH as usize);
    assert_eq!(counts(&sequence).len(), 4096, "none is rounded away");
}

proptest! {
    #[test]
    fn every_beginning_holds_every_share(weights in prop::collection::vec(0u32..=60, 1..20), scale in 1u32..50) {
        let scaled: Vec<u32> = weights.iter().map(|weight| weight * scale).collect();
        let sequence = weighted(&pool(&scaled));
        let sum: u64 = weights.iter().copied().map(u64::from).sum();
        prop_assert!(sequence.len() as u64 <= sum);
        let mut counts = vec![0u64; weights.len()];
        for (step, &position) in sequence.iter().enumerate() {
            counts[usize::from(position)] += 1;
            let length = step as u64 + 1;
            for (&count, &weight) in counts.iter().zip(&weights) {
                let due = u64::from(weight) * length;
                prop_assert!(count >= due / sum && count <= due.div_ceil(sum), "{:?} at step {step}", weights);
            }
        }
        for (&count, &weight) in counts.iter().zip(&weights) {
            prop_assert_eq!(count * sum, u64::from(weight) * sequence.len() as u64);
        }
    }

    #[test]
    fn the_same_from_any_order(
        (sorted, shuffled) in prop::collection::vec(0u32..=10, 1..30)
            .prop_map(|weights| pool(&weights))
            .prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle()))
    ) {
        prop_assert_eq!(weighted(&sorted), weighted(&shuffled));
        prop_assert_eq!(round_robin(&sorted), round_robin(&shuffled));
    }
}
