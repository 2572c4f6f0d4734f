//! Directors that follow another one have its rings, whatever became of those.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lvs_common::ring::Slot;
use lvs_common::service::{Service, ServiceKey, scheduler};
use proptest::prelude::*;

use super::director::{Director, one, pool};
use super::random::edited;
use super::{cluster, config};
use crate::config::model::{Config, Scheduler};
use crate::control::mirror::hashed_ring;
use crate::control::plan::Server;
use crate::control::{Event, RingHistory, State};

/// The same file of directors that are in a cluster, with all VIPs in one group.
fn shared(file: Config) -> Config {
    Config { cluster: cluster(&[&[1, 2, 3]]), ..file }
}

fn file(scheduler: Scheduler, weights: &[u32]) -> Config {
    shared(one(scheduler, pool(weights)))
}

type Holders = Vec<(Option<Server>, Option<Server>)>;

impl Director {
    /// Follows `active` as a director does: first what is wanted of the services, then what the rings are.
    fn follow(&mut self, active: &Self) {
        let told = serde_json::to_vec(&active.state.history()).unwrap();
        let told: Vec<RingHistory> = serde_json::from_slice(&told).unwrap();
        self.handle(Event::Followed(Some(told)));
        self.handle(Event::Held(BTreeSet::new()));
    }

    /// Who gets new flows, and who holds those without an entry, by slot.
    fn holders(&self, service: &Service) -> Holders {
        let seats = self.state.kernel.seats(service).unwrap();
        let server =
            |position: u16| seats.get(usize::from(position)).copied().flatten().map(|seat| seat.server);
        let slots = &self.model.snapshot.rings[&service.ring];
        slots.iter().map(|slot| (server(slot.current()), server(slot.base()))).collect()
    }

    fn hashed(&self) -> BTreeMap<ServiceKey, (u8, Holders)> {
        let services = self.model.snapshot.services.iter();
        services
            .filter(|(_, service)| hashed_ring(service).is_some())
            .map(|(key, service)| (*key, (service.scheduler, self.holders(service))))
            .collect()
    }

    fn consults_everywhere(&self) -> bool {
        let rings = self.model.snapshot.services.values().filter_map(hashed_ring);
        rings.into_iter().all(|ring| self.model.snapshot.rings[&ring].iter().all(Slot::consults_table))
    }
}

#[test]
fn a_joiner_has_as_many_slots_as_the_ring_began_with() {
    for (before, after) in [(30, 35), (50, 20), (2, 40)] {
        let mut active = Director::new(&file(Scheduler::Mh, &vec![1; before]));
        active.load(&file(Scheduler::Mh, &vec![1; after]));
        let mut joiner = Director::new(&file(Scheduler::Mh, &vec![1; after]));
        assert_ne!(joiner.service(1).ring_slots, active.service(1).ring_slots, "or this shows nothing");
        joiner.follow(&active);
        assert_eq!(joiner.hashed(), active.hashed());
        assert!(joiner.consults_everywhere());
        // That stays so when it serves, and later.
        joiner.handle(Event::Followed(None));
        joiner.handle(Event::Held([1].into()));
        joiner.load(&file(Scheduler::Mh, &vec![1; after]));
        assert_eq!(joiner.hashed(), active.hashed());
    }
}

/// Idle flows without an entry are with the server that is drained.
#[test]
fn a_joiner_knows_who_held_the_flows_before_a_change() {
    let mut active = Director::new(&file(Scheduler::Mh, &[1, 1, 1]));
    active.load(&file(Scheduler::Mh, &[0, 1, 1]));
    let mut joiner = Director::new(&file(Scheduler::Mh, &[0, 1, 1]));
    assert_ne!(joiner.hashed(), active.hashed());
    joiner.follow(&active);
    assert_eq!(joiner.hashed(), active.hashed());
    // And when they are known, here as there.
    active.tick(1000);
    joiner.now = active.now;
    joiner.follow(&active);
    assert_eq!(joiner.hashed(), active.hashed());
    assert!(active.slots(1).iter().all(|slot| !slot.is_dual()));
}

