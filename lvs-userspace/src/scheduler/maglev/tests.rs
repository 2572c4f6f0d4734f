use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use lvs_common::limits::RING_SIZES;
use proptest::prelude::*;

use super::{FEWEST_SLOTS, Member, build, ring_size, smallest_share};
use crate::scheduler::StableKey;

fn member(number: u16, weight: u32) -> Member {
    let [high, low] = number.to_be_bytes();
    Member { key: StableKey::new(IpAddr::from([10, 9, high, low]), 80), position: number, weight }
}

fn pool(weights: impl IntoIterator<Item = u32>) -> Vec<Member> {
    weights.into_iter().enumerate().map(|(index, weight)| member(index as u16, weight)).collect()
}

fn shares(ring: &[u16]) -> BTreeMap<u16, f64> {
    let mut shares = BTreeMap::new();
    for &position in ring {
        *shares.entry(position).or_default() += 1.0;
    }
    shares
}

/// Each share within one slot + 1 % of its due.
fn assert_balanced(members: &[Member], ring: &[u16]) {
    let shares = shares(ring);
    let sum: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
    for member in members {
        let due = f64::from(member.weight) * ring.len() as f64 / sum;
        let share = shares.get(&member.position).copied().unwrap_or_default();
        assert!((share - due).abs() <= 1.0 + due / 100.0, "{member:?}: {share} slots, due {due}");
    }
}

/// Per cent of the slots that changed although the one who held them may keep them and did not have to
/// give any away: between two holders of `unchanged` weight.
fn excess(before: &[u16], after: &[u16], changed: u16) -> f64 {
    let moved = before.iter().zip(after).filter(|(a, b)| a != b && **a != changed && **b != changed);
    moved.count() as f64 * 100.0 / before.len() as f64
}

#[test]
fn balance_over_a_table_of_pools() {
    let pools: [Vec<u32>; 9] = [
        vec![1],
        vec![1; 3],
        vec![1, 2, 3],
        vec![100; 40],
        vec![1, 100],
        (1..=20).collect(),
        vec![1000, 999, 998],
        vec![65_535, 65_534, 30_000, 12_345],
        [vec![10; 40], vec![1; 5]].concat(),
    ];
    for weights in pools {
        let members = pool(weights);
        let slots = ring_size(&members);
        let share = smallest_share(&members, slots).unwrap();
        assert!(share >= FEWEST_SLOTS, "{share} of {slots}");
        assert_balanced(&members, &build(&members, slots));
    }
}

#[test]
fn weight_zero_is_not_in_the_ring() {
    let ring = build(&pool([1, 0, 1]), 4093);
    assert_eq!(ring.len(), 4093);
    assert!(!ring.contains(&1));
    assert!(build(&pool([0, 0]), 4093).is_empty());
    assert!(build(&[], 4093).is_empty());
}

#[test]
fn the_size_follows_the_smallest_share() {
    assert_eq!(ring_size(&pool([1; 31])), RING_SIZES[0]);
    assert_eq!(ring_size(&pool([1; 32])), RING_SIZES[1]);
    assert_eq!(ring_size(&pool([1; 127])), RING_SIZES[1]);
    assert_eq!(ring_size(&pool([1; 128])), RING_SIZES[2]);
    assert_eq!(ring_size(&pool([1; 1000])), RING_SIZES[2], "the largest there is");
    assert_eq!(ring_size(&pool([1, 0, 99])), RING_SIZES[1], "weight 0 does not count");
    assert_eq!(ring_size(&pool([0])), RING_SIZES[2]);
    assert_eq!(smallest_share(&pool([1; 1000]), 65_537), Some(65));
    assert_eq!(smallest_share(&pool([0]), 65_537), None);
}

