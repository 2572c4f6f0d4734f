//! Single occasions in the life of two directors.

use std::collections::BTreeSet;
use std::time::Duration;

use lvs_common::connection::flags;
use lvs_common::settings::Settings;
use lvs_common::tcp_state::state;

use super::super::{Options, Receivers, Senders, Step, to_ticks, wire};
use super::link::{ONLY, Pair, Weather};
use super::model::{LEFT, RIGHT, SERVICES, Table};

fn busy_pair(seed: u64) -> Pair {
    let mut pair = Pair::new(64, seed);
    (0..60).for_each(|_| pair.traffic(1000));
    pair
}

fn in_step(pair: &mut Pair) {
    assert!(pair.run_until(|pair| pair.received().is_current && pair.agree()), "{:?}", pair.received());
}

#[test]
fn a_receiver_that_begins_anew_and_a_sender_that_does() {
    let mut pair = busy_pair(1);
    in_step(&mut pair);
    // The receiver's agent restarts: its table is still there.
    pair.receiver = Receivers::new([99]);
    (0..50).for_each(|_| pair.traffic(1000));
    pair.left.marked.clear();
    in_step(&mut pair);
    assert_eq!(pair.sent().sessions, 2);
    // The sender's does: it knows nothing of what it told, nor what has ended meanwhile.
    pair.sender = Senders::new(Options::default(), 64, [77]);
    (0..500).for_each(|_| pair.left.live(pair.now));
    pair.left.marked.clear();
    in_step(&mut pair);
    assert_eq!(pair.received().sessions, 2);
    assert!(pair.received().removed > 0);
    assert!(pair.received().is_complete);
}

/// By its own request, as the receiver that it also is; else it would have to be silent for three seconds.
#[test]
fn a_sender_that_begins_anew_is_asked_soon() {
    for (life, sessions) in [(6, 1), (1 << 40, 2)] {
        let mut pair = busy_pair(14);
        in_step(&mut pair);
        pair.receiver.hear_join(pair.now, ONLY, 5);
        pair.run(100);
        pair.sender = Senders::new(Options::default(), 64, [77]);
        pair.receiver.hear_join(pair.now, ONLY, life);
        pair.run(1500);
        assert_eq!(pair.received().sessions, sessions);
        in_step(&mut pair);
    }
}

/// Whoever repeats what other lives have said ends no session, also where so much is lost that it comes near its end.
#[test]
fn repeated_requests_end_no_session() {
    let mut pair = busy_pair(15);
    in_step(&mut pair);
    // The first one may be believed, until the sender says something.
    pair.receiver.hear_join(pair.now, ONLY, 5);
    pair.receiver.hear_join(pair.now, ONLY, 1 << 40);
    pair.run(600);
    pair.weather = Weather { lost: 300, ..Weather::default() };
    for round in 0..300 {
        pair.receiver.hear_join(pair.now, ONLY, round << 40);
        pair.run(100);
    }
    assert_eq!(pair.received().sessions, 1);
}

#[test]
fn old_datagrams_change_nothing() {
    let mut pair = busy_pair(2);
    in_step(&mut pair);
    let old = std::mem::take(&mut pair.recorded);
    assert!(old.len() > 2);
    (0..50).for_each(|_| pair.traffic(1000));
    in_step(&mut pair);
    let flows = pair.right.flows();
    for datagram in &old {
        pair.deliver(true, datagram);
    }
    assert_eq!(pair.right.flows(), flows, "in the same session");
    assert_eq!(pair.received().stale, old.len() as u64 - 1, "all but the offer, which nobody waits for");
    pair.receiver = Receivers::new([12345]);
    for datagram in &old {
        pair.deliver(true, datagram);
    }
    assert_eq!(pair.right.flows(), flows, "to a receiver that begins anew");
    in_step(&mut pair);
}

/// A join that somebody has recorded takes the session from nobody.
#[test]
fn an_old_join_is_answered_and_no_more() {
    let mut pair = busy_pair(3);
    let (_, join) = pair.receiver.poll(pair.now).expect("a join");
    in_step(&mut pair);
    let sessions = pair.sent().sessions;
    pair.receiver = Receivers::new([4]);
    in_step(&mut pair);
    pair.deliver(false, &join);
    pair.run(10);
    assert_eq!(pair.sent().sessions, sessions + 1);
    assert!(pair.received().is_current);
}

