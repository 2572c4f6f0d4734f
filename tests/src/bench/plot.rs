//! A bar chart as SVG: each case of the program as a multiple of its floor, beside what Katran needs for the
//! like of it.

use std::fmt::Write;

use super::report::{Report, number};

/// Katran (Meta's XDP balancer) as a multiple of the constant-IPIP floor of its own run, lowest and highest of two
/// runs, beside the case of ours that is the like of it. Measured with this benchmark's wrapper and once only:
/// docs/performance.md says how.
const KATRAN: [(&str, &str, f64, f64); 7] = [
    ("ipip v4 tcp mh, no service", "no service", 1.92, 1.93),
    ("ipip v4 tcp mh, 1 flow", "flow in its table, 1 flow", 4.77, 4.78),
    ("ipip v4 tcp mh, 100k flows", "flows in its table, 100k", 14.3, 15.1),
    ("ipip v4 tcp mh, 1M flows", "flows in its table, 1M", 22.7, 23.7),
    ("ipip v4 tcp mh, new flows", "new flows, none stored", 5.7, 5.8),
    ("ipip v4 tcp rr, new flows", "new flows, all stored", 23.5, 24.8),
    ("ipip v4 tcp rr, new flows, table full", "new flows, table full", 43.5, 44.1),
];

/// Longer bars end here: what takes a hundred floors would leave nothing to see of the rest.
const LONGEST: f64 = 26.0;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 330.0;
const ROW: f64 = 22.0;
const TOP: f64 = 46.0;
const OURS: &str = "#2a78b5";
const THEIRS: &str = "#b9b9b9";

struct Bar {
    label: String,
    low: f64,
    value: f64,
    high: f64,
    goal: Option<f64>,
    colour: &'static str,
}

/// `None` when the run has no case of the section `program` that is a multiple of something.
pub fn program(report: &Report) -> Option<String> {
    let mut bars: Vec<Bar> = Vec::new();
    for figure in report.figures.iter().filter(|figure| figure.section == "program") {
        let (Some(spread), Some(value)) =
            (figure.judged_spread(&report.figures), figure.ratio(&report.figures))
        else {
            continue;
        };
        bars.push(Bar {
            label: figure.case.clone(),
            low: spread.low,
            value,
            high: spread.high,
            goal: figure.goal,
            colour: OURS,
        });
        let theirs = KATRAN.iter().filter(|(ours, ..)| *ours == figure.case);
        bars.extend(theirs.map(|(_, label, low, high)| Bar {
            label: format!("Katran: {label}"),
            low: *low,
            value: f64::midpoint(*low, *high),
            high: *high,
            goal: None,
            colour: THEIRS,
        }));
    }
    if bars.is_empty() {
        return None;
    }
    Some(chart("Cost of a packet, as a multiple of the constant-IPIP floor of the same run", &bars))
}

fn chart(title: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.high).fold(1.0, f64::max).min(LONGEST);
    let scale = (WIDTH - LABELS - 60.0) / longest;
    let height = TOP + ROW * bars.len() as f64 + 34.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for (bar, row) in bars.iter().zip(0_u32..) {
        let top = TOP + ROW * f64::from(row);
        draw(&mut svg, bar, top, scale);
    }
    let floor = LABELS + scale;
    let bottom = height - 30.0;
    add(
        &mut svg,
        format_args!(
            "<path d=\"M{floor:.1} {TOP}V{bottom:.1}\" stroke=\"black\" stroke-dasharray=\"3 3\"/>\n\
             <text x=\"10\" y=\"{:.1}\" fill=\"#555\">dashed: the floor; red: the goal; \
             thin line: spread of the runs</text>\n</svg>\n",
            height - 10.0
        ),
    );
    svg
}

fn draw(svg: &mut String, bar: &Bar, top: f64, scale: f64) {
    let middle = top + ROW / 2.0;
    let [low, value, high] = [bar.low, bar.value, bar.high].map(|ratio| LABELS + ratio.min(LONGEST) * scale);
    add(
        svg,
        format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\n\
             <path d=\"M{low:.1} {middle:.1}H{high:.1}\" stroke=\"black\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            LABELS - 8.0,
            middle + 4.0,
            escaped(&bar.label),
            top + 3.0,
            value - LABELS,
            ROW - 6.0,
            bar.colour,
            high + 6.0,
            middle + 4.0,
            number(bar.value),
        ),
    );
    if let Some(goal) = bar.goal {
        let goal = LABELS + goal * scale;
        add(
            svg,
            format_args!("<path d=\"M{goal:.1} {top:.1}v{ROW}\" stroke=\"#c22\" stroke-width=\"2\"/>\n"),
        );
    }
}

fn add(svg: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A String takes everything.
    svg.write_fmt(arguments).ok();
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{figure, report};
    use super::*;

    #[test]
    fn every_multiple_of_a_floor_has_a_bar() {
        let report = report(vec![
            figure("constant IPIP", &[50.0], None, None),
            figure("one flow & <more>", &[75.0, 80.0], Some("constant IPIP"), Some(1.6)),
            figure(KATRAN[0].0, &[100.0], Some("constant IPIP"), None),
        ]);
        let svg = program(&report).unwrap();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches(OURS).count(), 2);
        assert_eq!(svg.matches(THEIRS).count(), 1, "only beside the like of it");
        assert!(svg.contains("one flow &amp; &lt;more&gt;") && svg.contains(">1.55<"));
        assert_eq!(svg.matches("#c22").count(), 1, "the goal");
    }

    #[test]
    fn without_multiples_there_is_no_plot() {
        assert!(program(&report(vec![figure("floor", &[50.0], None, None)])).is_none());
    }
}
