//! This run against a recorded one: what became slower, or better, by more than chance.

use std::fmt;

use super::figure::{Figure, Spread};
use super::report::{Report, number, without_common_start};

/// Less than this share is never reported, however little the samples spread: two builds of the same
/// source differ as much by how the code lies in memory.
const TOLERANCE: f64 = 0.05;
/// The same where one run was quick: its few samples do not show the whole spread.
const QUICK_TOLERANCE: f64 = 0.1;

/// A figure that has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub section: String,
    pub case: String,
    /// Ratios to the reference where there is one, else values.
    pub before: f64,
    pub now: f64,
    pub worse: bool,
    is_ratio: bool,
    unit: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Ratios before values, which move with the machine's load; the worst first.
    pub changes: Vec<Change>,
    /// Figures that both runs have.
    pub compared: usize,
    /// Figures of the sections that were run which only the recorded run has.
    pub missing: Vec<String>,
    /// Why the figures without a reference say little, if they do.
    pub caveats: Vec<String>,
}

pub fn compare(recorded: &Report, current: &Report) -> Comparison {
    let mut comparison = Comparison::default();
    for before in &recorded.figures {
        let same = |now: &&Figure| now.section == before.section && now.case == before.case;
        let Some(now) = current.figures.iter().find(same) else {
            // A quick run leaves cases out by intent.
            let same_kind = recorded.quick == current.quick;
            if same_kind && current.sections().contains(&before.section.as_str()) {
                comparison.missing.push(format!("{}: {}", before.section, before.case));
            }
            continue;
        };
        // Another unit or reference: the figure means something else today.
        if before.unit == now.unit && before.reference == now.reference {
            comparison.compared += 1;
            comparison.changes.extend(change(before, recorded, now, current));
        }
    }
    comparison.changes.sort_by(|left, right| {
        let ratios_first = right.is_ratio.cmp(&left.is_ratio);
        ratios_first.then_with(|| right.badness().total_cmp(&left.badness()))
    });
    if recorded.machine != current.machine {
        comparison.caveats.push("the recorded run is of another machine, kernel or compiler".to_owned());
    }
    if recorded.quick != current.quick {
        comparison.caveats.push("one run was quick, the other was not".to_owned());
    }
    comparison
}

fn change(before: &Figure, recorded: &Report, now: &Figure, current: &Report) -> Option<Change> {
    let (old, new) = (before.judged(&recorded.figures)?, now.judged(&current.figures)?);
    let old_spread = before.judged_spread(&recorded.figures)?;
    let new_spread = now.judged_spread(&current.figures)?;
    let share = (new - old).abs() / old.abs().max(f64::MIN_POSITIVE);
    let tolerance = if recorded.quick || current.quick { QUICK_TOLERANCE } else { TOLERANCE };
    if share <= tolerance || overlap(old_spread, new_spread) {
        return None;
    }
    Some(Change {
        section: now.section.clone(),
        case: now.case.clone(),
        before: old,
        now: new,
        worse: !now.better.reaches(new, old),
        is_ratio: now.reference.is_some(),
        unit: match &now.reference {
            Some(reference) => format!("x {}", without_common_start(reference, &now.case)),
            None => now.unit.clone(),
        },
    })
}

fn overlap(one: Spread, other: Spread) -> bool {
    one.low <= other.high && other.low <= one.high
}

impl Change {
    /// How many times as bad as before: above 1 where it is worse.
    fn badness(&self) -> f64 {
        let growth = self.now.max(f64::MIN_POSITIVE) / self.before.max(f64::MIN_POSITIVE);
        let growth = growth.max(growth.recip());
        if self.worse { growth } else { growth.recip() }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, case, before, now, worse, unit, .. } = self;
        let word = if *worse { "worse " } else { "better" };
        let percent = (now / before - 1.0) * 100.0;
        write!(
            out,
            "{word} {section}: {case}: {} -> {} {unit} ({percent:+.0} %)",
            number(*before),
            number(*now)
        )
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worse = self.changes.iter().filter(|change| change.worse).count();
        writeln!(
            out,
            "against the recorded run: {} figures compared, {worse} worse and {} better by more than the spread",
            self.compared,
            self.changes.len() - worse
        )?;
        for caveat in &self.caveats {
            writeln!(out, "  (careful: {caveat}; trust ratios only)")?;
        }
        self.changes.iter().try_for_each(|change| writeln!(out, "  {change}"))?;
        self.missing.iter().try_for_each(|case| writeln!(out, "  not measured this time: {case}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::figure::Better;
    use super::super::report::tests::{figure, report};
    use super::*;

    fn run(floor: f64, flow: &[f64], applied: &[f64]) -> Report {
        let mut rate = figure("rate", &[1000.0 / floor], None, None);
        rate.better = Better::Higher;
        report(vec![
            figure("floor", &vec![floor; flow.len()], None, None),
            figure("flow", flow, Some("floor"), None),
            figure("apply", applied, None, None),
            rate,
        ])
    }

    #[test]
    fn a_slower_machine_is_no_slower_program() {
        let before = run(50.0, &[80.0, 82.0, 84.0], &[5.0]);
        let now = run(100.0, &[160.0, 164.0, 168.0], &[5.1]);
        let comparison = compare(&before, &now);
        let cases: Vec<_> = comparison.changes.iter().map(|change| change.case.as_str()).collect();
        assert_eq!(cases, ["floor", "rate"], "only what has no reference moved: {comparison}");
        assert!(comparison.changes.iter().all(|change| change.worse));
        assert_eq!(comparison.compared, 4);
    }

    #[test]
    fn only_what_leaves_both_spreads_counts() {
        let before = run(50.0, &[80.0, 100.0, 120.0], &[5.0]);
        assert_eq!(compare(&before, &run(50.0, &[118.0, 119.0, 119.5], &[5.0])).changes, []);
        let slower = compare(&before, &run(50.0, &[125.0, 130.0, 140.0], &[5.0]));
        assert_eq!(slower.changes.len(), 1);
        assert_eq!((slower.changes[0].before, slower.changes[0].now), (2.0, 2.6));
        assert!(slower.to_string().contains("worse  program: flow: 2.00 -> 2.60 x floor (+30 %)"));
    }

    #[test]
    fn the_worst_comes_first_and_what_is_missing_is_named() {
        let before = run(50.0, &[100.0], &[10.0]);
        let mut now = run(50.0, &[120.0], &[4.0]);
        now.figures.push(figure("apply more", &[1.0], None, None));
        now.figures.retain(|figure| figure.case != "rate");
        let comparison = compare(&before, &now);
        let worse: Vec<_> = comparison.changes.iter().map(|change| change.worse).collect();
        assert_eq!(worse, [true, false]);
        assert_eq!(comparison.missing, ["program: rate"]);
        now.quick = true;
        let quick = compare(&before, &now);
        assert_eq!((quick.missing.len(), quick.caveats.len()), (0, 1));
        let other_section = report(vec![]);
        assert_eq!(compare(&before, &other_section), Comparison::default(), "a section that was not run");
    }
}
