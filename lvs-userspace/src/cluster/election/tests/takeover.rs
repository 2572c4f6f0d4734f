//! Who begins, and who takes over from the dead.

use super::*;

#[test]
fn the_preferred_director_begins_as_soon_as_all_are_heard() {
    for (directors, voter) in [(2, false), (2, true), (3, false), (5, false)] {
        let mut cluster = Cluster::new(directors, voter);
        cluster.pass(2 * DEADTIME, &[]);
        assert_eq!(cluster.holders(), [0], "{directors} directors, voter {voter}");
    }
}

#[test]
fn one_that_starts_alone_waits_for_the_others() {
    let mut cluster = Cluster::new(2, true);
    cluster.pass(Duration::from_millis(1900), &[0]);
    assert_eq!(cluster.holders(), [0; 0]);
    cluster.pass(Duration::from_millis(300), &[0]);
    assert_eq!(cluster.holders(), [1]);
}

#[test]
fn a_dead_director_is_replaced_after_the_dead_time_and_not_before() {
    for (directors, voter) in [(2, false), (2, true), (3, false)] {
        let mut cluster = Cluster::new(directors, voter);
        cluster.pass(Duration::from_secs(1), &[]);
        cluster.pass(DEADTIME - KEEPALIVE - Duration::from_millis(20), &[0]);
        assert_ne!(cluster.holders(), [1], "{directors} directors, voter {voter}");
        cluster.pass(KEEPALIVE + Duration::from_millis(60), &[0]);
        assert_eq!(cluster.holders(), [1], "{directors} directors, voter {voter}");
        assert!(cluster.told(1, &Notice::Dead { node: id(0) }));
    }
}

#[test]
fn a_stopped_director_is_silent_before_another_serves_and_stays_so() {
    for voter in [false, true] {
        let mut cluster = Cluster::new(2, voter);
        cluster.pass(Duration::from_secs(1), &[]);
        while cluster.holders() != [1] {
            cluster.pass(Duration::from_millis(10), &[0]);
            assert!(cluster.holders().len() < 2);
        }
        cluster.pass(Duration::from_secs(5), &[0]);
        for _ in 0..300 {
            cluster.pass(Duration::from_millis(10), &[]);
            assert_eq!(cluster.holders(), [1]);
        }
        assert!(
            cluster.notices.iter().any(|(of, notice)| *of == 0 && matches!(notice, Notice::Paused { .. }))
        );
    }
}

#[test]
fn the_standby_may_die() {
    for voter in [false, true] {
        let mut cluster = Cluster::new(2, voter);
        cluster.pass(Duration::from_secs(1), &[]);
        for _ in 0..300 {
            cluster.pass(Duration::from_millis(10), &[1]);
            assert_eq!(cluster.holders(), [0], "voter {voter}");
        }
    }
}
