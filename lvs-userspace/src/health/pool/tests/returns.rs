//! Delays, slow start, flaps, quorum, doubt, maintenance.

use super::*;
use crate::config::model::Flaps;

/// One service of servers with weight 10 each.
fn pool(hosts: &[u8], health: Health) -> Pool {
    let mut www = service("www", 80, hosts);
    www.real_servers.iter_mut().for_each(|server| server.weight = 10);
    www.health = health;
    let mut pool = Pool::new(config(vec![www]), second(0));
    for host in hosts {
        pool.checked([change(*host, 80, Standing::Up)], second(0));
    }
    pool.take_notices();
    pool
}

fn goes(pool: &mut Pool, host: u8, standing: Standing, at: u64) {
    pool.checked([change(host, 80, standing)], second(at));
}

fn weights(pool: &Pool) -> Vec<u32> {
    pool.desired().services[0].real_servers.iter().map(|server| server.weight).collect()
}

#[test]
fn a_recovery_must_last_before_it_counts() {
    let mut pool = pool(&[1, 2], Health { recovery_delay: second(30), ..Health::default() });
    goes(&mut pool, 1, Standing::Down, 10);
    goes(&mut pool, 1, Standing::Up, 20);
    pool.tick(second(49));
    assert_eq!(installed(&pool), [[(2, 10)]]);
    // It fails again meanwhile: the time counts anew.
    goes(&mut pool, 1, Standing::Down, 49);
    goes(&mut pool, 1, Standing::Up, 60);
    pool.tick(second(89));
    assert_eq!(installed(&pool), [[(2, 10)]]);
    pool.tick(second(90));
    assert_eq!(installed(&pool), [[(1, 10), (2, 10)]]);
    let server = "www 10.0.0.1:80";
    let expected = ["down", "recovering", "down", "recovering", "up"].map(|what| format!("{server} {what}"));
    assert_eq!(told(&mut pool), expected);
    assert!(pool.waiting.is_empty());
}

#[test]
fn a_returning_server_grows_in_ten_steps() {
    let mut pool = pool(&[1, 2], Health { slow_start: second(100), ..Health::default() });
    goes(&mut pool, 1, Standing::Down, 10);
    pool.take_changed();
    goes(&mut pool, 1, Standing::Up, 20);
    let mut seen = Vec::new();
    for at in 20..=125 {
        pool.tick(second(at));
        if pool.take_changed() {
            seen.push((at, weights(&pool)));
        }
    }
    // Weights are ten times what they were, and so keep their proportions.
    let mut expected: Vec<_> =
        (0..10).map(|step| (20 + step * 10, vec![(step as u32 + 1) * 10, 100])).collect();
    expected.push((120, vec![10, 10]));
    assert_eq!(seen, expected);
}

#[test]
fn a_weight_near_the_limit_grows_without_getting_too_large() {
    let mut pool = pool(&[1, 2], Health { slow_start: second(10), ..Health::default() });
    let mut heavy = pool.config().clone();
    heavy.services[0].real_servers[1].weight = 65_535;
    pool.configure(heavy, second(1));
    goes(&mut pool, 1, Standing::Down, 2);
    goes(&mut pool, 1, Standing::Up, 3);
    assert_eq!(weights(&pool), [1, 65_535]);
}

#[test]
fn who_fails_again_and_again_is_held_back() {
    let flaps = Flaps { limit: 3, within: second(100), hold: second(300) };
    let mut pool = pool(&[1, 2], Health { flaps: Some(flaps), ..Health::default() });
    for at in [10, 20] {
        goes(&mut pool, 1, Standing::Down, at);
        goes(&mut pool, 1, Standing::Up, at + 5);
        assert_eq!(weights(&pool).len(), 2, "at {at}");
    }
    goes(&mut pool, 1, Standing::Down, 30);
    pool.take_notices();
    goes(&mut pool, 1, Standing::Up, 35);
    let notices = pool.take_notices();
    assert_eq!(notices[0].what, What::Recovering);
    let reason = "evidence; it returns after 300 s, since it failed 3 times in 100 s";
    assert_eq!(notices[0].reason, reason);
    pool.tick(second(334));
    assert_eq!(weights(&pool).len(), 1);
    pool.tick(second(335));
    assert_eq!(weights(&pool).len(), 2);
    // Long ago it counts no more.
    goes(&mut pool, 1, Standing::Down, 500);
    goes(&mut pool, 1, Standing::Up, 505);
    assert_eq!(weights(&pool).len(), 2);
}