/// The standby reads a new file before or after the active director.
#[test]
fn what_the_plan_does_not_know_yet_comes_later() {
    let mut pair = busy_pair(5);
    pair.right_directory = RIGHT.directory_of(1, |_| false);
    assert!(pair.run_until(|pair| pair.received().is_current));
    pair.run(1000);
    assert!(!pair.agree() && pair.received().unresolved > 0 && !pair.received().is_complete);
    pair.right_is(RIGHT.directory(|_| false));
    in_step(&mut pair);
    assert!(pair.received().is_complete);
    // The other way round.
    pair.left_is(LEFT.directory_of(SERVICES - 1, |_| true));
    pair.left.begin(pair.now, 5000, SERVICES - 1, 0);
    pair.run(1000);
    assert!(!pair.agree());
    pair.left_is(LEFT.directory(|_| true));
    assert!(pair.run_until(Pair::agree));
}

/// Each director tells of its own services, and takes nothing of them from the other.
#[test]
fn services_of_both_directors() {
    let mut pair = busy_pair(6);
    in_step(&mut pair);
    // The right one takes service 0 over. The left one does not know yet, and ends its connections.
    let before = pair.right.flows();
    let own = |table: &Table| {
        table.flows().into_iter().filter(|((.., service, _), _)| *service == 0).collect::<Vec<_>>()
    };
    let taken = own(&pair.right);
    assert!(!taken.is_empty());
    pair.right_is(RIGHT.directory(|service| service == 0));
    pair.left.age(pair.now + Duration::from_secs(86_400));
    assert!(pair.left.flows().is_empty() && !before.is_empty());
    pair.run(2000);
    assert_eq!(own(&pair.right), taken, "they are the right one's");
    assert_eq!(pair.right.flows().len(), taken.len(), "those of the others are over");
    // It gives the service back. What the left one does not have is over: only another bulk can say so.
    pair.right_is(RIGHT.directory(|_| false));
    in_step(&mut pair);
    assert!(pair.right.flows().is_empty());
}

/// The other way round: a director that is not active for a service says nothing of it.
#[test]
fn a_service_given_up_is_not_told_of_any_more() {
    let mut pair = busy_pair(7);
    in_step(&mut pair);
    let flows = pair.right.flows();
    pair.left_is(LEFT.directory(|_| false));
    pair.run(1);
    pair.left.age(pair.now + Duration::from_secs(86_400));
    pair.run(5000);
    assert!(pair.received().is_current);
    assert_eq!(pair.right.flows(), flows, "nor that its connections are gone");
}

