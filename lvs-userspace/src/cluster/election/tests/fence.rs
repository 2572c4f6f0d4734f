//! Several groups, and programs that fence.

use std::collections::BTreeSet;

use super::*;

#[test]
fn groups_may_be_at_different_directors() {
    let other = GroupId::of("mail");
    let mut cluster = Cluster::with(2, true, |settings| {
        settings.groups.push(GroupSettings { group: other, order: vec![id(1), id(0)], fences: false });
    });
    for node in &mut cluster.nodes {
        node.set_fitness(other, Fitness { is_fit: true, score: 1 });
        node.set_ready(other, true);
    }
    cluster.pass(Duration::from_secs(1), &[]);
    let now = cluster.now;
    assert!(cluster.nodes[0].holds(group(), now).is_some() && cluster.nodes[1].holds(other, now).is_some());
    assert_eq!(cluster.nodes[0].holder(other, now), Some(id(1)));
    cluster.pass(Duration::from_secs(1), &[1]);
    let now = cluster.now;
    assert!(cluster.nodes[0].holds(group(), now).is_some() && cluster.nodes[0].holds(other, now).is_some());
}

/// Two directors of which the first holds a group that has a program.
fn fencing(voter: bool) -> Cluster {
    let mut cluster = Cluster::with(2, voter, |settings| settings.groups[0].fences = true);
    cluster.pass(Duration::from_secs(1), &[]);
    assert_eq!(cluster.holders(), [0], "nobody had it before");
    cluster
}

/// The same with another group that has none, and which the first director holds, too.
fn with_another_group(voter: bool) -> (Cluster, GroupId) {
    let other = GroupId::of("mail");
    let mut cluster = Cluster::with(2, voter, |settings| {
        settings.groups[0].fences = true;
        settings.groups.push(GroupSettings { group: other, order: vec![id(0), id(1)], fences: false });
    });
    for node in &mut cluster.nodes {
        node.set_fitness(other, Fitness { is_fit: true, score: 100 });
        node.set_ready(other, true);
    }
    cluster.pass(Duration::from_secs(1), &[]);
    (cluster, other)
}

/// How often the second director was to fence the first.
fn ordered(cluster: &Cluster) -> usize {
    let order = (1, Output::Do(Task::Fence { group: group(), node: id(0) }));
    cluster.outputs.iter().filter(|output| **output == order).count()
}

fn fenced(cluster: &mut Cluster, done: bool) {
    let now = cluster.now;
    cluster.nodes[1].fenced(group(), id(0), done, now);
}

#[test]
fn a_program_that_fences_is_run_again_after_it_has_failed() {
    for voter in [false, true] {
        let mut cluster = fencing(voter);
        for attempt in 1..5 {
            while ordered(&cluster) < attempt {
                cluster.pass(Duration::from_millis(10), &[0]);
                assert_ne!(cluster.holders(), [1], "voter {voter}, attempt {attempt}");
            }
            cluster.pass(Duration::from_secs(3), &[0]);
            assert_eq!(ordered(&cluster), attempt, "one run at a time");
            fenced(&mut cluster, false);
        }
        assert!(cluster.told(1, &Notice::StoodBack { group: group(), why: Why::NotFenced }));
    }
}

#[test]
fn a_program_that_fences_has_to_succeed_and_may_take_its_time() {
    for voter in [false, true] {
        let mut cluster = fencing(voter);
        cluster.pass(Duration::from_secs(5), &[0]);
        assert_eq!((cluster.holders(), ordered(&cluster)), (vec![], 1), "voter {voter}");
        fenced(&mut cluster, true);
        cluster.pass(Duration::from_millis(30), &[0]);
        assert_eq!(cluster.holders(), [1], "voter {voter}");
    }
}

/// Only the heartbeat is cut: the holder has the voter's vote, or answers on the wire.
#[test]
fn a_holder_that_serves_is_not_fenced() {
    for voter in [false, true] {
        let mut cluster = fencing(voter);
        cluster.cut = vec![(0, 1), (1, 0)];
        if !voter {
            cluster.wire = Wire::Answered;
        }
        cluster.pass(Duration::from_secs(5), &[]);
        assert_eq!((cluster.holders(), ordered(&cluster)), (vec![0], 0), "voter {voter}");
    }
}

