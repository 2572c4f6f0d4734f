//! What happens to the flows of hashed services.

use std::time::Duration;

use lvs_common::address::Address;
use lvs_common::connection::Connection;
use lvs_common::flow::{FlowKey, slot_of};
use lvs_common::ring::Slot;
use lvs_common::service::{protocol, scheduler};
use lvs_common::tcp_state::state;

use super::director::{Director, one, pool};
use super::{config, service};
use crate::config::model::Scheduler;
use crate::control::{Command, Event, State};

#[test]
fn services_with_one_pool_share_a_ring_until_they_differ() {
    let services = |first: &[u32], second: &[u32]| {
        config(vec![service(1, 80, Scheduler::Mh, pool(first)), service(2, 80, Scheduler::Sh, pool(second))])
    };
    let mut director = Director::new(&services(&[1, 1], &[100, 100]));
    assert_eq!(director.service(1).ring, director.service(2).ring);
    assert_eq!(director.model.snapshot.rings.len(), 1);

    // Both change alike: the ring is replaced where it is.
    let commands = director.load(&services(&[1, 2], &[1, 2]));
    assert_eq!(commands.iter().filter(|command| matches!(command, Command::SetRing { .. })).count(), 1);
    assert!(!commands.iter().any(|command| matches!(command, Command::SetService { .. })), "{commands:?}");

    // One changes alone: the other's ring stays untouched.
    let ring = director.service(1).ring;
    director.load(&services(&[1, 2], &[1, 0]));
    assert_eq!(director.service(1).ring, ring);
    assert_ne!(director.service(2).ring, ring);
}

/// The flows of a service count from the moment of its own change, whoever changed in the same way before.
#[test]
fn a_ring_is_not_shared_with_one_that_retires_earlier() {
    let services = |first: &[u32], second: &[u32], third: &[u32]| {
        config(vec![
            service(1, 80, Scheduler::Mh, pool(first)),
            service(2, 80, Scheduler::Mh, pool(second)),
            service(3, 80, Scheduler::Mh, pool(third)),
        ])
    };
    let mut director = Director::new(&services(&[1, 1], &[1, 1], &[1, 1]));
    director.load(&services(&[0, 1], &[1, 1], &[1, 1]));
    director.tick(800);
    director.load(&services(&[0, 1], &[0, 1], &[1, 1]));
    director.tick(200);
    assert!(!director.slots(1).iter().any(Slot::is_dual));
    assert!(director.slots(2).iter().any(Slot::is_dual));
    assert_eq!(director.slots(3).iter().filter(|slot| slot.consults_table()).count(), 0);
}

#[test]
fn a_fresh_service_shares_a_ring_that_is_changing() {
    let mut director = Director::new(&one(Scheduler::Mh, pool(&[1, 1])));
    director.load(&one(Scheduler::Mh, pool(&[1, 0])));
    let mut file = one(Scheduler::Mh, pool(&[1, 0]));
    file.services.push(service(2, 80, Scheduler::Mh, pool(&[1, 0])));
    let commands = director.load(&file);
    assert!(!commands.iter().any(|command| matches!(command, Command::SetRing { .. })), "{commands:?}");
    assert_eq!(director.service(1).ring, director.service(2).ring);
}

#[test]
fn draining_the_last_server_keeps_its_flows_and_refuses_new_ones() {
    let mut director = Director::new(&one(Scheduler::Mh, pool(&[1])));
    director.load(&one(Scheduler::Mh, pool(&[0])));
    assert!(director.slots(1).iter().all(|slot| slot.current() == Slot::NOBODY && slot.base() == 0));
    assert!(director.state.warnings()[0].contains("all weights are 0"), "{:?}", director.state.warnings());
    director.load(&one(Scheduler::Mh, pool(&[1])));
    assert!(director.slots(1).iter().all(|slot| slot.current() == 0 && slot.base() == 0));
}

#[test]
fn a_dual_slot_retires_after_the_longest_timeout() {
    let mut director = Director::new(&one(Scheduler::Mh, pool(&[1, 1])));
    director.load(&one(Scheduler::Mh, pool(&[1, 0])));
    assert_eq!(director.tick(899), []);
    let commands = director.tick(5);
    assert!(matches!(commands[..], [Command::SetRing { .. }]), "{} commands", commands.len());
    assert!(!director.slots(1).iter().any(Slot::is_dual));
    assert_eq!(director.tick(5000), []);
}

fn flow(client: u8, vip: u8) -> FlowKey {
    let (client, vip) = ([10, 1, 0, client], [192, 0, 2, vip]);
    FlowKey::new(Address::from_v4(client), 4000, Address::from_v4(vip), 80, protocol::TCP)
}

fn entry((destination, generation): (u32, u32)) -> Connection {
    Connection { destination, generation, last_seen: 0, state: state::ESTABLISHED, flags: 0, sequence: 0 }
}

