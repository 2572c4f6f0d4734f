//! Messages that are not believed.

use super::*;

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
