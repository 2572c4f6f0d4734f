//! Which of several directors' states is in force here. Pure.

use super::{Heard, Peer};

/// Of what was heard of each peer. `active` are those that hold a group, the most important first; `followed` is whose
/// state is in force now.
///
/// A new holder is followed as soon as it has told its state, and until then the one before it, for as long as that is
/// known: what it said last is nearer to the truth than this director's own checks, which know of no maintenance.
pub fn choose<T: Clone>(
    heard: &[Heard<T>],
    active: &[Peer],
    followed: Option<Peer>,
) -> (Option<Peer>, Heard<T>) {
    let state = |peer: Peer| match heard.get(peer.index()) {
        Some(Heard::State(state)) => Some((Some(peer), Heard::State(state.clone()))),
        _ => None,
    };
    let candidates = active.iter().copied().chain(followed).chain(Peer::all(heard.len()));
    let nobody = || {
        let is_known = heard.iter().any(|heard| matches!(heard, Heard::Nothing));
        (None, if is_known { Heard::Nothing } else { Heard::Unknown })
    };
    candidates.into_iter().find_map(state).unwrap_or_else(nobody)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::super::Dated;
    use super::*;

    fn says(state: u8) -> Heard<u8> {
        Heard::State(Arc::new(Dated { state, version: 1, at: Instant::now() }))
    }

    fn chosen(heard: &[Heard<u8>], active: &[u8], followed: Option<u8>) -> Option<u8> {
        let active: Vec<Peer> = active.iter().copied().map(Peer).collect();
        choose(heard, &active, followed.map(Peer)).0.map(|peer| peer.0)
    }

    #[test]
    fn a_successor_is_followed_when_it_has_spoken() {
        let [former, latter] = [says(1), says(2)];
        let before = [former.clone(), Heard::Nothing, Heard::Unknown];
        assert_eq!(chosen(&before, &[0], None), Some(0));
        assert_eq!(chosen(&before, &[1], Some(0)), Some(0), "it holds a group, and has not told yet");
        let after = [former, latter.clone(), Heard::Unknown];
        assert_eq!(chosen(&after, &[1], Some(0)), Some(1));
        assert_eq!(chosen(&after, &[], Some(0)), Some(0), "nobody is known to hold anything");
        assert_eq!(chosen(&after, &[], None), Some(0));
        assert_eq!(chosen(&[Heard::Unknown, latter], &[0], Some(0)), Some(1));
    }

    proptest! {
        /// A state that is there is in force, and of a holder if one has told.
        #[test]
        fn some_state_is_in_force(
            known in prop::collection::vec(0_u8..3, 1..8),
            active in prop::collection::vec(0_u8..8, 0..3),
            followed in prop::option::of(0_u8..8),
        ) {
            let heard: Vec<_> = known.iter().map(|what| match what {
                0 => Heard::Unknown,
                1 => Heard::Nothing,
                _ => says(0),
            }).collect();
            let tells = |peer: &u8| known.get(usize::from(*peer)) == Some(&2);
            match chosen(&heard, &active, followed) {
                Some(peer) => {
                    prop_assert!(tells(&peer));
                    prop_assert!(!active.iter().any(tells) || active.contains(&peer));
                }
                None => prop_assert!(!known.contains(&2)),
            }
        }
    }
}
