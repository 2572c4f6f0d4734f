//! Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).

use std::fmt::{Display, Write as _};

/// What the format is called in `Content-Type`.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, and begins at zero again.
    Counter,
    Gauge,
    Histogram,
}

/// The text as it grows. Samples belong to the family that was begun last.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.family = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // A String takes everything.
        write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").ok();
    }

    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample_of("", labels, value);
    }

    /// `suffix`: which part of a histogram.
    pub(super) fn sample_of(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.family);
        self.text.push_str(suffix);
        let mut before = '{';
        for (name, value) in labels {
            self.text.push(before);
            before = ',';
            self.text.push_str(name);
            self.text.push_str("=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        // As above.
        writeln!(self.text, " {value}").ok();
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_the_format_has_them() {
        let mut exposition = Exposition::default();
        exposition.family("a_total", Kind::Counter, "What\nit \\ is.");
        exposition.sample(&[], 7);
        exposition.sample(&[("x", "1"), ("y", "a\"b\\c\nd")], 0.25);
        exposition.family("b_seconds", Kind::Histogram, "Times.");
        exposition.sample_of("_bucket", &[("le", "+Inf")], u64::MAX);
        let expected = "\
# HELP a_total What\\nit \\\\ is.
# TYPE a_total counter
a_total 7
a_total{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 0.25
# HELP b_seconds Times.
# TYPE b_seconds histogram
b_seconds_bucket{le=\"+Inf\"} 18446744073709551615
";
        assert_eq!(exposition.finish(), expected);
    }
}
