//! Single rules; that they hold together is the simulator's to show (`cargo xtask sim`).

use std::time::Duration;

use super::*;
use crate::cluster::beat::{Echo, Promise};

const KEEPALIVE: Duration = Duration::from_millis(100);
const DEADTIME: Duration = Duration::from_millis(500);

fn id(number: usize) -> NodeId {
    NodeId::of(&format!("director-{number}"))
}

fn group() -> GroupId {
    GroupId::of("www")
}

/// Directors, and perhaps a voter, that hear each other at once.
struct Cluster {
    nodes: Vec<Node>,
    voter: Option<Voter>,
    now: Duration,
    /// `(from, to)`: nothing passes.
    cut: Vec<(usize, usize)>,
    /// The lease of each, as the data plane has it.
    leases: Vec<Duration>,
    /// What the wire says of the addresses.
    wire: Wire,
    /// Connections are told at once when it is asked for, or never.
    tells: bool,
    notices: Vec<(usize, Notice)>,
    outputs: Vec<(usize, Output)>,
}

impl Cluster {
    fn new(directors: usize, has_voter: bool) -> Self {
        Self::with(directors, has_voter, |_| {})
    }

    fn with(directors: usize, has_voter: bool, change: impl Fn(&mut Settings)) -> Self {
        let now = Duration::from_secs(100);
        let nodes =
            (0..directors).map(|number| Node::new(settings(number, directors, has_voter, &change), &[], now));
        let mut cluster = Self {
            nodes: nodes.collect(),
            voter: has_voter.then(|| Voter::new(NodeId::of("witness"), 1, Duration::ZERO, now)),
            now,
            cut: Vec::new(),
            leases: vec![Duration::ZERO; directors],
            wire: Wire::Silent,
            tells: true,
            notices: Vec::new(),
            outputs: Vec::new(),
        };
        cluster.nodes.iter_mut().for_each(well);
        cluster
    }

    fn isolate(&mut self, member: usize) {
        for other in 0..=self.nodes.len() {
            self.cut.extend([(member, other), (other, member)]);
        }
    }

    /// Lets time pass, ten milliseconds at a time; those in `stopped` do nothing.
    fn pass(&mut self, time: Duration, stopped: &[usize]) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(10);
            for number in (0..self.nodes.len()).filter(|number| !stopped.contains(number)) {
                self.nodes[number].tick(self.now);
                self.carry_out(number, stopped);
            }
        }
    }

    fn carry_out(&mut self, from: usize, stopped: &[usize]) {
        for output in self.nodes[from].take_outputs() {
            self.outputs.push((from, output.clone()));
            match output {
                Output::Send(beat) => self.send(from, &beat, stopped),
                Output::Lease { ends, .. } => self.leases[from] = ends,
                Output::Do(Task::Probe { group, attempt }) => {
                    self.nodes[from].probed(group, attempt, self.wire, self.now);
                }
                Output::Do(Task::Tidy { group }) if self.tells => self.nodes[from].tidied(group),
                Output::Do(Task::Tell(notice)) => self.notices.push((from, notice)),
                Output::Do(_) => {}
            }
        }
    }

    fn send(&mut self, from: usize, beat: &Beat, stopped: &[usize]) {
        for to in 0..self.nodes.len() {
            if to != from && !stopped.contains(&to) && !self.cut.contains(&(from, to)) {
                self.nodes[to].receive(beat, self.now);
            }
        }
        let voter = self.nodes.len();
        if let Some(member) = &mut self.voter
            && !self.cut.contains(&(from, voter))
            && let (_, Some(answer)) = member.receive(beat, self.now)
            && !self.cut.contains(&(voter, from))
        {
            self.nodes[from].receive(&answer, self.now);
        }
    }

    fn holders(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.leases[*number] > self.now).collect()
    }

    fn told(&self, number: usize, notice: &Notice) -> bool {
        self.notices.iter().any(|(of, told)| *of == number && told == notice)
    }
}

fn settings(number: usize, directors: usize, has_voter: bool, change: &dyn Fn(&mut Settings)) -> Settings {
    let mut settings = Settings {
        node: id(number),
        life: 1000 + number as u64,
        peers: (0..directors).filter(|other| *other != number).map(id).collect(),
        voter: has_voter.then(|| NodeId::of("witness")),
        keepalive: KEEPALIVE,
        deadtime: DEADTIME,
        initdead: Duration::from_secs(2),
        failback: None,
        groups: vec![GroupSettings {
            group: group(),
            order: (0..directors).map(id).collect(),
            fences: false,
        }],
    };
    change(&mut settings);
    settings
}

fn well(node: &mut Node) {
    node.set_fitness(group(), Fitness { is_fit: true, score: 100 });
    node.set_ready(group(), true);
}

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

#[test]
fn what_was_recorded_changes_nothing() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    let recorded: Vec<Beat> = cluster
        .outputs
        .iter()
        .filter_map(|(of, output)| match output {
            Output::Send(beat) if *of == 0 => Some(beat.clone()),
            _ => None,
        })
        .collect();
    // In the same life, in the sender's next one, and in another life of the receiver.
    for beat in &recorded {
        assert_eq!(cluster.nodes[1].receive(beat, cluster.now), Received::Old);
    }
    cluster.nodes[0] = Node::new(settings(0, 2, false, &|settings| settings.life = 77), &[], cluster.now);
    well(&mut cluster.nodes[0]);
    cluster.pass(Duration::from_millis(50), &[]);
    for beat in &recorded {
        assert_eq!(cluster.nodes[1].receive(beat, cluster.now), Received::Old, "a life that is over");
    }
    let mut next = Node::new(settings(1, 2, false, &|settings| settings.life = 99), &[], cluster.now);
    for beat in &recorded {
        assert_ne!(next.receive(beat, cluster.now), Received::Accepted);
    }
    assert_eq!(next.holder(group(), cluster.now), None);
}

#[test]
fn strangers_and_futures_are_not_believed() {
    let mut cluster = Cluster::new(2, false);
    cluster.pass(Duration::from_secs(1), &[]);
    let beat = |sender, sequence| Beat {
        sender,
        life: 1000,
        sequence,
        is_answer: false,
        keepalive: 100,
        deadtime: 500,
        echoes: vec![Echo { node: id(1), life: 1001, sequence: u64::MAX }],
        groups: vec![GroupBeat {
            group: group(),
            epoch: 9,
            claims: false,
            hold: 0,
            promise: Some(Promise { to: id(1), epoch: 9 }),
            is_ready: false,
            wants: false,
            fitness: Fitness::default(),
            digest: 0,
        }],
    };
    let now = cluster.now;
    assert_eq!(cluster.nodes[1].receive(&beat(NodeId(1), 1), now), Received::Stranger);
    assert_eq!(cluster.nodes[1].receive(&beat(id(1), 1), now), Received::Stranger, "oneself");
    assert_eq!(cluster.nodes[1].receive(&beat(id(0), 1 << 40), now), Received::Accepted);
    cluster.nodes[1].tick(now);
    assert_eq!(cluster.nodes[1].holds(group(), now), None, "an echo of what was never sent is no evidence");
}

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
