//! What the network is told when a group comes and goes.

use super::*;

#[test]
fn a_group_comes_with_announcements_and_goes() {
    let world = World::new();
    let mac = world.director.mac("eth0");
    let before = world.addresses();
    world.director.enter(async || {
        let timing = Timing { burst: 3, repeats: vec![Duration::from_millis(100)], ..Timing::default() };
        let (takeover, _notices) = world.open(&[web()], timing).await;
        let capture = world.capture();
        let begun = Instant::now();
        takeover.serve(id("web")).await.unwrap();
        let took = begun.elapsed();
        println!("served within {took:?}");
        assert!(took < Duration::from_millis(500), "{took:?}");
        let addresses = world.addresses();
        assert!(
            addresses.contains("inet 10.7.0.100/24 brd 10.7.0.255 scope global secondary eth0:web"),
            "{addresses}"
        );
        assert!(addresses.contains("inet6 2001:db8:7::100/128 scope global nodad deprecated"), "{addresses}");
        // Three rounds of the burst and one repeat, of which the task sends the later ones.
        let expected = Seen::round(&[V4, V6], mac).repeat(4);
        let seen = tokio::task::spawn_blocking(move || {
            let seen: Vec<_> = (0..expected.len()).map(|_| capture.expect()).collect();
            assert_eq!(seen, expected);
            assert_eq!(capture.next(Duration::from_millis(150)), None, "one too many");
            capture
        });
        let capture = seen.await.unwrap();
        // Again, as after a heal.
        takeover.announce(id("web")).unwrap();
        let again = Seen::round(&[V4, V6], mac);
        let seen = tokio::task::spawn_blocking(move || {
            assert_eq!((0..again.len()).map(|_| capture.expect()).collect::<Vec<_>>(), again);
        });
        seen.await.unwrap();
        // Twice is like once.
        takeover.serve(id("web")).await.unwrap();
        assert_eq!(world.addresses(), addresses);
        assert!(takeover.withdraw(id("web")).await.is_empty());
        assert_eq!(world.addresses(), before);
        assert!(takeover.withdraw(id("web")).await.is_empty(), "nothing left to do");
    });
}

#[test]
fn what_is_held_is_announced_again_and_again() {
    let world = World::new();
    world.director.enter(async || {
        let timing = Timing { refresh: Some(Duration::from_millis(50)), ..once() };
        let (takeover, _notices) = world.open(&[web()], timing).await;
        let mut capture = world.capture();
        takeover.serve(id("web")).await.unwrap();
        for _ in 0..3 {
            capture = expect_all(capture, Seen::round(&[V4, V6], world.director.mac("eth0"))).await;
        }
    });
}

#[test]
fn nothing_is_announced_any_more_after_a_withdrawal() {
    let world = World::new();
    world.director.enter(async || {
        let endless = Timing { burst: u32::MAX, spacing: Duration::from_millis(2), ..Timing::default() };
        let (takeover, _notices) = world.open(&[web()], endless).await;
        let capture = world.capture();
        takeover.serve(id("web")).await.unwrap();
        let capture = tokio::task::spawn_blocking(move || {
            for _ in 0..30 {
                capture.expect();
            }
            capture
        });
        let capture = capture.await.unwrap();
        assert!(takeover.withdraw(id("web")).await.is_empty());
        let silent = tokio::task::spawn_blocking(move || {
            // Those on their way, then none for fifty times the spacing.
            let begun = Instant::now();
            while capture.next(Duration::from_millis(100)).is_some() {
                assert!(begun.elapsed() < DEADLINE, "it goes on");
            }
        });
        silent.await.unwrap();
        assert!(takeover.announce(id("web")).is_ok());
        assert!(takeover.announce(id("nobody")).is_err());
    });
}
