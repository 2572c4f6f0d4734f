//! What goes to another director in order.

use super::*;

#[test]
fn a_director_without_its_service_link_hands_over_at_once() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.nodes[0].set_fitness(group(), Fitness { is_fit: false, score: 0 });
    cluster.pass(Duration::from_millis(30), &[]);
    assert_eq!(cluster.holders(), [1]);
    assert!(cluster.told(0, &Notice::GaveUp { group: group(), why: Why::Fitter(id(1)) }));
}

/// The vote of the one that has handed over is waited for until it is missed, and then the wire is asked again.
#[test]
fn a_director_that_dies_while_it_hands_over_is_replaced_without_another_wait() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.nodes[0].set_fitness(group(), Fitness { is_fit: false, score: 0 });
    while cluster.holders() == [0] {
        cluster.pass(Duration::from_millis(10), &[]);
    }
    cluster.isolate(0);
    cluster.pass(KEEPALIVE * 5 / 2 + DEADTIME / 10, &[]);
    assert_eq!(cluster.holders(), [1]);
    // While the other director was heard the wire could not tell what it would do when it is not.
    let asked = cluster
        .outputs
        .iter()
        .filter(|(of, output)| *of == 1 && matches!(output, Output::Do(Task::Probe { .. })));
    assert_eq!(asked.count(), 2);
}

#[test]
fn a_better_score_has_to_last() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    for _ in 0..10 {
        cluster.nodes[0].set_fitness(group(), Fitness { is_fit: true, score: 90 });
        cluster.pass(Duration::from_secs(4), &[]);
        cluster.nodes[0].set_fitness(group(), Fitness { is_fit: true, score: 100 });
        cluster.pass(Duration::from_secs(1), &[]);
        assert_eq!(cluster.holders(), [0]);
    }
    cluster.nodes[0].set_fitness(group(), Fitness { is_fit: true, score: 90 });
    cluster.pass(Duration::from_secs(6), &[]);
    assert_eq!(cluster.holders(), [1]);
}

/// As where neither reaches the real servers.
#[test]
fn directors_that_are_as_unwell_as_each_other_leave_a_group_where_it_is() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    for node in &mut cluster.nodes {
        node.set_fitness(group(), Fitness { is_fit: true, score: 0 });
    }
    cluster.pass(Duration::from_secs(60), &[]);
    assert_eq!(cluster.holders(), [0]);
}

#[test]
fn failback_waits_and_is_off_unless_asked_for() {
    for (failback, holder_after) in [(None, 1), (Some(Duration::from_secs(3)), 0)] {
        let mut cluster = Cluster::with(2, false, |settings| settings.failback = failback);
        cluster.pass(Duration::from_secs(1), &[]);
        cluster.pass(Duration::from_secs(2), &[0]);
        assert_eq!(cluster.holders(), [1]);
        cluster.pass(Duration::from_millis(2900), &[]);
        assert_eq!(cluster.holders(), [1]);
        cluster.pass(Duration::from_secs(2), &[]);
        assert_eq!(cluster.holders(), [holder_after]);
    }
}

#[test]
fn orders_of_operators() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    let now = cluster.now;
    cluster.nodes[0].standby(group(), now).unwrap();
    cluster.pass(Duration::from_millis(100), &[]);
    assert_eq!(cluster.holders(), [1]);
    cluster.pass(Duration::from_secs(2), &[1]);
    assert_eq!(cluster.holders(), [0], "who stands by takes it if no other can");

    cluster.pass(Duration::from_secs(2), &[]);
    let now = cluster.now;
    assert_eq!(cluster.nodes[1].take(group(), now), Ok(()));
    cluster.pass(Duration::from_millis(200), &[]);
    assert_eq!(cluster.holders(), [1]);

    let now = cluster.now;
    cluster.nodes[0].release(group(), now).unwrap();
    cluster.pass(Duration::from_millis(200), &[]);
    assert_eq!(cluster.nodes[1].standby(group(), now), Err(Refused::Nobody));
    cluster.pass(Duration::from_secs(3), &[1]);
    assert_eq!(cluster.holders(), [0; 0], "who has released it takes it never");
}

#[test]
fn a_clean_end_hands_over_at_once() {
    let mut cluster = Cluster::new(2, true);
    cluster.pass(Duration::from_secs(1), &[]);
    let now = cluster.now;
    cluster.nodes[0].leave(now);
    cluster.carry_out(0, &[]);
    cluster.pass(Duration::from_millis(30), &[]);
    assert_eq!(cluster.holders(), [1]);
}

