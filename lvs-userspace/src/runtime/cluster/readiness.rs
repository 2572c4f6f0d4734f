//! Whether a director that has begun knows enough to hold a group. Pure.

/// What has come from one of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Come {
    /// It holds a group, as far as is known here.
    pub(super) holds: bool,
    /// It is about to tell connections; it has told all.
    pub(super) is_followed: bool,
    pub(super) has_connections: bool,
    /// It has told its desired state, or that it has none.
    pub(super) is_known: bool,
    pub(super) has_state: bool,
}

/// Nothing is missing: those who hold a group have told everything. Where nobody is known to hold any, all others have
/// to say that they have nothing else to tell. `is_active`: this director goes on with what it held.
pub(super) fn is_complete(others: &[Come], is_active: bool) -> bool {
    let mut holders = others.iter().filter(|one| one.holds).peekable();
    if holders.peek().is_none() {
        return others.iter().all(|one| one.has_connections && (one.is_known || is_active));
    }
    holders.all(|one| one.has_connections && one.has_state)
}

/// Somebody is there, and has not told everything yet. One that is dead is not waited for.
pub(super) fn is_coming(others: &[Come]) -> bool {
    others
        .iter()
        .any(|one| (one.is_followed || one.is_known || one.holds) && !(one.has_connections && one.is_known))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Come =
        Come { holds: false, is_followed: false, has_connections: false, is_known: false, has_state: false };
    /// It stands by, and has said so.
    const STANDBY: Come = Come { is_followed: true, has_connections: true, is_known: true, ..NOTHING };
    const HOLDER: Come = Come { holds: true, has_state: true, ..STANDBY };

    #[test]
    fn who_holds_a_group_is_waited_for_and_no_other() {
        assert!(is_complete(&[HOLDER, NOTHING], false));
        assert!(is_complete(&[HOLDER, STANDBY], false));
        for missing in [
            Come { has_connections: false, ..HOLDER },
            Come { has_state: false, ..HOLDER },
            Come { is_known: false, has_state: false, ..HOLDER },
        ] {
            // Two groups, two holders: what each says counts for its own, also where this director holds a third one.
            for one in [STANDBY, HOLDER] {
                for is_active in [false, true] {
                    assert!(!is_complete(&[one, missing], is_active), "{missing:?}");
                }
            }
        }
        assert!(is_complete(&[HOLDER, HOLDER], true));
    }

    #[test]
    fn where_nobody_holds_anything_all_have_to_say_so() {
        assert!(is_complete(&[STANDBY, STANDBY], false));
        assert!(!is_complete(&[STANDBY, NOTHING], false));
        assert!(!is_complete(&[STANDBY, Come { is_known: false, ..STANDBY }], false));
        assert!(is_complete(&[STANDBY, Come { is_known: false, ..STANDBY }], true));
    }

    #[test]
    fn the_dead_are_not_waited_for() {
        assert!(!is_coming(&[NOTHING, STANDBY, HOLDER]));
        assert!(is_coming(&[NOTHING, Come { is_followed: true, ..NOTHING }]));
        assert!(is_coming(&[Come { is_known: true, ..NOTHING }]));
        assert!(is_coming(&[Come { holds: true, ..NOTHING }]));
    }
}