fn fallback() -> RealServer {
    RealServer { checks: Vec::new(), ..real_server(99, 1) }
}

#[test]
fn a_quorum_is_lost_and_regained_with_hysteresis() {
    let health = Health { quorum: 2, quorum_recovery: 3, fallback: Some(fallback()), ..Health::default() };
    let mut pool = pool(&[1, 2, 3, 4], health);
    goes(&mut pool, 1, Standing::Down, 1);
    goes(&mut pool, 2, Standing::Down, 2);
    assert_eq!(installed(&pool), [[(3, 10), (4, 10)]]);
    goes(&mut pool, 3, Standing::Down, 3);
    assert_eq!(installed(&pool), [[(4, 0), (99, 1)]], "the last one keeps its flows");
    goes(&mut pool, 1, Standing::Up, 4);
    assert_eq!(installed(&pool), [[(1, 0), (4, 0), (99, 1)]], "two are not enough to return");
    goes(&mut pool, 2, Standing::Up, 5);
    assert_eq!(installed(&pool), [[(1, 10), (2, 10), (4, 10)]]);
    let told = told(&mut pool);
    assert!(told.contains(&"www quorum lost".to_owned()) && told.contains(&"www quorum regained".to_owned()));
}

#[test]
fn the_fallback_serves_when_nobody_is_left() {
    let mut pool = pool(&[1, 2], Health { fallback: Some(fallback()), ..Health::default() });
    goes(&mut pool, 1, Standing::Down, 1);
    goes(&mut pool, 2, Standing::Down, 2);
    assert_eq!(installed(&pool), [[(99, 1)]]);
    let notice = pool.take_notices().pop().unwrap();
    assert_eq!(notice.reason, "0 of 1 real servers that are needed serve; the fallback serves");
    goes(&mut pool, 2, Standing::Up, 3);
    assert_eq!(installed(&pool), [[(2, 10)]]);
}

#[test]
fn too_many_failures_at_once_are_doubted() {
    let mut pool = pool(&[1, 2, 3, 4], Health { panic_threshold: 50, ..Health::default() });
    // One is dead for long.
    goes(&mut pool, 1, Standing::Down, 100);
    // Then all others seem to die.
    goes(&mut pool, 2, Standing::Down, 1_000);
    assert_eq!(installed(&pool), [[(3, 10), (4, 10)]]);
    goes(&mut pool, 3, Standing::Down, 1_001);
    assert_eq!(installed(&pool), [[(2, 10), (3, 10), (4, 10)]], "who failed a moment before is put back");
    goes(&mut pool, 4, Standing::Down, 1_002);
    assert_eq!(installed(&pool), [[(2, 10), (3, 10), (4, 10)]]);
    let told_then = told(&mut pool);
    assert_eq!(told_then.iter().filter(|line| *line == "www checks doubted").count(), 1, "{told_then:?}");
    // One comes back that never left; it is not enough.
    goes(&mut pool, 2, Standing::Up, 1_010);
    assert_eq!(installed(&pool), [[(2, 10), (3, 10), (4, 10)]]);
    goes(&mut pool, 3, Standing::Up, 1_011);
    assert_eq!(installed(&pool), [[(2, 10), (3, 10)]], "the checks are believed again, and 4 is dead");
    assert_eq!(told(&mut pool), ["www 10.0.0.2:80 up", "www 10.0.0.3:80 up", "www checks trusted"]);
}

