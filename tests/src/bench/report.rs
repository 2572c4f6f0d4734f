//! A whole run: as tables for readers, as JSON for comparison.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::figure::{Better, Figure};
use super::machine::Machine;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    /// Measured with few rounds.
    pub quick: bool,
    /// The commit that was measured, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    pub figures: Vec<Figure>,
}

/// What a table is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Terminal,
    Markdown,
}

impl Report {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report of a run", path.display()))
    }

    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Sections in the order in which they were measured.
    pub fn sections(&self) -> Vec<&str> {
        let mut sections: Vec<&str> = self.figures.iter().map(|figure| figure.section.as_str()).collect();
        sections.dedup();
        sections
    }

    /// Every figure of a section, with its notes below.
    pub fn table(&self, section: &str, form: Form) -> String {
        let mut table = Table::new();
        table.load_style(match form {
            Form::Terminal => presets::NOTHING,
            Form::Markdown => presets::ASCII_MARKDOWN,
        });
        table.set_header(["case", "median", "spread", "unit", "ratio", "goal", ""]);
        let mut notes: Vec<&str> = Vec::new();
        for figure in self.figures.iter().filter(|figure| figure.section == section) {
            let mark = figure.note.as_deref().map_or(String::new(), |note| {
                let number = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
                    notes.push(note);
                    notes.len() - 1
                });
                format!(" [{}]", number + 1)
            });
            let spread = figure.spread();
            table.add_row([
                figure.case.clone() + &mark,
                number(figure.median()),
                format!("{} .. {}", number(spread.low), number(spread.high)),
                figure.unit.clone(),
                ratio(figure, &self.figures),
                goal(figure),
                verdict(figure.meets_goal(&self.figures)).to_owned(),
            ]);
        }
        for column in [1, 2, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = table.trim_fmt() + "\n";
        for (index, note) in notes.iter().enumerate() {
            let line_break = if form == Form::Markdown { "\n" } else { "" };
            text += &format!("{line_break}[{}] {note}\n", index + 1);
        }
        text
    }
}

fn ratio(figure: &Figure, all: &[Figure]) -> String {
    match (figure.ratio(all), &figure.reference) {
        (Some(ratio), Some(reference)) => {
            format!("{} x {}", number(ratio), without_common_start(reference, &figure.case))
        }
        _ => String::new(),
    }
}

/// The reference without what it begins with like the case, up to a colon: `rate: floor` of `rate: one flow`
/// is `floor`.
pub(super) fn without_common_start<'a>(reference: &'a str, case: &str) -> &'a str {
    match reference.split_once(": ") {
        Some((start, rest)) if case.strip_prefix(start).is_some_and(|rest| rest.starts_with(": ")) => rest,
        _ => reference,
    }
}

fn goal(figure: &Figure) -> String {
    let sign = match figure.better {
        Better::Lower => "<=",
        Better::Higher => ">=",
    };
    figure.goal.map_or(String::new(), |goal| format!("{sign} {}", number(goal)))
}

const fn verdict(met: Option<bool>) -> &'static str {
    match met {
        None => "",
        Some(true) => "met",
        Some(false) => "MISSED",
    }
}

/// Three digits that mean something; a thousand and more without a fraction.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 99.95 => grouped(value),
        medium if medium >= 9.995 => format!("{value:.1}"),
        small if small >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let first = digits.trim_start_matches('-').len() % 3;
    let mut text = String::new();
    for (index, digit) in digits.trim_start_matches('-').chars().enumerate() {
        if index > 0 && index % 3 == first {
            text.push(' ');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn figure(case: &str, samples: &[f64], reference: Option<&str>, goal: Option<f64>) -> Figure {
        Figure {
            section: "program".into(),
            case: case.into(),
            unit: "ns".into(),
            samples: samples.to_vec(),
            reference: reference.map(str::to_owned),
            goal,
            better: Better::Lower,
            note: None,
        }
    }

    pub(crate) fn report(figures: Vec<Figure>) -> Report {
        Report { machine: Machine::default(), quick: false, revision: None, figures }
    }

    #[test]
    fn numbers_have_three_digits_or_all_of_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_12, "1.2e-4"),
            (0.014, "0.01"),
            (1.004, "1.00"),
            (9.996, "10.0"),
            (12.34, "12.3"),
            (99.96, "100"),
            (1_234_567.8, "1 234 568"),
            (-1234.0, "-1 234"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_table_shows_ratio_goal_and_verdict() {
        let mut measured = figure("one flow", &[70.0, 75.0, 80.0], Some("floor"), Some(1.6));
        measured.note = Some("all of it".into());
        let missed = figure("many", &[200.0], Some("floor"), Some(1.6));
        let report = report(vec![figure("floor", &[50.0], None, None), measured, missed]);
        let text = report.table("program", Form::Markdown);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        for words in ["one flow [1]", "75.0", "70.0 .. 80.0", "1.50 x floor", "<= 1.60", "met"] {
            assert!(lines[3].contains(words), "{words}: {text}");
        }
        assert!(lines[4].contains("MISSED") && lines[6] == "[1] all of it", "{text}");
        assert_eq!(report.sections(), ["program"]);
        assert!(report.table("program", Form::Terminal).contains("one flow"));
    }

    #[test]
    fn what_case_and_reference_begin_with_is_said_once() {
        assert_eq!(without_common_start("rate: floor", "rate: one flow"), "floor");
        assert_eq!(without_common_start("rate: floor", "rates: one flow"), "rate: floor");
        assert_eq!(without_common_start("floor", "one flow"), "floor");
    }

    #[test]
    fn a_report_comes_back_from_json() {
        let mut written = report(vec![figure("floor", &[50.0, 51.5], None, Some(3.0))]);
        written.revision = Some("abc".into());
        let read: Report = serde_json::from_str(&written.to_json().unwrap()).unwrap();
        assert_eq!(read, written);
    }
}