/// It was away while a server was drained, and all that was left of it is known by entries.
#[test]
fn one_that_returns_forgets_what_it_knew() {
    let mut returns = Director::new(&file(Scheduler::Mh, &[1, 1, 1]));
    let mut active = Director::new(&file(Scheduler::Mh, &[1, 1, 1]));
    active.load(&file(Scheduler::Mh, &[0, 1, 1]));
    active.tick(1000);
    returns.state = State::adopt(returns.model.snapshot.clone());
    returns.now = active.now;
    returns.load(&file(Scheduler::Mh, &[0, 1, 1]));
    assert!(returns.slots(1).iter().any(Slot::is_dual), "or this shows nothing");
    returns.follow(&active);
    assert_eq!(returns.hashed(), active.hashed());
    assert!(returns.consults_everywhere());
}

/// What is wanted comes a moment before what the rings become by it.
#[test]
fn what_was_told_before_a_change_does_not_undo_it() {
    let mut active = Director::new(&file(Scheduler::Mh, &[1, 1, 1]));
    let mut standby = Director::new(&file(Scheduler::Mh, &[1, 1, 1]));
    standby.follow(&active);
    active.load(&file(Scheduler::Mh, &[0, 1, 1]));
    standby.load(&file(Scheduler::Mh, &[0, 1, 1]));
    assert_eq!(standby.hashed(), active.hashed());
    standby.follow(&active);
    assert_eq!(standby.hashed(), active.hashed());
    let told = active.state.history();
    assert_eq!(standby.handle(Event::Followed(Some(told))), []);
}

/// A director that holds another group goes by its own checks: a server may leave there and come back, and the one that
/// serves knows nothing of it.
#[test]
fn a_server_that_was_down_at_the_follower_only_has_its_flows() {
    let mut active = Director::new(&file(Scheduler::Mh, &[1, 1, 1]));
    let without = shared(one(Scheduler::Mh, pool(&[1, 1, 1])[1..].to_vec()));
    for (wanted, has_drained) in [(vec![1, 1, 1], false), (vec![1, 1, 0], true)] {
        active.load(&file(Scheduler::Mh, &wanted));
        let mut follower = Director::new(&file(Scheduler::Mh, &wanted));
        follower.follow(&active);
        assert_eq!(follower.slots(1).iter().any(Slot::is_dual), has_drained);
        follower.load(&without);
        follower.load(&file(Scheduler::Mh, &wanted));
        assert_eq!(follower.hashed(), active.hashed());
        // It was down when it was heard of for the first time.
        let mut follower = Director::new(&without);
        follower.follow(&active);
        follower.load(&file(Scheduler::Mh, &wanted));
        assert_eq!(follower.hashed(), active.hashed());
    }
}

/// It was down at both, and comes at the follower first: by another file, or by what its own checks say at its takeover.
#[test]
fn a_server_that_comes_takes_no_flows_from_who_has_had_them() {
    let all = file(Scheduler::Mh, &[1, 1, 1]);
    let without = shared(one(Scheduler::Mh, pool(&[1, 1, 1])[1..].to_vec()));
    let active = Director::new(&without);
    let mut follower = Director::new(&without);
    follower.follow(&active);
    let before = follower.holders(&follower.service(1));
    follower.load(&all);
    for ((_, held), (_, base)) in before.into_iter().zip(follower.holders(&follower.service(1))) {
        assert_eq!(base, held);
    }
    assert!(follower.slots(1).iter().any(Slot::is_dual), "or this shows nothing");
}

/// A scheduler that waits until all connections are known waits with both, and after a takeover anew.
#[test]
fn a_change_that_waits_waits_with_both() {
    for next in [Scheduler::Sh, Scheduler::Wlc] {
        let mut active = Director::new(&file(Scheduler::Mh, &[1, 1]));
        active.load(&file(next, &[1, 1]));
        let mut joiner = Director::new(&file(next, &[1, 1]));
        joiner.follow(&active);
        assert_eq!(joiner.hashed(), active.hashed());
        assert_eq!(joiner.service(1).scheduler, scheduler::MH);
        assert!(joiner.service(1).is_tracked());
        joiner.handle(Event::Followed(None));
        joiner.tick(890);
        assert_eq!(joiner.service(1).scheduler, scheduler::MH);
        joiner.tick(20);
        assert_ne!(joiner.service(1).scheduler, scheduler::MH);
        // The other one had begun earlier.
        active.tick(1000);
        assert_eq!(active.service(1).scheduler, joiner.service(1).scheduler);
    }
}

