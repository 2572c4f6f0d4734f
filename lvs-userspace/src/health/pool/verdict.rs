//! From the standings of a real server's checks to a verdict on it. Pure.

use serde::{Deserialize, Serialize};

use super::Known;
use crate::config::model::Require;
use crate::health::threshold::Standing;

/// What is held true of a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It has no checks, and serves.
    Unchecked,
    /// Not all of its checks have had a result; it serves until one says otherwise.
    Untested,
    Up,
    Down,
}

impl Verdict {
    pub(super) const fn serves(self) -> bool {
        !matches!(self, Self::Down)
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Untested => "untested",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The verdict, and the evidence of the check that decides it: each has a standing and evidence for it.
pub(super) fn of<'a>(
    require: Require,
    checks: impl Iterator<Item = (Standing, &'a str)>,
) -> (Verdict, &'a str) {
    // The standing that decides alone, and the one that all must have for the opposite.
    let (decisive, unanimous) = match require {
        Require::All => ((Standing::Down, Verdict::Down), Verdict::Up),
        Require::Any => ((Standing::Up, Verdict::Up), Verdict::Down),
    };
    let mut verdict = (Verdict::Unchecked, "");
    for (standing, evidence) in checks {
        if standing == decisive.0 {
            return (decisive.1, evidence);
        }
        verdict = match (verdict.0, standing) {
            (_, Standing::Untested) | (Verdict::Untested, _) => (Verdict::Untested, ""),
            _ => (unanimous, evidence),
        };
    }
    verdict
}

/// How often the checks that decide have failed in a row: where all must pass the one that failed most often,
/// where any will do the one that failed least.
pub(super) fn failures<'a>(require: Require, checks: impl Iterator<Item = &'a Known>) -> u32 {
    let failures = checks.map(|known| known.failures);
    let counted = match require {
        Require::All => failures.max(),
        Require::Any => failures.min(),
    };
    counted.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_check_that_decides_count() {
        let known = |failures| Known { failures, ..Known::default() };
        let (often, seldom) = (known(7), known(2));
        assert_eq!(failures(Require::All, [&often, &seldom].into_iter()), 7);
        assert_eq!(failures(Require::Any, [&often, &seldom].into_iter()), 2);
        assert_eq!(failures(Require::All, [].into_iter()), 0);
    }

    #[test]
    fn checks_are_combined() {
        use Standing::{Down, Untested, Up};
        let verdict = |require, standings: &[Standing]| {
            let words: Vec<_> = standings.iter().map(|standing| format!("{standing:?}")).collect();
            let known = standings.iter().copied().zip(words.iter().map(String::as_str));
            let (verdict, evidence) = of(require, known);
            (verdict, evidence.to_owned())
        };
        for (standings, all, any) in [
            (&[][..], (Verdict::Unchecked, ""), (Verdict::Unchecked, "")),
            (&[Untested], (Verdict::Untested, ""), (Verdict::Untested, "")),
            (&[Up], (Verdict::Up, "Up"), (Verdict::Up, "Up")),
            (&[Down], (Verdict::Down, "Down"), (Verdict::Down, "Down")),
            (&[Up, Down], (Verdict::Down, "Down"), (Verdict::Up, "Up")),
            (&[Down, Up], (Verdict::Down, "Down"), (Verdict::Up, "Up")),
            (&[Up, Untested], (Verdict::Untested, ""), (Verdict::Up, "Up")),
            (&[Untested, Up], (Verdict::Untested, ""), (Verdict::Up, "Up")),
            (&[Untested, Down], (Verdict::Down, "Down"), (Verdict::Untested, "")),
            (&[Down, Untested, Down], (Verdict::Down, "Down"), (Verdict::Untested, "")),
        ] {
            let owned = |(verdict, evidence): (Verdict, &str)| (verdict, evidence.to_owned());
            assert_eq!(verdict(Require::All, standings), owned(all), "all of {standings:?}");
            assert_eq!(verdict(Require::Any, standings), owned(any), "any of {standings:?}");
        }
    }
}