/// It gave this one up while the heartbeat was cut: the voter still hears it.
#[test]
fn a_holder_of_another_group_is_not_fenced() {
    let (mut cluster, other) = with_another_group(true);
    cluster.cut = vec![(0, 1), (1, 0)];
    cluster.pass(2 * DEADTIME, &[]);
    let now = cluster.now;
    assert!(cluster.nodes[0].holds(group(), now).is_some() && cluster.nodes[0].holds(other, now).is_some());
    cluster.nodes[0].failed(group(), now);
    cluster.pass(6 * DEADTIME, &[]);
    let now = cluster.now;
    assert!(cluster.nodes[1].holds(group(), now).is_some() && cluster.nodes[0].holds(other, now).is_some());
    assert_eq!(ordered(&cluster), 0);
}

/// Without a voter only the wire can say so.
#[test]
fn without_a_voter_who_answers_for_another_group_is_not_fenced() {
    let (mut cluster, other) = with_another_group(false);
    cluster.outputs.clear();
    cluster.cut = vec![(0, 1), (1, 0)];
    cluster.wire = Wire::Asked.of_another();
    cluster.pass(5 * DEADTIME, &[]);
    let asked: BTreeSet<_> = cluster
        .outputs
        .iter()
        .filter_map(|(of, output)| match output {
            Output::Do(Task::Probe { group, besides, .. }) if *of == 1 => Some((*group, besides.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(
        asked,
        BTreeSet::from([(group(), vec![other]), (other, vec![])]),
        "only before a program is run"
    );
    assert!(cluster.told(1, &Notice::StoodBack { group: group(), why: Why::Lives(id(0)) }));
    assert_eq!(ordered(&cluster), 0);

    cluster.wire = Wire::Silent;
    cluster.pass(5 * DEADTIME, &[0]);
    assert_eq!(ordered(&cluster), 1);
}

#[test]
fn who_has_no_majority_fences_nobody() {
    let mut cluster = fencing(true);
    cluster.isolate(1);
    cluster.isolate(0);
    cluster.pass(Duration::from_secs(5), &[]);
    assert_eq!((cluster.holders(), ordered(&cluster)), (vec![], 0));
}

/// Its votes were lost while the program ran.
#[test]
fn another_attempt_waits_for_the_program_of_before_and_goes_by_it() {
    let mut cluster = fencing(true);
    while ordered(&cluster) == 0 {
        cluster.pass(Duration::from_millis(10), &[0]);
    }
    cluster.isolate(1);
    cluster.pass(Duration::from_secs(3), &[0]);
    assert!(cluster.told(1, &Notice::StoodBack { group: group(), why: Why::NoQuorum }));
    cluster.cut.clear();
    cluster.pass(Duration::from_secs(3), &[0]);
    assert_eq!((cluster.holders(), ordered(&cluster)), (vec![], 1));
    fenced(&mut cluster, true);
    cluster.pass(Duration::from_millis(30), &[0]);
    assert_eq!((cluster.holders(), ordered(&cluster)), (vec![1], 1));
}

/// It boots, and is silent until it has: nothing has to be made sure of a second time, until it is heard.
#[test]
fn who_was_fenced_is_fenced_again_only_after_it_was_heard() {
    let mut cluster = fencing(true);
    while ordered(&cluster) == 0 {
        cluster.pass(Duration::from_millis(10), &[0]);
    }
    cluster.isolate(1);
    cluster.pass(Duration::from_millis(10), &[0]);
    fenced(&mut cluster, true);
    // Without votes it stands back, as often as it asks.
    cluster.pass(Duration::from_secs(5), &[0]);
    cluster.cut.clear();
    cluster.pass(Duration::from_secs(2), &[0]);
    assert_eq!((cluster.holders(), ordered(&cluster)), (vec![1], 1));

    let life = settings(0, 2, true, &|settings| settings.life = 77);
    cluster.nodes[0] = Node::new(life, &[], cluster.now);
    well(&mut cluster.nodes[0]);
    cluster.pass(Duration::from_secs(2), &[]);
    let now = cluster.now;
    cluster.nodes[1].standby(group(), now).unwrap();
    cluster.pass(Duration::from_secs(2), &[]);
    assert_eq!(cluster.holders(), [0]);
    cluster.pass(Duration::from_secs(2), &[0]);
    assert_eq!((cluster.holders(), ordered(&cluster)), (vec![], 2));
}
