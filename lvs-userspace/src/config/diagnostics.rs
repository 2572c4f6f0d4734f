//! The mistakes of a file, as its author reads them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::yaml::Place;

/// At least one mistake; in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// The file's name as it was given.
    pub file: String,
    pub mistakes: Vec<Mistake>,
    /// Found as well, but too many to keep.
    pub omitted: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// Line and column (in characters), both from 1; `None` when it is the file as a whole.
    pub position: Option<(u32, u32)>,
    /// What is wrong.
    pub what: String,
    /// Which value: `services[0].real_servers[1].port`, empty at the top level; `None` where the text is
    /// not understood.
    pub path: Option<String>,
    /// What would be right: "expected a whole number from 0 to 65535".
    pub remedy: String,
    /// The line of the file and a mark below it.
    pub excerpt: Option<String>,
}

/// A mistake before the text is at hand to quote from.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) what: String,
    pub(super) path: Option<String>,
    pub(super) remedy: String,
}

impl Diagnostics {
    /// Mistakes that were found at places of `text`.
    pub(super) fn in_text(file: &str, text: &str, mut findings: Vec<Finding>, omitted: usize) -> Self {
        findings.sort_by_key(|finding| finding.place);
        let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).lines().collect();
        let mistakes = findings
            .into_iter()
            .map(|Finding { place, mut what, path, remedy }| {
                if let Some((line, column)) = place.used_at {
                    what = format!("{what} (used at {line}:{column})");
                }
                let excerpt = lines.get(place.line as usize - 1).map(|line| excerpt(line, place));
                Mistake { position: Some((place.line, place.column)), what, path, remedy, excerpt }
            })
            .collect();
        Self { file: file.to_owned(), mistakes, omitted }
    }

    /// A file that could not be read at all.
    pub(super) fn of_file(file: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let mistake =
            Mistake { position: None, what: what.into(), path: None, remedy: remedy.into(), excerpt: None };
        Self { file: file.to_owned(), mistakes: vec![mistake], omitted: 0 }
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{}:", self.file)?;
            if let Some((line, column)) = mistake.position {
                write!(formatter, "{line}:{column}:")?;
            }
            write!(formatter, " {mistake}")?;
            if let Some(excerpt) = &mistake.excerpt {
                write!(formatter, "\n{excerpt}")?;
            }
        }
        if self.omitted > 0 {
            write!(formatter, "\n{}: and {} more mistakes", self.file, self.omitted)?;
        }
        Ok(())
    }
}

/// Without file, position and excerpt.
impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)?;
        match self.path.as_deref() {
            None => {}
            Some("") => formatter.write_str(", at the top level")?,
            Some(path) => write!(formatter, ", at {path}")?,
        }
        write!(formatter, "; {}", self.remedy)
    }
}

/// The line and a mark below it:
/// ```text
///   12 |     port: 70000
///      |           ^^^^^
/// ```
fn excerpt(line: &str, place: Place) -> String {
    /// Characters shown of the line, and of them before the mark.
    const SHOWN: usize = 100;
    const BEFORE: usize = 60;

    let column = place.column as usize - 1;
    let skipped = if column > SHOWN - 20 { column - BEFORE } else { 0 };
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    let shown: String = line.chars().skip(skipped).take(SHOWN).map(printable).collect();
    let indent = column - skipped;
    let room = shown.trim_end().chars().count().saturating_sub(indent);
    let mark = "^".repeat((place.width as usize).min(room).max(1));
    let number = place.line.to_string();
    let blank = " ".repeat(number.len());
    format!("  {number} | {}\n  {blank} | {:indent$}{mark}", shown.trim_end(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(column: u32, width: u32) -> Place {
        Place { line: 7, column, width, used_at: None }
    }

    #[test]
    fn the_mark_stands_below_what_it_means() {
        assert_eq!(excerpt("port: 70000", place(7, 5)), "  7 | port: 70000\n    |       ^^^^^");
        // A tab is one character, and so is what is shown for it.
        assert_eq!(excerpt("\tx: é", place(5, 1)), "  7 |  x: é\n    |     ^");
        // A value of several lines is marked on its first; an empty one gets a mark all the same.
        assert_eq!(excerpt("a: |", place(4, 90)), "  7 | a: |\n    |    ^");
        assert_eq!(excerpt("a:", place(3, 0)), "  7 | a:\n    |   ^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let line = format!("{}wrong{}", "x".repeat(5_000), "y".repeat(5_000));
        let text = excerpt(&line, place(5_001, 5));
        let (shown, mark) = text.split_once('\n').unwrap();
        assert!(shown.len() < 120);
        let at = mark.find('^').unwrap();
        assert_eq!(&shown[at..at + 5], "wrong");
    }
}
