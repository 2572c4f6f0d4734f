//! From results in a row to a standing. Pure.

use serde::{Deserialize, Serialize};

/// What is held true of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// There was no result yet.
    #[default]
    Untested,
    Up,
    Down,
}

/// A standing, and the results that contradict it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    standing: Standing,
    contrary: u32,
}

impl Streak {
    pub const fn new(standing: Standing) -> Self {
        Self { standing, contrary: 0 }
    }

    pub const fn standing(self) -> Standing {
        self.standing
    }

    /// Results in a row that contradict the standing, too few of them to change it.
    pub const fn contrary(self) -> u32 {
        self.contrary
    }

    /// Counts a result; whether the standing is another one now. `rise` and `fall` results in a row change
    /// it; the very first result decides alone, since nothing is known that it could contradict.
    pub fn record(&mut self, passed: bool, rise: u32, fall: u32) -> bool {
        let (seen, needed) = match passed {
            true => (Standing::Up, rise),
            false => (Standing::Down, fall),
        };
        if seen == self.standing {
            self.contrary = 0;
            return false;
        }
        self.contrary += 1;
        let changes = self.standing == Standing::Untested || self.contrary >= needed;
        if changes {
            *self = Self::new(seen);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(results: &[bool], rise: u32, fall: u32) -> Streak {
        let mut streak = Streak::default();
        for passed in results {
            streak.record(*passed, rise, fall);
        }
        streak
    }

    #[test]
    fn the_first_result_decides_alone() {
        assert_eq!(after(&[], 3, 3).standing(), Standing::Untested);
        assert_eq!(after(&[true], 3, 3).standing(), Standing::Up);
        assert_eq!(after(&[false], 3, 3).standing(), Standing::Down);
    }

    #[test]
    fn only_results_in_a_row_count() {
        assert_eq!(after(&[true, false, false], 2, 3), Streak { standing: Standing::Up, contrary: 2 });
        assert_eq!(after(&[true, false, false, true], 2, 3), Streak::new(Standing::Up));
        assert_eq!(after(&[true, false, false, false], 2, 3), Streak::new(Standing::Down));
        assert_eq!(
            after(&[false, true, false, true], 2, 3),
            Streak { standing: Standing::Down, contrary: 1 }
        );
        assert_eq!(after(&[false, true, true], 2, 3), Streak::new(Standing::Up));
    }

    proptest! {
        /// The standing is that of the latest run of results long enough to decide.
        #[test]
        fn the_latest_decisive_run_wins(
            results in prop::collection::vec(any::<bool>(), 1..60),
            rise in 1..6u32,
            fall in 1..6u32,
        ) {
            let mut expected = results[0];
            let mut run = 0;
            for pair in results.windows(2) {
                run = if pair[0] == pair[1] { run + 1 } else { 1 };
                let needed = if pair[1] { rise } else { fall };
                if run >= needed {
                    expected = pair[1];
                }
            }
            let standing = after(&results, rise, fall).standing();
            prop_assert_eq!(standing, if expected { Standing::Up } else { Standing::Down });
        }

        /// Whoever alternates for ever never changes a standing that needs two in a row.
        #[test]
        fn alternation_changes_nothing(rise in 2..6u32, fall in 2..6u32, rounds in 1..100usize) {
            let mut streak = Streak::new(Standing::Up);
            for round in 0..rounds {
                prop_assert!(!streak.record(round % 2 == 1, rise, fall));
            }
        }
    }
}
