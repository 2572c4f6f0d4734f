//! `lvsctl stats` and `lvsctl causes`

use std::collections::HashMap;

use super::table::{short, socket, table};
use crate::api::model::{Stats, Traffic};

/// Totals now, and rates since `before`.
pub(super) fn render(now: &Stats, before: &Stats) -> String {
    if now.services.is_empty() {
        return "no services".to_owned();
    }
    let elapsed = now.monotonic_nanoseconds.saturating_sub(before.monotonic_nanoseconds);
    let earlier = by_place(before);
    let header = [
        "SERVICE",
        "ADDRESS",
        "CONNS",
        "PKTS IN",
        "BYTES IN",
        "PKTS OUT",
        "BYTES OUT",
        "CONNS/S",
        "PKTS/S IN",
        "BYTES/S IN",
        "PKTS/S OUT",
        "BYTES/S OUT",
    ];
    let mut table = table(&header, 2);
    for (place, label, traffic) in lines(now) {
        let [name, address] = label;
        let since = earlier.get(&place).copied().unwrap_or_default();
        let rates = numbers(&traffic).into_iter().zip(numbers(&since));
        // A destination that was replaced meanwhile counts from zero again.
        let rates = rates.map(|(now, before)| per_second(now.saturating_sub(before), elapsed));
        let numbers = numbers(&traffic).into_iter().chain(rates).map(short);
        table.add_row([name, address].into_iter().chain(numbers));
    }
    table.trim_fmt()
}

pub(super) fn render_causes(stats: &Stats) -> String {
    let mut table = table(&["CAUSE", "VERDICT", "PACKETS", "MEANING"], 2);
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    for cause in &stats.causes {
        let packets = cause.packets.to_string();
        table.add_row([&cause.name, &cause.verdict, &packets, &cause.description]);
    }
    table.trim_fmt()
}

/// A service (empty second half) or a destination of it.
type Place = (String, String);

/// Every line of the table: what it stands for, its labels, its traffic.
fn lines(stats: &Stats) -> impl Iterator<Item = (Place, [String; 2], Traffic)> {
    stats.services.iter().flat_map(|service| {
        let vip = socket(service.vip, service.port);
        let key = format!("{vip}/{}", service.protocol);
        let own = ((key.clone(), String::new()), [service.name.clone(), vip], service.traffic);
        let destinations = service.destinations.iter().map(move |destination| {
            let address = socket(destination.address, destination.port);
            let label = format!("-> {address}");
            ((key.clone(), address), [String::new(), label], destination.traffic)
        });
        std::iter::once(own).chain(destinations)
    })
}

fn by_place(stats: &Stats) -> HashMap<Place, Traffic> {
    lines(stats).map(|(place, _, traffic)| (place, traffic)).collect()
}

const fn numbers(traffic: &Traffic) -> [u64; 5] {
    let Traffic { connections, packets_in, bytes_in, packets_out, bytes_out } = *traffic;
    [connections, packets_in, bytes_in, packets_out, bytes_out]
}

fn per_second(count: u64, nanoseconds: u64) -> u64 {
    let rate = u128::from(count) * 1_000_000_000 / u128::from(nanoseconds.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::{CauseStats, DestinationStats, ServiceStats};

    fn stats(seconds: u64, packets: u64) -> Stats {
        let traffic =
            Traffic { connections: 1, packets_in: packets, bytes_in: packets * 100, ..Traffic::default() };
        let destination = DestinationStats {
            address: [192, 168, 0, 1].into(),
            port: 80,
            forward: "dr".to_owned(),
            active: 1,
            inactive: 0,
            traffic,
        };
        let service = ServiceStats {
            name: "www".to_owned(),
            vip: [10, 0, 0, 3].into(),
            port: 80,
            protocol: "tcp".to_owned(),
            traffic,
            destinations: vec![destination],
        };
        Stats { monotonic_nanoseconds: seconds * 1_000_000_000, services: vec![service], causes: vec![] }
    }

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let text = render(&stats(12, 5000), &stats(10, 1000));
        let lines: Vec<_> = text.lines().collect();
        let expected =
            ["www", "10.0.0.3:80", "1", "5000", "500.0k", "0", "0", "0", "2000", "200.0k", "0", "0"];
        assert_eq!(words(lines[1]), expected);
        assert_eq!(words(lines[2])[..4], ["->", "192.168.0.1:80", "1", "5000"]);
    }

    #[test]
    fn a_counter_that_began_again_has_no_rate() {
        let text = render(&stats(12, 10), &stats(10, 1000));
        assert_eq!(words(text.lines().nth(1).unwrap())[8], "0");
    }

    #[test]
    fn causes_are_explained() {
        let cause = CauseStats {
            name: "no_route".to_owned(),
            description: "The kernel has no route.".to_owned(),
            verdict: "drop".to_owned(),
            packets: 7,
        };
        let text = render_causes(&Stats { causes: vec![cause], ..Stats::default() });
        assert!(text.ends_with("no_route  drop           7  The kernel has no route."), "{text}");
    }
}
