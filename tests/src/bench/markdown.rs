//! Puts the tables of a run into a document between two marks, whatever else is written there.

use anyhow::{Context, Result};

use super::plot;
use super::report::{Form, Report};

const BEGIN: &str = "<!-- cargo xtask bench --record writes from here -->";
const END: &str = "<!-- to here -->";

/// `document` with the tables of this run in the place of the last one's.
pub fn replace(document: &str, report: &Report) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).with_context(|| format!("no line `{BEGIN}`"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line `{END}` after `{BEGIN}`"))?;
    Ok(format!("{before}{BEGIN}\n{}{END}{after}", render(report)))
}

fn render(report: &Report) -> String {
    let mut text = String::from("\n");
    for line in report.machine.to_string().lines() {
        text += &format!("- {line}\n");
    }
    if let Some(revision) = &report.revision {
        text += &format!("- measured at commit {revision}\n");
    }
    if plot::program(report).is_some() {
        text += "\n![Cost of a packet as a multiple of its floor](performance/program.svg)\n";
    }
    for section in report.sections() {
        text += &format!("\n### {section}\n\n{}", report.table(section, Form::Markdown));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{figure, report};
    use super::*;

    fn empty_document() -> String {
        format!("# Performance\n\n{BEGIN}\n{END}\n")
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let first = report(vec![figure("old", &[1.0], None, None)]);
        let second = report(vec![figure("new", &[1.0], None, None)]);
        let document = empty_document().replace("# Performance", "# Ours") + "\nOur words.\n";
        let document = replace(&document, &first).unwrap();
        assert!(document.contains("| old"));
        let document = replace(&document, &second).unwrap();
        assert!(document.contains("| new") && !document.contains("| old"), "{document}");
        assert!(document.starts_with("# Ours\n") && document.ends_with("\nOur words.\n"), "{document}");
        assert_eq!(replace(&document, &second).unwrap(), document);
        assert!(replace("no marks", &first).is_err());
    }
}