#[test]
fn a_retired_slot_settles_when_all_its_entries_agree() {
    let mut director = Director::new(&one(Scheduler::Mh, pool(&[1, 1])));
    assert!(director.state.census(director.now).is_none());
    director.load(&one(Scheduler::Mh, pool(&[1, 0])));
    director.tick(1000);
    let drained = director.destinations(1)[1];
    let client = (1..).find(|client| {
        let slot = slot_of(flow(*client, 1).hash(), 4093) as usize;
        director.slots(1)[slot].is_unsettled()
    });
    let client = client.unwrap();
    let slot = slot_of(flow(client, 1).hash(), 4093) as usize;

    // The slot is as it is since this very second, so flows may be on their way.
    let census = director.state.census(director.now).unwrap();
    assert_eq!(director.handle(Event::Counted(census)), []);

    director.now += Duration::from_secs(5);
    let mut census = director.state.census(director.now).unwrap();
    census.see(&flow(client, 1), &entry(drained));
    assert_eq!(director.handle(Event::Counted(census)).len(), 1);
    assert_eq!(director.slots(1).iter().filter(|slot| slot.consults_table()).count(), 1);
    assert!(director.slots(1)[slot].is_unsettled());

    // The entry of an earlier life is no flow's.
    let mut census = director.state.census(director.now).unwrap();
    census.see(&flow(client, 1), &entry((drained.0, drained.1 + 1)));
    assert_eq!(director.handle(Event::Counted(census)).len(), 1);
    assert!(director.state.census(director.now).is_none());
}

#[test]
fn a_ring_stays_unsettled_when_another_service_came_to_it_during_the_walk() {
    let mut file = one(Scheduler::Mh, pool(&[1, 1]));
    let mut director = Director::new(&file);
    file.services[0].real_servers[1].weight = 0;
    director.load(&file);
    director.tick(1000);
    director.now += Duration::from_secs(5);
    let census = director.state.census(director.now).unwrap();
    file.services.push(service(2, 80, Scheduler::Mh, pool(&[1, 0])));
    director.load(&file);
    assert_eq!(director.service(1).ring, director.service(2).ring);
    assert_eq!(director.handle(Event::Counted(census)), []);
}

/// How old an adopted dual slot is nobody knows, so it waits the whole time again.
#[test]
fn an_adopted_dual_slot_begins_anew() {
    let mut director = Director::new(&one(Scheduler::Mh, pool(&[1, 1])));
    director.load(&one(Scheduler::Mh, pool(&[1, 0])));
    director.now += Duration::from_secs(10_000);
    director.state = State::adopt(director.model.snapshot.clone());
    assert_eq!(director.tick(0), []);
    assert_eq!(director.load(&one(Scheduler::Mh, pool(&[1, 0]))), []);
    assert_eq!(director.tick(890), []);
    assert_eq!(director.tick(20).len(), 1);
}

#[test]
fn a_service_that_comes_to_hashing_consults_the_table_everywhere() {
    let mut director = Director::new(&one(Scheduler::Wlc, pool(&[1, 1])));
    director.load(&one(Scheduler::Mh, pool(&[1, 1])));
    assert!(director.slots(1).iter().all(Slot::is_unsettled));
}

/// Connections of its first life may still be there, in slots that would not look for them.
#[test]
fn a_service_that_comes_back_consults_the_table_everywhere() {
    let mut director = Director::new(&one(Scheduler::Mh, pool(&[1, 1, 1])));
    director.load(&config(Vec::new()));
    director.load(&one(Scheduler::Mh, pool(&[1, 1, 1])));
    assert!(director.slots(1).iter().all(Slot::consults_table));
}

#[test]
fn another_hash_waits_until_all_connections_are_known() {
    for next in [Scheduler::Sh, Scheduler::Wlc, Scheduler::Rr] {
        let mut director = Director::new(&one(Scheduler::Mh, pool(&[1, 1])));
        let slots = director.slots(1).to_vec();
        director.load(&one(next, pool(&[1, 1])));
        assert!(director.service(1).is_tracked());
        assert_eq!((director.service(1).scheduler, director.slots(1)), (scheduler::MH, &slots[..]));
        assert!(
            director.state.warnings()[0].contains("in 900 s at the latest"),
            "{:?}",
            director.state.warnings()
        );
        assert_eq!(director.tick(890), []);
        assert_eq!(director.load(&one(next, pool(&[1, 1]))), []);
        assert_ne!(director.tick(20), []);
        assert_ne!(director.service(1).scheduler, scheduler::MH);
        assert_eq!(director.service(1).is_tracked(), next != Scheduler::Sh);
        if next == Scheduler::Sh {
            assert!(director.slots(1).iter().all(Slot::is_unsettled));
        }
    }
}

#[test]
fn a_restart_on_the_way_to_another_hash_learns_anew() {
    let next = one(Scheduler::Wlc, pool(&[1, 1]));
    let mut director = Director::new(&one(Scheduler::Mh, pool(&[1, 1])));
    director.load(&next);
    director.tick(600);
    director.state = State::adopt(director.model.snapshot.clone());
    assert_eq!(director.load(&next), []);
    assert_eq!(director.tick(600), []);
    assert_ne!(director.tick(400), []);
}

#[test]
fn a_ring_that_became_too_small_grows_when_all_connections_are_known() {
    let mut director = Director::new(&one(Scheduler::Mh, pool(&[1, 1])));
    director.load(&one(Scheduler::Mh, pool(&[1; 60])));
    assert!(director.state.warnings()[0].contains("a larger ring"), "{:?}", director.state.warnings());
    assert_eq!((director.service(1).ring_slots, director.service(1).is_tracked()), (4093, true));
    director.tick(950);
    assert_eq!((director.service(1).ring_slots, director.service(1).is_tracked()), (16_381, false));
    assert!(director.state.warnings().is_empty());
    director.load(&one(Scheduler::Mh, pool(&[1, 1])));
    assert_eq!(director.service(1).ring_slots, 16_381);
}
