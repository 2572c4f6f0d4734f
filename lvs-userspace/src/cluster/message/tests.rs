//! The layout, what is refused, and that a later build is understood.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn group()(
        group in any::<u64>(),
        epoch in any::<u64>(),
        claims in any::<bool>(),
        hold in any::<u32>(),
        promise in any::<Option<(u64, u64)>>(),
        is_ready in any::<bool>(),
        wants in any::<bool>(),
        is_fit in any::<bool>(),
        score in any::<u16>(),
        digest in any::<u64>(),
    ) -> GroupBeat {
        GroupBeat {
            group: GroupId(group),
            epoch,
            claims,
            hold,
            promise: promise.map(|(to, epoch)| Promise { to: NodeId(to), epoch }),
            is_ready,
            wants,
            fitness: Fitness { is_fit, score },
            digest,
        }
    }
}

prop_compose! {
    fn beat()(
        (sender, life, sequence) in any::<(u64, u64, u64)>(),
        is_answer in any::<bool>(),
        (keepalive, deadtime) in any::<(u32, u32)>(),
        echoes in prop::collection::btree_map((0..5_u64, any::<u64>()), any::<u64>(), 0..=ECHOES),
        groups in prop::collection::vec(group(), 0..=GROUPS),
    ) -> Beat {
        let mut groups = groups;
        groups.sort_by_key(|group| group.group);
        groups.dedup_by_key(|group| group.group);
        Beat {
            sender: NodeId(sender),
            life,
            sequence,
            is_answer,
            keepalive,
            deadtime,
            echoes: echoes.into_iter().map(|((node, life), sequence)| Echo { node: NodeId(node), life, sequence }).collect(),
            groups,
        }
    }
}

/// With fields that a later build may have added, each part so many bytes longer.
fn of_a_later_build(beat: &Beat, longer: [u8; 3]) -> Vec<u8> {
    let bytes = encode(beat);
    let sizes = [HEAD, ECHO, GROUP];
    let mut later = bytes[..PREAMBLE].to_vec();
    let mut rest = &bytes[PREAMBLE..];
    for (part, count) in [1, beat.echoes.len(), beat.groups.len()].into_iter().enumerate() {
        later[1 + part] += longer[part];
        for _ in 0..count {
            let (known, others) = rest.split_at(sizes[part].into());
            later.extend(known);
            later.extend(vec![0xa5; longer[part].into()]);
            rest = others;
        }
    }
    later
}

/// The layout, which both ends must agree on, byte by byte.
#[test]
fn bytes_stand_where_the_layout_says() {
    let beat = Beat {
        sender: NodeId(0x0101_0101_0101_0101),
        life: 0x0202_0202_0202_0202,
        sequence: 3,
        is_answer: true,
        keepalive: 100,
        deadtime: 500,
        echoes: vec![Echo { node: NodeId(4), life: 5, sequence: 6 }],
        groups: vec![GroupBeat {
            group: GroupId(7),
            epoch: 8,
            claims: true,
            hold: 9,
            promise: Some(Promise { to: NodeId(10), epoch: 11 }),
            is_ready: true,
            wants: false,
            fitness: Fitness { is_fit: true, score: 12 },
            digest: 13,
        }],
    };
    #[rustfmt::skip]
    let expected = [
        1, 33, 24, 47, 1, 1,
        1, 1,1,1,1,1,1,1,1, 2,2,2,2,2,2,2,2, 0,0,0,0,0,0,0,3, 0,0,0,100, 0,0,1,244,
        0,0,0,0,0,0,0,4, 0,0,0,0,0,0,0,5, 0,0,0,0,0,0,0,6,
        0,0,0,0,0,0,0,7, 0,0,0,0,0,0,0,8, 1 + 2 + 4 + 16, 0,0,0,9,
        0,0,0,0,0,0,0,10, 0,0,0,0,0,0,0,11, 0,12, 0,0,0,0,0,0,0,13,
    ];
    assert_eq!(encode(&beat), expected);
}

#[test]
fn what_is_no_message_is_refused() {
    let echo = |node| Echo { node: NodeId(node), life: 1, sequence: 1 };
    let beat = Beat {
        sender: NodeId(1),
        life: 1,
        sequence: 1,
        is_answer: false,
        keepalive: 100,
        deadtime: 500,
        echoes: vec![echo(2), echo(3)],
        groups: Vec::new(),
    };
    let right = encode(&beat);
    let with = |at: usize, byte: u8| {
        let mut wrong = right.clone();
        wrong[at] = byte;
        decode(&wrong)
    };
    assert_eq!(decode(&right).as_ref(), Ok(&beat));
    assert_eq!(with(0, 2), Err(Refusal::Version(2)));
    assert_eq!(with(1, HEAD - 1), Err(Refusal::Malformed), "a head too small for its fields");
    assert_eq!(with(4, 1), Err(Refusal::Malformed), "an echo more than it says");
    assert_eq!(with(4, ECHOES as u8 + 1), Err(Refusal::Malformed), "more echoes than there may be");
    assert_eq!(with(5, 1), Err(Refusal::Malformed), "a group less than it says");
    assert_eq!(decode(&[&right[..], &[0]].concat()), Err(Refusal::Malformed), "a byte too many");
    assert_eq!(
        decode(&encode(&Beat { echoes: vec![echo(2), echo(2)], ..beat.clone() })),
        Err(Refusal::Malformed)
    );
    let two_lives = Beat { echoes: vec![echo(2), Echo { life: 2, ..echo(2) }], ..beat };
    assert_eq!(decode(&encode(&two_lives)), Ok(two_lives), "a node that has started again is echoed twice");
}

#[test]
fn a_message_says_no_more_than_a_cluster_has() {
    let echo = |node| Echo { node: NodeId(node), life: 1, sequence: 1 };
    let beat = Beat {
        sender: NodeId(1),
        life: 1,
        sequence: 1,
        is_answer: false,
        keepalive: 100,
        deadtime: 500,
        echoes: (0..20).map(echo).collect(),
        groups: Vec::new(),
    };
    assert_eq!(decode(&encode(&beat)).unwrap().echoes.len(), ECHOES);
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(beat in beat()) {
        let bytes = encode(&beat);
        prop_assert!(bytes.len() + keys::OVERHEAD <= size(beat.echoes.len(), beat.groups.len()));
        prop_assert_eq!(decode(&bytes), Ok(beat));
    }

    #[test]
    fn fields_of_a_later_build_are_skipped(beat in beat(), longer in any::<[bool; 3]>(), by in 1..50u8) {
        let later = of_a_later_build(&beat, longer.map(|longer| if longer { by } else { 0 }));
        prop_assert_eq!(decode(&later), Ok(beat));
    }

    #[test]
    fn no_part_of_a_message_is_a_message(beat in beat(), at in any::<prop::sample::Index>()) {
        let bytes = encode(&beat);
        prop_assert_eq!(decode(&bytes[..at.index(bytes.len())]), Err(Refusal::Malformed));
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), is_ours in any::<bool>()) {
        let head: &[u8] = if is_ours { &[VERSION, HEAD, ECHO, GROUP] } else { &[] };
        if let Ok(beat) = decode(&[head, &bytes].concat()) {
            prop_assert_eq!(decode(&encode(&beat)), Ok(beat));
        }
    }
}
