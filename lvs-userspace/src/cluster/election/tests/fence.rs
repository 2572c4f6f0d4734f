//! Several groups, and programs that fence.

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

#[test]
fn a_program_that_fences_has_to_succeed_in_each_attempt() {
    for voter in [false, true] {
        let mut cluster = Cluster::with(2, voter, |settings| settings.groups[0].fences = true);
        cluster.pass(Duration::from_secs(1), &[]);
        for attempt in 0..4 {
            let mut asked = None;
            while asked.is_none() {
                cluster.outputs.clear();
                cluster.pass(Duration::from_millis(10), &[0]);
                assert_ne!(cluster.holders(), [1], "voter {voter}, attempt {attempt}");
                asked = cluster.outputs.iter().find_map(|(_, output)| match output {
                    Output::Do(Task::Fence { attempt, node, .. }) if *node == id(0) => Some(*attempt),
                    _ => None,
                });
            }
            cluster.nodes[1].fenced(group(), asked.unwrap(), false);
        }
        assert!(cluster.told(1, &Notice::StoodBack { group: group(), why: Why::NotFenced }));
    }
}

#[test]
fn a_program_that_fences_has_to_succeed_and_may_take_its_time() {
    for voter in [false, true] {
        let mut cluster = Cluster::with(2, voter, |settings| settings.groups[0].fences = true);
        cluster.pass(Duration::from_secs(1), &[]);
        assert_eq!(cluster.holders(), [0], "nobody had it before");
        cluster.pass(Duration::from_secs(2), &[0]);
        assert_eq!(cluster.holders(), [0; 0], "voter {voter}");
        let asked = cluster.outputs.iter().rev().find_map(|(_, output)| match output {
            Output::Do(Task::Fence { attempt, node, .. }) if *node == id(0) => Some(*attempt),
            _ => None,
        });
        cluster.nodes[1].fenced(group(), asked.unwrap(), true);
        cluster.pass(Duration::from_millis(30), &[0]);
        assert_eq!(cluster.holders(), [1], "voter {voter}");
    }
}
