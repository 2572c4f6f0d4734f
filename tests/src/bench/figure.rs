//! One measured thing: its samples and what they are compared with.

use serde::{Deserialize, Serialize};

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Lower,
    Higher,
}

impl Better {
    /// Whether `value` is as good as `other`, or better.
    pub fn reaches(self, value: f64, other: f64) -> bool {
        match self {
            Self::Lower => value <= other,
            Self::Higher => value >= other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// `program`, `traffic`, `control`, `memory` or `sync`.
    pub section: String,
    /// What was measured, in words; together with the section it names the figure.
    pub case: String,
    pub unit: String,
    /// One for each run.
    pub samples: Vec<f64>,
    /// The case of the same section that this one is seen as a multiple of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// For the ratio if there is a reference, else for the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
    pub better: Better,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Lowest and highest of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub high: f64,
}

impl Figure {
    /// `NaN` without samples.
    pub fn median(&self) -> f64 {
        median(&self.samples)
    }

    /// The middle half of the samples: all of them where there are fewer than five.
    pub fn spread(&self) -> Spread {
        spread(&self.samples)
    }

    /// The figure that this one is seen as a multiple of, among those of the same run.
    pub fn reference_in<'a>(&self, all: &'a [Self]) -> Option<&'a Self> {
        let case = self.reference.as_ref()?;
        all.iter().find(|other| other.section == self.section && other.case == *case)
    }

    /// Median as a multiple of the reference's.
    pub fn ratio(&self, all: &[Self]) -> Option<f64> {
        let ratio = self.median() / self.reference_in(all)?.median();
        ratio.is_finite().then_some(ratio)
    }

    /// What goals and comparisons are about: the ratio if there is a reference, else the median. `None`
    /// where there is nothing to compare: no samples, or a reference that was not measured.
    pub fn judged(&self, all: &[Self]) -> Option<f64> {
        match self.reference {
            Some(_) => self.ratio(all),
            None => Some(self.median()).filter(|median| median.is_finite()),
        }
    }

    /// As [`Self::judged`], for both ends of the spread. Samples of one run are held against each other: what
    /// disturbed the machine meanwhile disturbed both.
    pub fn judged_spread(&self, all: &[Self]) -> Option<Spread> {
        let judged = match (&self.reference, self.reference_in(all)) {
            (None, _) => spread(&self.samples),
            (Some(_), None) => return None,
            (Some(_), Some(reference)) if reference.samples.len() == self.samples.len() => {
                let pairs = self.samples.iter().zip(&reference.samples);
                spread(&pairs.map(|(sample, unit)| sample / unit).collect::<Vec<_>>())
            }
            (Some(_), Some(reference)) => {
                let unit = reference.median();
                spread(&self.samples.iter().map(|sample| sample / unit).collect::<Vec<_>>())
            }
        };
        (judged.low.is_finite() && judged.high.is_finite()).then_some(judged)
    }

    /// Whether the goal is met; `None` without a goal or without anything to hold against it.
    pub fn meets_goal(&self, all: &[Self]) -> Option<bool> {
        Some(self.better.reaches(self.judged(all)?, self.goal?))
    }
}

/// `NaN` without values.
fn spread(values: &[f64]) -> Spread {
    let sorted = sorted(values);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return Spread { low: f64::NAN, high: f64::NAN };
    };
    if sorted.len() < 5 {
        return Spread { low: *first, high: *last };
    }
    let cut = sorted.len() / 4;
    Spread { low: sorted[cut], high: sorted[sorted.len() - 1 - cut] }
}

/// `NaN` without values.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(case: &str, samples: &[f64], reference: Option<&str>) -> Figure {
        Figure {
            section: "program".into(),
            case: case.into(),
            unit: "ns/packet".into(),
            samples: samples.to_vec(),
            reference: reference.map(str::to_owned),
            goal: Some(2.0),
            better: Better::Lower,
            note: None,
        }
    }

    #[test]
    fn medians_and_spreads() {
        let few = figure("few", &[30.0, 10.0, 20.0, 40.0], None);
        assert_eq!(few.median(), 25.0);
        assert_eq!(few.spread(), Spread { low: 10.0, high: 40.0 });
        let many = figure("many", &[9.0, 1.0, 3.0, 2.0, 100.0, 4.0, 5.0], None);
        assert_eq!(many.median(), 4.0);
        assert_eq!(many.spread(), Spread { low: 2.0, high: 9.0 }, "the ends do not count");
        let none = figure("none", &[], None);
        assert!(none.median().is_nan() && none.spread().low.is_nan());
    }

    #[test]
    fn ratios_are_to_a_case_of_the_same_section() {
        let mut other_section = figure("floor", &[1.0], None);
        other_section.section = "traffic".into();
        let all = [other_section, figure("floor", &[40.0, 50.0, 60.0], None)];
        let measured = figure("one flow", &[80.0, 75.0, 90.0], Some("floor"));
        assert_eq!(measured.ratio(&all), Some(1.6));
        assert_eq!(measured.judged_spread(&all), Some(Spread { low: 1.5, high: 2.0 }), "run by run");
        let more = figure("one flow", &[80.0, 75.0, 90.0, 85.0], Some("floor"));
        assert_eq!(more.judged_spread(&all), Some(Spread { low: 1.5, high: 1.8 }), "by the median");
        assert_eq!(measured.meets_goal(&all), Some(true));
        assert_eq!(measured.ratio(&all[..1]), None, "its reference was not measured");
        assert_eq!(measured.meets_goal(&all[..1]), None);
        assert_eq!(all[1].judged(&all), Some(50.0));
        assert_eq!(all[1].meets_goal(&all), Some(false), "without a reference the value counts");
    }

    #[test]
    fn more_may_be_better() {
        let mut rate = figure("nat", &[3.0], Some("nftables"));
        (rate.better, rate.goal) = (Better::Higher, Some(3.0));
        assert_eq!(rate.meets_goal(&[figure("nftables", &[1.0], None)]), Some(true));
        assert_eq!(rate.meets_goal(&[figure("nftables", &[1.1], None)]), Some(false));
        assert_eq!(rate.meets_goal(&[figure("nftables", &[0.0], None)]), None, "no multiple of nothing");
    }
}
