//! Whether anybody has an address, or asks for it too.

use super::*;

#[test]
fn a_probe_finds_who_has_an_address() {
    let world = World::new();
    let mac = world.other.mac("eth0");
    world.director.enter(async || {
        let (takeover, _notices) = world.open(&[web()], once()).await;
        let begun = Instant::now();
        assert_eq!(probe(&takeover, Probing::default()).await, Answer::Silent);
        let took = begun.elapsed();
        println!("silence after {took:?}");
        assert!(took >= Duration::from_millis(60) && took < Duration::from_secs(2), "{took:?}");
        for vip in [V4, V6] {
            world.other.ip(&format!("address add {vip} dev eth0 nodad"));
            let begun = Instant::now();
            let answer = probe(&takeover, Probing { wait: DEADLINE, ..Probing::default() }).await;
            println!("answer after {:?}", begun.elapsed());
            assert_eq!(answer, Answer::Answered(Claim { address: ip(vip), by: mac }));
            world.other.ip(&format!("address del {vip}/{} dev eth0", if vip == V4 { 32 } else { 128 }));
        }
        // Questions in the name of nobody are remembered by nobody.
        let remembered = world.other.ip("neigh show");
        assert!(!remembered.contains(V4) && !remembered.contains(V6), "{remembered}");
        world.director.ip("link set eth0 down");
        assert!(
            takeover.probe(id("web"), Probing::default()).await.is_err(),
            "a link that is down says nothing"
        );
    });
}

/// Two that are about to take the same: each hears what the other has asked after its own first question.
#[test]
fn questions_that_cross_are_heard() {
    let world = World::new();
    let both = [&world.director, &world.other];
    let claim = |vip, of: usize| Answer::Asked(Claim { address: ip(vip), by: both[of].mac("eth0") });
    for vip in [V4, V6] {
        let start = Barrier::new(2);
        let ask = |of: usize| {
            both[of].enter(async || {
                let run = tempfile::tempdir().unwrap();
                let (takeover, _notices) =
                    open(run.path(), vec![group("web", &[address(vip, 32)])], once()).await;
                start.wait();
                // Long enough for the other one to begin, however busy the machine is.
                let wait = Duration::from_secs(2);
                probe(&takeover, Probing { spacing: Duration::from_millis(100), wait, ..Probing::default() })
                    .await
            })
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| ask(1));
            assert_eq!(ask(0), claim(vip, 1), "{vip}");
            assert_eq!(other.join().unwrap(), claim(vip, 0), "{vip}");
        });
    }
}

#[test]
fn of_two_questions_the_earlier_one_stands_back_where_the_later_one_hears_nothing() {
    let world = World::new();
    let (director, capture) = (&world.director, world.capture());
    let asks = |probing| async move {
        let run = tempfile::tempdir().unwrap();
        let (takeover, _notices) = open(run.path(), vec![group("web", &[address(V4, 24)])], once()).await;
        probe(&takeover, probing).await
    };
    std::thread::scope(|scope| {
        let patient = Probing { wait: Duration::from_secs(3), ..Probing::default() };
        let early = scope.spawn(move || director.enter(async || asks(patient).await));
        // All that the early one says is said.
        for _ in 0..Probing::default().count {
            capture.expect();
        }
        let late = world.other.enter(async || asks(Probing::default()).await);
        assert_eq!(late, Answer::Silent);
        let by = world.other.mac("eth0");
        assert_eq!(early.join().unwrap(), Answer::Asked(Claim { address: ip(V4), by }));
    });
}

/// The answer arrives although the link is full of other claims.
#[test]
fn a_probe_is_not_drowned() {
    let world = World::new();
    let mac = world.other.mac("eth0");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            world.other.enter(async || {
                let addresses: Vec<_> =
                    (1..=200).map(|host| address(&format!("10.7.1.{host}"), 32)).collect();
                let endless = Timing { burst: u32::MAX, spacing: Duration::ZERO, ..Timing::default() };
                let run = tempfile::tempdir().unwrap();
                let groups = vec![group("flood", &addresses)];
                let (takeover, _notices) = open(run.path(), groups, endless).await;
                takeover.serve(id("flood")).await.unwrap();
                world.other.ip(&format!("address add {V4} dev eth0"));
                until("the probe has not ended", || is_over.load(Ordering::Relaxed)).await;
            });
        });
        world.director.enter(async || {
            let (takeover, mut notices) = world.open(&[web()], once()).await;
            until("no flood", || world.other.ip("address show dev eth0").contains(V4)).await;
            let answer = probe(&takeover, Probing { wait: DEADLINE, ..Probing::default() }).await;
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(answer, Answer::Answered(Claim { address: ip(V4), by: mac }));
            assert!(notices.try_recv().is_err());
        });
    });
}
