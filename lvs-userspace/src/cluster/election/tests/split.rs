//! Directors that do not hear each other.

use super::*;

#[test]
fn with_a_voter_a_split_pair_has_one_holder() {
    let mut cluster = Cluster::new(2, true);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.cut = vec![(0, 1), (1, 0)];
    cluster.pass(Duration::from_secs(5), &[]);
    assert_eq!(cluster.holders(), [0], "who has the voter's promise goes on");
    assert!(cluster.told(1, &Notice::StoodBack { group: group(), why: Why::NoQuorum }));

    cluster.isolate(0);
    for _ in 0..300 {
        cluster.pass(Duration::from_millis(10), &[]);
        assert!(cluster.holders().len() < 2);
    }
    assert_eq!(cluster.holders(), [1], "who is cut off from all loses it");
    assert!(cluster.told(0, &Notice::Lapsed { group: group() }));

    cluster.cut.clear();
    cluster.pass(Duration::from_secs(2), &[]);
    assert_eq!(cluster.holders(), [1]);
    assert!(
        cluster
            .outputs
            .iter()
            .any(|(of, output)| *of == 1 && *output == Output::Do(Task::Announce { group: group() }))
    );
}

/// What has been asked for in vain is no term: the holder of before has both votes again.
#[test]
fn after_a_split_either_vote_is_enough_again() {
    let mut cluster = Cluster::new(2, true);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.cut = vec![(0, 1), (1, 0)];
    cluster.pass(Duration::from_secs(5), &[]);
    assert!(cluster.told(1, &Notice::StoodBack { group: group(), why: Why::NoQuorum }));
    cluster.cut.clear();
    cluster.pass(DEADTIME, &[]);
    cluster.isolate(2);
    cluster.pass(Duration::from_secs(5), &[]);
    assert_eq!(cluster.holders(), [0]);
    assert!(!cluster.told(0, &Notice::Lapsed { group: group() }));
}

#[test]
fn a_director_that_is_not_heard_goes_silent_although_it_hears() {
    for voter in [false, true] {
        let mut cluster = Cluster::new(2, voter);
        cluster.pass(Duration::from_secs(1), &[]);
        cluster.cut = vec![(0, 1), (0, 2)];
        for _ in 0..200 {
            cluster.pass(Duration::from_millis(10), &[]);
            assert!(cluster.holders().len() < 2);
        }
        assert_eq!(cluster.holders(), [1], "voter {voter}");
    }
}

#[test]
fn without_a_voter_who_is_answered_for_the_addresses_stands_back() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.cut = vec![(0, 1), (1, 0)];
    cluster.wire = Wire::Answered;
    cluster.pass(Duration::from_secs(3), &[]);
    assert_eq!(cluster.holders(), [0]);
    assert!(cluster.told(1, &Notice::StoodBack { group: group(), why: Why::Answered }));
}

/// Neither holds the group, neither hears the other, and both ask at once: who is earlier in the order asks again first,
/// and then nobody else asks.
#[test]
fn without_a_voter_questions_that_cross_let_both_stand_back() {
    let mut cluster = Cluster::new(2, false);
    cluster.isolate(0);
    cluster.wire = Wire::Asked;
    while !(0..2)
        .all(|number| cluster.told(number, &Notice::StoodBack { group: group(), why: Why::Contended }))
    {
        cluster.pass(Duration::from_millis(10), &[]);
        assert_eq!(cluster.holders(), [0; 0]);
    }
    cluster.wire = Wire::Silent;
    let begun = cluster.now;
    while cluster.holders().is_empty() {
        cluster.pass(Duration::from_millis(10), &[]);
    }
    assert_eq!(cluster.holders(), [0]);
    assert!(cluster.now - begun <= DEADTIME + KEEPALIVE / 2, "{:?}", cluster.now - begun);
}

#[test]
fn with_a_majority_votes_decide_and_not_questions_of_others() {
    for (directors, voter) in [(2, true), (3, false)] {
        let mut cluster = Cluster::new(directors, voter);
        cluster.wire = Wire::Asked;
        cluster.pass(2 * DEADTIME, &[]);
        assert_eq!(cluster.holders(), [0], "{directors} directors, voter {voter}");
    }
}

