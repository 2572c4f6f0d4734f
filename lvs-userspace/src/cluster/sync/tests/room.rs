//! What found no room at first, what was lost before, and what a sender may not say.

use lvs_common::connection::{ENTRIES_PER_BUCKET, Entry};
use lvs_common::tcp_state::state;

use super::super::wire::{self, Body, Cell, CellEntry, Told};
use super::link::{Pair, Weather};
use super::model::{LEFT, RIGHT, SERVICES, Table};

const BUCKETS: u32 = 16;

/// The left one has connections of the first service.
fn pair(seed: u64, clients: u16) -> Pair {
    let mut pair = Pair::new(BUCKETS, seed);
    (0..clients).for_each(|client| pair.left.begin(pair.now, client, 0, 0));
    pair
}

/// A director returns, and has its table full of what is long over.
#[test]
fn what_found_no_room_is_asked_for_when_there_is_some() {
    for seed in 0..8 {
        let mut pair = pair(seed, 40);
        pair.right = Table::new(RIGHT, BUCKETS, seed);
        for client in 1000.. {
            if pair.right.entries.iter().all(Option::is_some) {
                break;
            }
            pair.right.begin(pair.now, client, 1, 0);
        }
        assert!(pair.run_until(|pair| pair.received().is_complete));
        assert!(pair.received().full > 0 && pair.received().removed > 0, "{:?}", pair.received());
        assert!(pair.agree(), "seed {seed}: {:?}", pair.received());
        let sessions = pair.received().sessions;
        pair.run(1000);
        assert_eq!((pair.received().sessions, sessions), (2, 2));
    }
}

/// There is no room, and there will be none: it is not asked for over and over.
#[test]
fn a_table_that_is_too_small_is_complete_with_what_it_holds() {
    let mut pair = pair(3, 40);
    pair.right = Table::new(RIGHT, 4, 3);
    assert!(pair.run_until(|pair| pair.received().is_complete));
    pair.run(1000);
    assert_eq!(pair.received().sessions, 1);
    assert!(pair.right.entries.iter().all(Option::is_some) && pair.received().full > 0);
}

/// The same port of a client's, dialling another port of the service: to a nat server both look the same.
#[test]
fn a_connection_that_stands_in_the_way_of_another_is_over() {
    let elsewhere = |entry: &mut Entry| entry.virtual_port = 443;
    let mut pair = pair(4, 10);
    // From an earlier life.
    pair.right.is_nat = true;
    for client in 0..10 {
        pair.right.begin(pair.now, client, 0, 0);
    }
    pair.right.entries.iter_mut().flatten().for_each(elsewhere);
    assert!(pair.run_until(|pair| pair.received().is_complete));
    assert!(pair.agree(), "{:?}", pair.received());
    // In a cell of the left one the next takes the place of the former.
    let place = pair.left.entries.iter().position(Option::is_some).expect("a connection");
    let entry = pair.left.entries[place].as_mut().expect("a connection");
    elsewhere(entry);
    entry.version = entry.version.wrapping_add(1);
    pair.left.marked.insert((place / ENTRIES_PER_BUCKET) as u32);
    pair.run(100);
    assert!(pair.agree(), "{:?}", pair.received());
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

/// A number too large would cost the receiver as much memory as the largest table there may be.
#[test]
fn cells_beyond_the_table_that_was_offered_are_refused() {
    let mut pair = pair(5, 10);
    assert!(pair.run_until(|pair| pair.received().is_complete));
    let newest =
        pair.recorded.iter().filter_map(|datagram| wire::decode(datagram).ok()).map(|(header, _)| header);
    let header = newest.max_by_key(|header| header.sequence).expect("a datagram");
    let entry = CellEntry {
        state: state::ESTABLISHED as u8,
        is_embryonic: false,
        client: std::net::IpAddr::from([10, 9, 9, 9]).into(),
        client_port: 9,
        virtual_port: None,
        destination: 0,
        age: 0,
    };
    let flows = pair.right.flows();
    let mut cells = [Cell::Unsaid; ENTRIES_PER_BUCKET];
    cells[0] = Cell::Entry(entry);
    for (further, bucket) in [(1, BUCKETS), (2, wire::BUCKETS - 1)] {
        let header = wire::Header { sequence: header.sequence + further, ..header };
        pair.deliver(true, &wire::encode(&header, &Body::Cells(vec![Told { bucket, cells }])));
        assert_eq!((pair.received().refused, pair.right.flows()), (further, flows.clone()));
    }
}
