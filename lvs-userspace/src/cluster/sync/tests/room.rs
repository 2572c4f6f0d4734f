//! What belongs to a bulk.

use super::link::{Pair, Weather};
use super::model::{LEFT, SERVICES};

const BUCKETS: u32 = 16;

/// The left one has connections of the first service.
fn pair(seed: u64, clients: u16) -> Pair {
    let mut pair = Pair::new(BUCKETS, seed);
    (0..clients).for_each(|client| pair.left.begin(pair.now, client, 0, 0));
    pair
}

/// What was told before the bulk began, and is lost, is a part of it.
#[test]
fn another_bulk_ends_when_what_was_lost_before_it_has_come() {
    for seed in 0..16 {
        let mut pair = pair(seed, 0);
        pair.left_is(LEFT.directory(|service| service == 0));
        assert!(pair.run_until(|pair| pair.received().is_complete && pair.sent().lag.is_zero()));
        (0..20).for_each(|client| pair.left.begin(pair.now, client, 0, 0));
        pair.weather = Weather { lost: 1000, ..Weather::default() };
        pair.run(20);
        pair.weather = Weather { late: 500, ..Weather::default() };
        pair.left_is(LEFT.directory_of(SERVICES, |_| true));
        assert!(pair.sent().bulk_left > 0);
        assert!(pair.run_until(|pair| pair.sent().bulk_left == 0));
        assert!(pair.agree(), "seed {seed}");
    }
}
