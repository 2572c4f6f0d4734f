//! What directors are compared by.

use super::*;
use crate::health::Experience;

const VIP: [u8; 4] = [192, 0, 2, 1];

fn vips() -> BTreeSet<IpAddr> {
    BTreeSet::from([VIP.into()])
}

/// As the standings in force have it.
fn in_force(pool: &Pool) -> Tally {
    pool.tally(&vips(), |_, standing| standing)
}

#[test]
fn only_the_services_of_the_addresses_count() {
    let mut elsewhere = service("elsewhere", 80, &[4, 5]);
    elsewhere.vip = [192, 0, 2, 2].into();
    let pool = Pool::new(config(vec![service("www", 80, &[1, 2, 3]), elsewhere]), second(0));
    assert_eq!(in_force(&pool), Tally { up: 3, complete: 1, short: 0 });
    assert_eq!(pool.tally(&BTreeSet::new(), |_, standing| standing), Tally::default());
}

/// The quorum is that of the file: the one to return with is for who serves.
#[test]
fn real_servers_that_are_meant_to_serve_count_and_a_fallback_does_not() {
    let mut www = service("www", 80, &[1, 2, 3, 4]);
    www.health = Health {
        quorum: 2,
        quorum_recovery: 4,
        fallback: Some(RealServer { checks: Vec::new(), ..real_server(99, 1) }),
        panic_threshold: 90,
        recovery_delay: second(60),
        ..Health::default()
    };
    www.real_servers[3].checks.clear();
    let mut pool = Pool::new(config(vec![www]), second(0));
    assert_eq!(in_force(&pool).up, 4);
    pool.checked([change(1, 80, Standing::Down)], second(1));
    assert_eq!(in_force(&pool).up, 3, "one that is kept in doubt is down all the same");
    let selection = Selection::parse("10.0.0.4", None).unwrap();
    maintain(&mut pool, &selection, Mode::Drained, second(2));
    assert_eq!(in_force(&pool), Tally { up: 2, complete: 1, short: 0 });
    pool.checked([change(2, 80, Standing::Down)], second(3));
    assert_eq!(in_force(&pool), Tally { up: 1, complete: 0, short: 1 });
    pool.checked([change(2, 80, Standing::Up)], second(4));
    assert_eq!(in_force(&pool), Tally { up: 2, complete: 1, short: 0 }, "before it serves again");
}

#[test]
fn a_lost_quorum_counts_for_more_than_any_number_of_real_servers() {
    let score = |up, complete, short| Tally { up, complete, short }.score();
    assert!(score(3, 2, 0) < score(4, 2, 0));
    // Two services with a quorum of one each have two real servers at the least.
    assert!(score(500, 1, 1) < score(2, 2, 0));
    assert!(score(3, 0, 2) < score(3, 1, 1));
    assert_eq!(score(0, 0, 0), 0);
    // Also where there are more than can be told apart.
    assert!(score(5_000, 2_000, 1) < score(5_000, 2_001, 0));
    assert_eq!(score(5_000, 2_001, 0), 999);
}

/// The hole this is for: the one that holds the group has lost its way, and the other one has its verdicts in force.
#[test]
fn a_director_that_alone_has_lost_its_way_is_less_fit() {
    let mut www = service("www", 80, &[1, 2, 3]);
    www.real_servers[2].checks.clear();
    www.health.quorum = 2;
    let file = config(vec![www]);
    let (mut holder, mut other) = (Pool::new(file.clone(), second(0)), Pool::new(file, second(0)));
    let (mut of_holder, mut of_other) = (Experience::default(), Experience::default());
    let scores = |holder: &Pool, other: &Pool, experiences: [&Experience; 2], now: Duration| {
        [(holder, experiences[0], true), (other, experiences[1], false)].map(|(pool, experience, holds)| {
            let counted = |check: &Arc<Check>, standing| experience.counted(check, standing, holds, now);
            pool.tally(&vips(), counted).score()
        })
    };
    let all = |standing| [1, 2].map(|host| change(host, 80, standing));
    of_holder.learn(&all(Standing::Up), second(1));
    holder.checked(all(Standing::Up), second(1));
    // Before its own results are there, and when they are.
    other.follow(holder.save(second(2)), second(2));
    assert_eq!(scores(&holder, &other, [&of_holder, &of_other], second(2)), [3, 3]);
    of_other.learn(&all(Standing::Up), second(3));
    assert_eq!(scores(&holder, &other, [&of_holder, &of_other], second(60)), [3, 3]);

    of_holder.learn(&all(Standing::Down), second(100));
    holder.checked(all(Standing::Down), second(100));
    other.follow(holder.save(second(100)), second(100));
    assert_eq!(scores(&holder, &other, [&of_holder, &of_other], second(105)), [3, 3], "it may find out yet");
    assert_eq!(scores(&holder, &other, [&of_holder, &of_other], second(115)), [0, 3]);
    // One that has just started believes the holder for as long.
    let fresh = Experience::default();
    assert_eq!(scores(&holder, &other, [&of_holder, &fresh], second(115)), [0, 0]);
    // Nor can the other one reach them: both are without a quorum, and nothing is to move.
    of_other.learn(&all(Standing::Down), second(120));
    assert_eq!(scores(&holder, &other, [&of_holder, &of_other], second(200)), [0, 0]);
}