/// A director of another version must find the same holder: no value of this table may ever change.
#[test]
fn the_ring_is_fixed() {
    assert_eq!(
        build(&pool([1, 2, 3]), 31),
        [2, 0, 1, 0, 1, 0, 2, 2, 2, 2, 0, 2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 0, 2, 2, 2, 2, 2, 1, 1, 2]
    );
}

#[test]
fn removal_moves_little_beside_what_it_must() {
    for (slots, limit, counts) in [
        (4093, 2.0, vec![3, 8, 20, 31]),
        (16_381, 2.0, vec![8, 60, 127]),
        (65_537, 1.0, vec![8, 32, 200, 511]),
    ] {
        for count in counts {
            let members = pool(vec![1; count]);
            let before = build(&members, slots);
            let removals: Vec<f64> = (0..count)
                .step_by(count.div_ceil(20))
                .map(|gone| {
                    let mut rest = members.clone();
                    let gone = rest.remove(gone).position;
                    excess(&before, &build(&rest, slots), gone)
                })
                .collect();
            let mean = removals.iter().sum::<f64>() / removals.len() as f64;
            let worst = removals.iter().copied().fold(0.0, f64::max);
            println!("{count} members, {slots} slots: {mean:.2} % excess, at most {worst:.2} %");
            assert!(mean < limit, "{count} members, {slots} slots: {mean} % in the mean");
            assert!(worst < limit * 1.25, "{count} members, {slots} slots: {worst} % once");
        }
    }
}

#[test]
fn a_change_of_weight_moves_little_beside_what_it_must() {
    for (slots, limit) in [(4093, 2.0), (16_381, 2.0), (65_537, 1.0)] {
        for (from, to) in [(100, 50), (50, 100), (100, 90), (10, 100), (100, 0), (0, 100), (100, 110)] {
            let mut members = pool([100; 16]);
            members[5].weight = from;
            let before = build(&members, slots);
            members[5].weight = to;
            let excess = excess(&before, &build(&members, slots), 5);
            println!("{slots} slots, weight {from} to {to}: {excess:.2} % excess");
            assert!(excess < limit, "{slots} slots, weight {from} to {to}: {excess} %");
        }
    }
}

#[test]
fn a_thousand_members_fit_the_largest_ring() {
    let members = pool([1; 1000]);
    let begin = Instant::now();
    let ring = build(&members, 65_537);
    println!("1000 members in 65537 slots: {:?}", begin.elapsed());
    assert_balanced(&members, &ring);
}

#[test]
fn unlike_weights_do_not_stall_the_build() {
    let mut members = pool(vec![1; 4096]);
    members[0].weight = 65_535;
    let begin = Instant::now();
    let ring = build(&members, 65_537);
    println!("weights 65535 and 4095 times 1: {:?}", begin.elapsed());
    assert_eq!(ring.len(), 65_537);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn balanced_where_the_smallest_has_enough(
        weights in prop_oneof![
            prop::collection::vec(1u32..=100, 1..7),
            prop::collection::vec(30u32..=300, 1..60),
        ]
    ) {
        let members = pool(weights);
        let slots = ring_size(&members);
        prop_assert!(smallest_share(&members, slots) >= Some(FEWEST_SLOTS));
        assert_balanced(&members, &build(&members, slots));
    }

    #[test]
    fn the_same_from_any_order(
        (sorted, shuffled) in prop::collection::vec(0u32..=10, 1..30)
            .prop_map(pool)
            .prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle()))
    ) {
        prop_assert_eq!(build(&sorted, 4093), build(&shuffled, 4093));
    }

    #[test]
    fn positions_do_not_shape_the_ring(weights in prop::collection::vec(1u32..=10, 1..30), offset in 1u16..1000) {
        let members = pool(weights);
        let renamed: Vec<Member> =
            members.iter().map(|member| Member { position: member.position + offset, ..*member }).collect();
        let expected: Vec<u16> = build(&members, 4093).iter().map(|position| position + offset).collect();
        prop_assert_eq!(build(&renamed, 4093), expected);
    }
}