/// Another director fills the table of a service that it serves, whenever it likes.
#[test]
fn only_who_serves_settles_a_ring() {
    let mut director = Director::new(&file(Scheduler::Mh, &[1, 1]));
    director.handle(Event::Held(BTreeSet::new()));
    director.tick(10);
    assert!(director.state.census(director.now).is_none());
    director.handle(Event::Held([1].into()));
    let census = director.state.census(director.now).unwrap();
    director.handle(Event::Counted(census));
    assert!(director.slots(1).iter().all(|slot| !slot.consults_table()));
    // It hands over while it counts again.
    director.load(&file(Scheduler::Mh, &[1, 0]));
    director.tick(1000);
    director.tick(10);
    let census = director.state.census(director.now).unwrap();
    director.handle(Event::Held(BTreeSet::new()));
    assert!(director.slots(1).iter().all(Slot::consults_table));
    director.handle(Event::Counted(census));
    assert!(director.slots(1).iter().all(Slot::consults_table));
    // A director that is in no cluster has nobody who fills its table.
    let mut alone = Director::new(&config(one(Scheduler::Mh, pool(&[1, 1])).services));
    alone.load(&one(Scheduler::Mh, pool(&[0, 1])));
    alone.load(&one(Scheduler::Mh, pool(&[1, 1])));
    alone.tick(10);
    assert!(alone.state.census(alone.now).is_some());
}

#[test]
fn what_is_told_of_an_unknown_server_is_left_out_of_account() {
    let mut active = Director::new(&file(Scheduler::Mh, &[1, 1, 1]));
    active.load(&file(Scheduler::Mh, &[1, 1, 0]));
    // Its file is an earlier one.
    let mut joiner = Director::new(&file(Scheduler::Mh, &[1, 1]));
    joiner.follow(&active);
    assert_eq!(joiner.service(1).ring_slots, active.service(1).ring_slots);
    let [theirs, own] = [&active, &joiner].map(|director| director.holders(&director.service(1)));
    let unknown = Server::from(&pool(&[1, 1, 1])[2]);
    assert!(theirs.iter().any(|(_, base)| *base == Some(unknown)), "or this shows nothing");
    for ((_, theirs), (current, own)) in theirs.into_iter().zip(own) {
        assert_eq!(own, if theirs == Some(unknown) { current } else { theirs });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happened at the active director, and whatever a joiner was before.
    #[test]
    fn who_follows_has_the_same_rings(
        files in edited(),
        pauses in prop::collection::vec(0_u64..1200, 6),
        away in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let files: Vec<Config> = files.into_iter().map(shared).collect();
        let mut active = Director::new(&files[0]);
        let mut former = away.map(|_| active.model.clone());
        let leaves = away.map_or(0, |away| away.index(files.len()));
        for (number, (file, pause)) in files.iter().zip(pauses.iter().cycle()).enumerate() {
            active.load(file);
            active.now += Duration::from_secs(*pause);
            active.tick(1);
            if let Some(census) = active.state.census(active.now) {
                active.handle(Event::Counted(census));
            }
            if number == leaves {
                former = former.map(|_| active.model.clone());
            }
        }
        let last = files.last().unwrap();
        let mut joiner = match former {
            None => Director::new(last),
            Some(model) => {
                let state = State::adopt(model.snapshot.clone());
                let mut joiner = Director { state, model, now: active.now };
                joiner.load(last);
                joiner
            }
        };
        joiner.follow(&active);
        prop_assume!(!active.state.incomplete && !joiner.state.incomplete);
        prop_assert_eq!(joiner.hashed(), active.hashed());
        prop_assert!(joiner.consults_everywhere());
        let told = active.state.history();
        prop_assert_eq!(joiner.handle(Event::Followed(Some(told))), []);
    }
}
