//! Tables for people.

use std::fmt::Write;

/// Columns as wide as their widest cell, the first row as heading.
pub(crate) fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let line = row.iter().zip(&widths).fold(String::new(), |mut line, (cell, width)| {
            // Writing to a string cannot fail.
            write!(line, "  {cell:<width$}").ok();
            line
        });
        text.push_str(line.trim_end());
        text.push('\n');
        if number == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            text.push_str(&format!("  {}\n", rule.join("  ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn columns_line_up() {
        let rows = [["service", "n"], ["w", "100"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(render(&rows), "  service  n\n  ───────  ───\n  w        100\n");
    }
}
