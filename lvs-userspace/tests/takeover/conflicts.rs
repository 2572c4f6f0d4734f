//! Others that have an address of a group.

use super::*;

#[test]
fn somebody_else_with_our_address_is_an_alarm_and_answered() {
    let world = World::new();
    let (by, own) = (world.other.mac("eth0"), world.director.mac("eth0"));
    world.director.enter(async || {
        let (takeover, mut notices) = world.open(&[web()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        let capture = world.capture();
        // Another director that believes the group is its own.
        world.other.enter(async || {
            let run = tempfile::tempdir().unwrap();
            let (other, _notices) = open(run.path(), vec![web()], Timing::default()).await;
            other.serve(id("web")).await.unwrap();
        });
        let mut addresses = Vec::new();
        for _ in 0..2 {
            let notice = timeout(DEADLINE, notices.recv()).await.expect("no alarm").unwrap();
            let Notice::Conflict { group, address, by: mac } = notice else { panic!("{notice:?}") };
            assert_eq!((group.as_str(), mac), ("web", by));
            addresses.push(address);
        }
        assert_eq!(addresses, [ip(V4), ip(V6)]);
        expect_all(capture, Seen::round(&[V4, V6], own)).await;
        assert!(notices.try_recv().is_err(), "once for each");
    });
}

/// Who takes over in order announces it before the one before has let go.
#[test]
fn a_successor_is_no_alarm() {
    let world = World::new();
    world.director.enter(async || {
        let (takeover, mut notices) = world.open(&[web()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        world.other.enter(async || {
            let run = tempfile::tempdir().unwrap();
            let (other, _notices) = open(run.path(), vec![web()], once()).await;
            other.serve(id("web")).await.unwrap();
        });
        takeover.silence(id("web"));
        let capture = world.capture();
        let told = timeout(Duration::from_millis(500), notices.recv()).await;
        assert!(told.is_err(), "{told:?}");
        assert_eq!(capture.next(Duration::from_millis(1)), None, "an announcement after all");
        assert!(takeover.withdraw(id("web")).await.is_empty());
    });
}
