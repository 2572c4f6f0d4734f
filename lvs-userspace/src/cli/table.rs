//! Tables without lines, and how addresses and numbers stand in them.

use std::net::{IpAddr, SocketAddr};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// A table whose columns from `numbers` on are flush right.
pub(super) fn table(header: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index >= numbers {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// `192.0.2.1:80`, `[2001:db8::1]:*`; port 0 is every port.
pub(super) fn socket(address: IpAddr, port: u16) -> String {
    match (address, port) {
        (IpAddr::V4(address), 0) => format!("{address}:*"),
        (IpAddr::V6(address), 0) => format!("[{address}]:*"),
        _ => SocketAddr::new(address, port).to_string(),
    }
}

/// In at the most six characters, above 99999 with a decimal prefix: `1.5M`.
pub(super) fn short(number: u64) -> String {
    let mut value = number as f64;
    if number < 100_000 {
        return number.to_string();
    }
    let mut prefix = ' ';
    for next in ['k', 'M', 'G', 'T', 'P', 'E'] {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    format!("{value:.1}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short_and_exact_as_long_as_they_can() {
        for (number, text) in [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100.0k"),
            (999_949, "999.9k"),
            (999_950, "1.0M"),
            (1_500_000, "1.5M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn every_port_is_a_star() {
        assert_eq!(socket("192.0.2.1".parse().unwrap(), 80), "192.0.2.1:80");
        assert_eq!(socket("2001:db8::1".parse().unwrap(), 80), "[2001:db8::1]:80");
        assert_eq!(socket("2001:db8::1".parse().unwrap(), 0), "[2001:db8::1]:*");
    }
}
