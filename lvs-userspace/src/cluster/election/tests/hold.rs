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

/// The directors after a planned restart of the first within its hold.
fn restarted(voter: bool) -> Cluster {
    let mut cluster = Cluster::new(2, voter);
    cluster.pass(Duration::from_secs(1), &[]);
    let now = cluster.now;
    cluster.nodes[0].hold(Duration::from_secs(60), now).unwrap();
    cluster.pass(Duration::from_millis(200), &[]);
    cluster.pass(Duration::from_secs(1), &[0]);
    let inherited = [Inherited { group: group(), epoch: 1, ends: cluster.leases[0] }];
    let next = settings(0, 2, voter, &|settings| settings.life = 77);
    cluster.nodes[0] = Node::new(next, &inherited, cluster.now);
    well(&mut cluster.nodes[0]);
    cluster
}

/// The hold was for the restart, which is over.
#[test]
fn a_death_after_a_planned_restart_is_taken_over_after_the_dead_time() {
    for voter in [false, true] {
        let mut cluster = restarted(voter);
        cluster.pass(Duration::from_millis(300), &[]);
        assert_eq!(cluster.holders(), [0], "voter {voter}");
        assert!(cluster.leases[0] < cluster.now + DEADTIME, "voter {voter}");
        for _ in 0..60 {
            cluster.pass(Duration::from_millis(10), &[0]);
            assert!(cluster.holders().len() < 2);
        }
        assert_eq!(cluster.holders(), [1], "voter {voter}");
    }
}

/// Until a majority votes for the next life the hold goes on.
#[test]
fn a_hold_lasts_until_the_next_life_is_heard() {
    for voter in [false, true] {
        let mut cluster = restarted(voter);
        cluster.isolate(0);
        cluster.pass(Duration::from_secs(5), &[]);
        assert_eq!(cluster.holders(), [0], "voter {voter}");
    }
}

/// The voter has the next life's message and cannot know that it is a director's: its promise is to the former one, and
/// is over when nothing comes of that for the dead time.
#[test]
fn a_life_that_has_not_proved_itself_renews_no_lease() {
    let mut cluster = Cluster::new(2, true);
    cluster.pass(Duration::from_secs(1), &[]);
    let (mut now, ends) = (cluster.now, cluster.leases[0]);
    let mut voter = cluster.voter.take().unwrap();
    let next = settings(0, 2, true, &|settings| settings.life = 77);
    let mut node = Node::new(next, &[Inherited { group: group(), epoch: 1, ends }], now);
    well(&mut node);
    // All its messages are as old as they may be when they come, so that none proves anything.
    let mut under_way = Vec::new();
    while now < cluster.now + DEADTIME {
        now += Duration::from_millis(10);
        node.tick(now);
        for output in node.take_outputs() {
            match output {
                Output::Send(beat) => under_way.push((now + DEADTIME * 2, beat)),
                Output::Lease { ends: renewed, .. } => assert!(renewed <= ends, "by whom?"),
                Output::Do(_) => {}
            }
        }
        // The first one is quick. Its answer proves the voter, and says to whom the voter has promised the group.
        if let Some((due, beat)) = under_way.first_mut()
            && *due > now + DEADTIME
        {
            *due = now;
            let (received, answer) = voter.receive(beat, now);
            assert_eq!(received, Received::Unproved);
            node.receive(&answer.unwrap(), now);
        }
    }
    assert_eq!(node.holds(group(), now), None);
}

/// It ended between its being found and the first beat: what was adopted with it has to go.
#[test]
fn a_lease_that_has_ended_before_the_first_tick_is_given_up() {
    for voter in [false, true] {
        let mut cluster = Cluster::new(2, voter);
        cluster.pass(Duration::from_secs(1), &[]);
        let ends = cluster.leases[0];
        cluster.pass(Duration::from_secs(2), &[0]);
        assert_eq!(cluster.holders(), [1]);
        let next = settings(0, 2, voter, &|settings| settings.life = 77);
        cluster.nodes[0] = Node::new(next, &[Inherited { group: group(), epoch: 1, ends }], cluster.now);
        well(&mut cluster.nodes[0]);
        cluster.pass(Duration::from_millis(100), &[]);
        let withdrawn = (0, Output::Do(Task::Withdraw { group: group() }));
        assert!(cluster.outputs.contains(&withdrawn), "voter {voter}");
        assert_eq!(cluster.holders(), [1], "voter {voter}");
    }
}

/// A clock that is slow by a thousandth makes an hour 3.6 s longer, which is more than a tenth of the dead time.
#[test]
fn a_long_hold_allows_for_clocks_of_different_speed() {
    for length in [1, 10, 3600].map(Duration::from_secs) {
        let mut cluster = Cluster::new(2, true);
        cluster.pass(Duration::from_secs(1), &[]);
        let now = cluster.now;
        cluster.nodes[0].hold(length, now).unwrap();
        cluster.pass(Duration::from_millis(200), &[]);
        let held = cluster.leases[0] - now;
        assert!(held + length / 1000 + DEADTIME / 10 <= length, "{held:?} of {length:?}");
        assert!(held > length * 4 / 5, "{held:?} of {length:?}");
    }
}

/// The third one hears the first no more and the second was started anew: it knows what it has promised.
#[test]
fn a_hold_binds_the_next_life_of_who_has_promised_it() {
    let mut cluster = Cluster::new(3, false);
    cluster.pass(Duration::from_secs(1), &[]);
    // Only the second one is there to promise.
    cluster.cut = vec![(0, 2), (2, 0)];
    let now = cluster.now;
    cluster.nodes[0].hold(Duration::from_secs(20), now).unwrap();
    cluster.pass(Duration::from_millis(300), &[]);
    assert!(cluster.leases[0] > now + Duration::from_secs(15));
    let promised: Vec<Promised> = cluster
        .outputs
        .iter()
        .filter_map(|(of, output)| match output {
            Output::Do(Task::Remember(promised)) if *of == 1 => Some(*promised),
            _ => None,
        })
        .collect();
    assert_eq!(promised.len(), 1, "and not with each beat");
    let next = settings(1, 3, false, &|settings| settings.life = 77);
    cluster.nodes[1] = Node::new(next, &[], cluster.now);
    cluster.nodes[1].recall(&promised);
    well(&mut cluster.nodes[1]);
    for _ in 0..100 {
        cluster.pass(Duration::from_millis(100), &[0]);
        assert_eq!(cluster.holders(), [0]);
    }
    cluster.pass(Duration::from_secs(15), &[0]);
    assert_ne!(cluster.holders(), [0], "it is over");
    assert_eq!(cluster.holders().len(), 1);
}
