//! Planned restarts, and leases that were slept through.

use super::*;

#[test]
fn a_planned_restart_is_no_failover() {
    for voter in [false, true] {
        let mut cluster = Cluster::new(2, voter);
        cluster.pass(Duration::from_secs(1), &[]);
        let now = cluster.now;
        cluster.nodes[0].hold(Duration::from_secs(5), now).unwrap();
        cluster.pass(Duration::from_millis(200), &[]);
        assert!(cluster.notices.iter().any(|(_, notice)| matches!(notice, Notice::Held { .. })));
        for _ in 0..40 {
            cluster.pass(Duration::from_millis(100), &[0]);
            assert_eq!(cluster.holders(), [0], "voter {voter}");
        }
        // Its next life goes on with what it finds.
        let inherited = [Inherited { group: group(), epoch: 1, ends: cluster.leases[0] }];
        let mut next = settings(0, 2, voter, &|settings| settings.life = 77);
        next.life = 77;
        cluster.nodes[0] = Node::new(next, &inherited, cluster.now);
        // Its own links are not looked at yet.
        cluster.pass(Duration::from_millis(50), &[]);
        assert_eq!(cluster.holders(), [0], "voter {voter}");
        well(&mut cluster.nodes[0]);
        for _ in 0..40 {
            cluster.pass(Duration::from_millis(100), &[]);
            assert_eq!(cluster.holders(), [0], "voter {voter}");
        }
    }
}

/// Its clock stood still during a hold, so that to it the lease goes on. One of the others holds the group, the other one
/// has been started anew and has promised nothing it remembers: no majority for anybody, and none left for the first.
#[test]
fn a_lease_that_was_slept_through_ends_when_no_majority_is_left_for_it() {
    let mut cluster = Cluster::new(3, false);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.isolate(0);
    cluster.pass(Duration::from_secs(3), &[0]);
    assert_eq!(cluster.holders(), [1]);
    let (now, ends) = (cluster.now, cluster.now + Duration::from_secs(5));
    let next = |number| settings(number, 3, false, &|settings| settings.life = 77);
    cluster.nodes[0] = Node::new(next(0), &[Inherited { group: group(), epoch: 1, ends }], now);
    cluster.nodes[2] = Node::new(next(2), &[], now);
    cluster.leases[0] = ends;
    cluster.cut.clear();
    cluster.pass(Duration::from_millis(100), &[]);
    assert_eq!(cluster.holders(), [1]);
}

#[test]
fn a_hold_that_is_not_kept_ends() {
    let mut cluster = Cluster::new(2, true);
    cluster.pass(Duration::from_secs(1), &[]);
    let now = cluster.now;
    cluster.nodes[0].hold(Duration::from_secs(5), now).unwrap();
    cluster.pass(Duration::from_millis(200), &[]);
    for _ in 0..56 {
        cluster.pass(Duration::from_millis(100), &[0]);
        assert!(cluster.holders().len() < 2);
    }
    assert_eq!(cluster.holders(), [1]);
}