/// What was found out for an earlier attempt, or is of long ago, says nothing of now.
#[test]
fn answers_that_are_late_are_asked_for_again() {
    let mut cluster = Cluster::new(2, false);
    cluster.isolate(0);
    let mut node = cluster.nodes.swap_remove(0);
    let mut now = cluster.now + Duration::from_secs(2);
    let asked = |node: &mut Node, now: Duration| {
        node.tick(now);
        node.take_outputs().into_iter().find_map(|output| match output {
            Output::Do(Task::Probe { attempt, .. }) => Some(attempt),
            _ => None,
        })
    };
    // It was not run until now, and waits for the dead time.
    assert_eq!(asked(&mut node, now), None);
    let mut step = |node: &mut Node, time: Duration| {
        now += time;
        (asked(node, now), now)
    };
    assert_eq!(step(&mut node, KEEPALIVE * 4).0, None);
    let (first, listened) = step(&mut node, KEEPALIVE * 4);
    let first = first.unwrap();
    node.probed(group(), first + 1, Wire::Silent, listened);
    let (again, now) = step(&mut node, DEADTIME / 2);
    assert_eq!((again, node.holds(group(), now)), (None, None), "another attempt's answer");
    node.probed(group(), first, Wire::Silent, listened);
    let (again, now) = step(&mut node, Duration::from_millis(1));
    assert_eq!(node.holds(group(), now), None, "somebody may have asked since");
    let again = again.unwrap();
    assert_ne!(again, first);
    node.probed(group(), first, Wire::Silent, now);
    let (none, now) = step(&mut node, Duration::from_millis(1));
    assert_eq!((none, node.holds(group(), now)), (None, None), "the first question's answer");
    node.probed(group(), again, Wire::Silent, now);
    let (_, now) = step(&mut node, DEADTIME / 2);
    assert_eq!(node.holds(group(), now), Some(1));
}

#[test]
fn without_a_voter_a_split_heals_for_the_later_term() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.cut = vec![(0, 1), (1, 0)];
    cluster.pass(Duration::from_secs(3), &[]);
    assert_eq!(cluster.holders(), [0, 1], "the weaker rule: nobody answered, so that both serve");
    cluster.cut.clear();
    cluster.pass(Duration::from_millis(300), &[]);
    assert_eq!(cluster.holders(), [1]);
}

#[test]
fn a_director_that_is_cut_off_does_not_go_on_alone() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    cluster.nodes[0].set_fitness(group(), Fitness { is_fit: false, score: 0 });
    cluster.isolate(0);
    for _ in 0..100 {
        cluster.pass(Duration::from_millis(10), &[]);
        assert!(cluster.holders().len() < 2);
    }
    assert_eq!(cluster.holders(), [1]);
}

/// It claims its group, everybody hears that, and no vote comes back.
#[test]
fn a_director_that_hears_nobody_is_replaced_although_it_is_heard() {
    for (directors, has_voter) in [(2, true), (3, false), (4, true)] {
        let mut cluster = Cluster::new(directors, has_voter);
        cluster.pass(Duration::from_secs(3), &[]);
        assert_eq!(cluster.holders(), [0]);
        // One that hears too few is no better.
        let hears = directors - 1 - usize::from(directors < 4);
        cluster.cut =
            (1..=directors).filter(|other| *other != hears || directors < 4).map(|from| (from, 0)).collect();
        cluster.pass(8 * DEADTIME, &[]);
        assert_eq!(cluster.holders(), [1], "{directors} directors, voter: {has_voter}");
        cluster.cut.clear();
        cluster.pass(4 * DEADTIME, &[]);
        assert_eq!(cluster.holders(), [1], "{directors} directors, voter: {has_voter}");
        assert!(cluster.nodes[0].holds(group(), cluster.now).is_none());
    }
}

/// Everybody was cut off from everybody for a while, and nobody could claim anything.
#[test]
fn one_holds_the_group_when_all_hear_each_other_again() {
    let mut cluster = Cluster::new(2, true);
    cluster.pass(Duration::from_secs(3), &[]);
    (0..3).for_each(|member| cluster.isolate(member));
    cluster.pass(6 * DEADTIME, &[]);
    assert_eq!(cluster.holders(), [0; 0]);
    cluster.cut.clear();
    cluster.pass(DEADTIME, &[]);
    assert_eq!(cluster.holders().len(), 1);
    let holders = cluster.holders();
    cluster.pass(6 * DEADTIME, &[]);
    assert_eq!(cluster.holders(), holders);
}