#[test]
fn operators_drain_disable_and_enable() {
    let mut two = config(vec![service("www", 80, &[1, 2]), service("app", 81, &[1])]);
    two.services[0].real_servers.iter_mut().for_each(|server| server.weight = 10);
    let mut pool = Pool::new(two, second(0));
    let select = |service: Option<&str>| Selection::parse("10.0.0.1", service.map(str::to_owned)).unwrap();
    assert_eq!(
        maintain(&mut pool, &Selection::parse("10.0.0.9", None).unwrap(), Mode::Drained, second(1)),
        0
    );
    assert_eq!(maintain(&mut pool, &select(Some("www")), Mode::Drained, second(1)), 1);
    assert_eq!(installed(&pool), [vec![(1, 0), (2, 10)], vec![(1, 1)]]);
    assert_eq!(maintain(&mut pool, &select(None), Mode::Disabled, second(2)), 2);
    assert_eq!(installed(&pool), [vec![(2, 10)], vec![]]);
    // A reload and the checks change nothing about it.
    pool.checked([change(1, 80, Standing::Up)], second(3));
    pool.configure(pool.config().clone(), second(4));
    assert_eq!(installed(&pool), [vec![(2, 10)], vec![]]);
    pool.take_notices();
    assert_eq!(maintain(&mut pool, &select(None), Mode::Enabled, second(5)), 2);
    assert_eq!(installed(&pool), [vec![(1, 10), (2, 10)], vec![(1, 1)]]);
    let expected = ["www 10.0.0.1:80 enabled", "app 10.0.0.1:80 enabled", "app quorum regained"];
    assert_eq!(told(&mut pool), expected);
    assert_eq!(maintain(&mut pool, &select(None), Mode::Enabled, second(6)), 2);
    assert_eq!(told(&mut pool), [""; 0], "what is so already is no news");
}

#[test]
fn a_dead_server_under_maintenance_stays_dead() {
    let mut pool = pool(&[1, 2], Health::default());
    maintain(&mut pool, &Selection::parse("10.0.0.1", None).unwrap(), Mode::Drained, second(1));
    goes(&mut pool, 1, Standing::Down, 2);
    assert_eq!(installed(&pool), [[(2, 10)]]);
    maintain(&mut pool, &Selection::parse("10.0.0.1", None).unwrap(), Mode::Enabled, second(3));
    assert_eq!(installed(&pool), [[(2, 10)]]);
}

/// Another agent goes on where the first has ended, on another clock.
#[test]
fn a_restart_changes_nothing() {
    let health = Health { slow_start: second(100), recovery_delay: second(50), ..Health::default() };
    let mut first = pool(&[1, 2, 3, 4], health);
    goes(&mut first, 1, Standing::Down, 1_000);
    goes(&mut first, 2, Standing::Down, 1_000);
    goes(&mut first, 2, Standing::Up, 1_010);
    maintain(&mut first, &Selection::parse("10.0.0.3", None).unwrap(), Mode::Drained, second(1_011));
    first.tick(second(1_060));
    assert!(first.take_unsaved());

    let saved = serde_json::to_string(&first.save(second(1_075))).unwrap();
    let mut second_pool = Pool::new(first.config().clone(), second(5_000));
    assert!(second_pool.save(second(5_000)).is_empty());
    second_pool.restore(serde_json::from_str(&saved).unwrap(), second(5_000));
    first.tick(second(1_075));
    assert_eq!(second_pool.desired(), first.desired());
    assert_eq!(second_pool.checks(), first.checks());
    assert_eq!(told(&mut second_pool), [""; 0], "nothing has happened");
    assert_eq!(second_pool.describe(second(5_000))[0].servers[0].for_time, second(75));
    first.tick(second(1_110));
    second_pool.tick(second(5_035));
    assert_eq!(second_pool.desired(), first.desired(), "the ramp goes on");
}