/// The active director's agent begins anew, and does not know yet what it is. The standby will be needed.
#[test]
fn a_director_that_is_active_for_nothing_takes_nothing_away() {
    let mut pair = busy_pair(13);
    in_step(&mut pair);
    let flows = pair.right.flows();
    let of = |service| flows.iter().filter(move |((.., one, _), _)| *one == service).map(|(flow, _)| *flow);
    pair.left = Table::new(LEFT, 64, 14);
    pair.left_directory = LEFT.directory(|_| false);
    pair.sender = Senders::new(Options::default(), 64, [1 << 40]);
    assert!(pair.run_until(|pair| pair.received().sessions == 2 && pair.received().is_current));
    assert_eq!(pair.right.flows(), flows);
    // Active for one of its services it is the authority for that one, also where it has no connection.
    pair.sender = Senders::new(Options::default(), 64, [1 << 50]);
    pair.left_directory = LEFT.directory(|service| service == 1);
    pair.weather = Weather { lost: 500, ..Weather::default() };
    assert!(pair.run_until(|pair| pair.received().sessions == 3 && pair.received().is_current));
    let left: Vec<_> = pair.right.flows().into_keys().collect();
    assert!(of(1).count() > 0);
    assert_eq!(left, of(0).chain(of(2)).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
}

#[test]
fn connections_that_go_on_stay_and_idle_ones_end() {
    let mut pair = Pair::new(16, 8);
    for client in 0..20 {
        pair.left.begin(pair.now, client, 0, 0);
    }
    for entry in pair.left.entries.iter_mut().flatten() {
        (entry.state, entry.flags) = (state::ESTABLISHED as u8, flags::COUNTED);
    }
    in_step(&mut pair);
    // A packet every 800 s, as late as may be; the receiver ages its table all the time.
    let rest = |pair: &mut Pair, seconds: u64| {
        for _ in 0..seconds {
            pair.now += Duration::from_millis(990);
            pair.run(10);
            let now = pair.now;
            pair.left.age(now);
            pair.right.age(now);
            assert!(pair.right.flows().len() >= pair.left.flows().len(), "over too early");
        }
    };
    for _ in 0..4 {
        rest(&mut pair, 800);
        pair.left.touch_all(pair.now);
    }
    assert_eq!(pair.left.flows().len(), 20);
    let sent = pair.sent();
    assert!(sent.entries < 20 * 10, "told when it matters only: {sent:?}");
    rest(&mut pair, 905);
    assert!(pair.left.flows().is_empty() && pair.right.flows().is_empty(), "ended in step");
    // Without a sender they end by themselves, a little later.
    pair.left.begin(pair.now, 1, 0, 0);
    assert!(pair.run_until(Pair::agree));
    pair.weather = Weather { lost: 1000, ..Weather::default() };
    let timeouts = Settings::defaults().timeouts;
    let [entry] = pair.right.entries.iter().flatten().collect::<Vec<_>>()[..] else { panic!("one") };
    let later = entry.last_seen.wrapping_sub(to_ticks(pair.now)).cast_signed();
    let timeout = timeouts[state::SYN_RECEIVED as usize];
    assert!(later > 0 && later < timeout.cast_signed() / 4 + 100, "{later} of {timeout} ticks");
}

#[test]
fn embryonic_connections_only_where_they_are_wanted() {
    for embryonic in [true, false] {
        let mut pair = Pair::new(16, 9);
        let options = Options { embryonic, ..Options::default() };
        pair.sender = Senders::new(options, 16, [5]);
        (0..20).for_each(|client| pair.left.begin(pair.now, client, 0, 0));
        assert!(pair.run_until(|pair| pair.received().is_complete));
        assert_eq!(pair.right.flows().len(), if embryonic { 20 } else { 0 });
    }
}

#[test]
fn a_sender_keeps_to_its_pace() {
    let mut pair = Pair::new(1024, 10);
    let bytes_per_second = 5000;
    pair.sender = Senders::new(Options { bytes_per_second, ..Options::default() }, 1024, [5]);
    for client in 0..3000 {
        pair.left.begin(pair.now, client, 0, 0);
    }
    pair.run(3000);
    let sent = pair.sent().bytes;
    assert!((3 * bytes_per_second..3 * bytes_per_second + 6000).contains(&sent), "{sent} bytes in 3 s");
    assert!(!pair.received().is_complete);
}

/// Each side ends what the other does not answer to.
#[test]
fn silence_ends_a_session() {
    let mut pair = busy_pair(11);
    in_step(&mut pair);
    pair.weather = Weather { lost: 1000, ..Weather::default() };
    pair.run(4000);
    assert!(!pair.sent().is_followed);
    let stats = pair.received();
    assert!(!stats.is_following && stats.is_complete, "{stats:?}");
    let datagrams = pair.sent().datagrams;
    pair.run(1000);
    assert_eq!(pair.sent().datagrams, datagrams, "nobody is told anything");
    pair.weather = Weather::default();
    in_step(&mut pair);
}

/// A director of another version that knows none of ours.
#[test]
fn versions_that_have_nothing_in_common() {
    let mut pair = busy_pair(12);
    let header = wire::Header { version: 9, session: 0, receiver: 1, sequence: 0 };
    let join = |oldest| wire::Body::Join { oldest, newest: 9 };
    pair.sender.receive(pair.now, ONLY, &header, &join(8), &pair.left_directory);
    assert_eq!(pair.sender.poll(pair.now, &pair.left, &pair.left_directory), Step::Wait);
    assert_eq!(pair.sent().incompatible, 1);
    // One that also knows ours is answered in it.
    pair.sender.receive(pair.now, ONLY, &header, &join(1), &pair.left_directory);
    let step = pair.sender.poll(pair.now, &pair.left, &pair.left_directory);
    let Step::Send(_, offer) = step else { panic!("{step:?}") };
    let (header, body) = wire::decode(&offer).expect("an offer");
    assert_eq!((header.version, body), (1, wire::Body::Offer { buckets: 64 }));
}