/// Between its order and its end the holder takes no new connection that would have to be told.
#[test]
fn a_group_is_handed_over_when_its_connections_are_told() {
    let mut cluster = Cluster::new(2, true);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.tells = false;
    let ordered = cluster.now;
    cluster.nodes[0].standby(group(), ordered).unwrap();
    cluster.pass(2 * DEADTIME - Duration::from_millis(20), &[]);
    assert_eq!(cluster.holders(), [0]);
    let mut leases = cluster.outputs.iter().filter_map(|(of, output)| match output {
        Output::Lease { ends, fresh_until, .. } if *of == 0 && *ends > ordered => Some((*ends, *fresh_until)),
        _ => None,
    });
    let (ends, fresh_until) = leases.next_back().unwrap();
    assert!(ends > cluster.now && fresh_until <= ordered, "{fresh_until:?} is later than {ordered:?}");
    cluster.pass(Duration::from_millis(60), &[]);
    assert_eq!(cluster.holders(), [1], "it does not wait for ever");

    cluster.tells = true;
    cluster.nodes[1].standby(group(), cluster.now).unwrap_err();
    cluster.pass(2 * DEADTIME, &[]);
    cluster.nodes[0].take(group(), cluster.now).unwrap();
    cluster.pass(Duration::from_millis(100), &[]);
    assert_eq!(cluster.holders(), [0], "told at once, it goes at once");
}

#[test]
fn a_handover_is_called_off_when_the_other_director_dies() {
    let mut cluster = Cluster::new(2, true);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.tells = false;
    // It asks for the group, and dies.
    cluster.nodes[1].take(group(), cluster.now).unwrap();
    cluster.pass(Duration::from_millis(50), &[]);
    cluster.isolate(1);
    cluster.pass(Duration::from_secs(1), &[]);
    assert_eq!(cluster.holders(), [0]);
    let fresh_until = cluster.outputs.iter().rev().find_map(|(of, output)| match output {
        Output::Lease { fresh_until, .. } if *of == 0 => Some(*fresh_until),
        _ => None,
    });
    assert!(fresh_until > Some(cluster.now), "new connections are taken again");
}

/// Its beats are heard, and nothing else of it: what goes to it in order would lose its connections.
#[test]
fn nothing_goes_in_order_to_a_director_that_was_not_told_the_connections() {
    let mut cluster = Cluster::with(2, true, |settings| settings.failback = Some(Duration::from_secs(1)));
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.nodes[0].set_told(id(1), false);
    assert_eq!(cluster.nodes[0].standby(group(), cluster.now), Err(Refused::Untold));
    cluster.nodes[1].take(group(), cluster.now).unwrap();
    cluster.nodes[1].set_fitness(group(), Fitness { is_fit: true, score: 200 });
    cluster.pass(Duration::from_secs(20), &[]);
    assert_eq!(cluster.holders(), [0]);
    let fresh_until = cluster.outputs.iter().rev().find_map(|(of, output)| match output {
        Output::Lease { fresh_until, .. } if *of == 0 => Some(*fresh_until),
        _ => None,
    });
    assert!(fresh_until > Some(cluster.now), "new connections are taken all the time");
    // It goes when it was told.
    cluster.nodes[0].set_told(id(1), true);
    cluster.pass(Duration::from_millis(200), &[]);
    assert_eq!(cluster.holders(), [1]);
}

/// A director that cannot serve them loses the connections anyway; and nobody knows those of one that is dead.
#[test]
fn a_group_that_cannot_be_served_goes_also_to_one_that_was_not_told() {
    for is_dead in [false, true] {
        let mut cluster = Cluster::new(2, true);
        cluster.pass(Duration::from_secs(1), &[]);
        cluster.nodes[0].set_told(id(1), false);
        if is_dead {
            cluster.pass(Duration::from_secs(2), &[0]);
        } else {
            cluster.nodes[0].set_fitness(group(), Fitness { is_fit: false, score: 0 });
            cluster.pass(Duration::from_millis(100), &[]);
        }
        assert_eq!(cluster.holders(), [1]);
        cluster.nodes[1].set_told(id(0), false);
        assert_eq!(cluster.nodes[1].release(group(), cluster.now), Ok(()), "an operator may all the same");
    }
}

/// The one that was not told is not the one that would take it.
#[test]
fn an_operator_is_refused_for_the_next_holder_only() {
    let mut cluster = Cluster::new(3, true);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.nodes[0].set_told(id(2), false);
    assert_eq!(cluster.nodes[0].standby(group(), cluster.now), Ok(()));
    cluster.pass(Duration::from_millis(200), &[]);
    assert_eq!(cluster.holders(), [1]);
}
