//! `lvsctl health`

use super::status::duration;
use super::table::{socket, table};
use crate::api::model::{Check, Health, Maintained, ServerHealth};
use crate::control::summary::counted;
use crate::health::pool::Mode;

/// A line for each check, and one for each real server without any.
pub(super) fn render(health: &Health) -> String {
    if health.services.is_empty() {
        return "no services".to_owned();
    }
    let header = ["SERVICE", "REAL SERVER", "STATE", "FOR", "WEIGHT", "CHECK", "RESULT", "LATENCY"];
    let mut table = table(&header, header.len());
    for column in [3, 4, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    for service in &health.services {
        let remark = match (service.checks_doubted, service.quorum_lost) {
            (true, _) => " (checks doubted)",
            (_, true) => " (quorum lost)",
            _ => "",
        };
        let name = format!("{}{remark}", service.name);
        let mut name = name.as_str();
        for server in &service.servers {
            let mut left = server_cells(name, server);
            name = "";
            if server.checks.is_empty() {
                table.add_row(left.into_iter().chain(["", "", ""].map(str::to_owned)));
                continue;
            }
            for check in &server.checks {
                table.add_row(left.into_iter().chain(check_cells(check)));
                left = Default::default();
            }
        }
    }
    table.trim_fmt()
}

fn server_cells(name: &str, server: &ServerHealth) -> [String; 5] {
    [
        name.to_owned(),
        socket(server.address, server.port),
        state(server),
        duration(server.seconds),
        server.installed_weight.map_or_else(|| "-".to_owned(), |weight| weight.to_string()),
    ]
}

/// `up`, `up (starting)`, `down (resets)`, `down (drained)`: the state, and what keeps it from meaning what it says.
fn state(server: &ServerHealth) -> String {
    let mut remarks = Vec::new();
    if !["serving", "out"].contains(&server.phase.as_str()) {
        remarks.push(server.phase.as_str());
    }
    if server.resets {
        remarks.push("resets");
    }
    if server.mode != Mode::Enabled.word() {
        remarks.push(&server.mode);
    }
    match remarks.is_empty() {
        true => server.state.clone(),
        false => format!("{} ({})", server.state, remarks.join(", ")),
    }
}

/// The answer to `drain`, `disable` and `enable`.
pub(super) fn render_maintained(maintained: &Maintained, server: &str, mode: Mode) -> String {
    let elsewhere = match maintained.elsewhere {
        0 => String::new(),
        number => format!("; {number} more are served elsewhere, and to be maintained there"),
    };
    format!("{server} is {} in {}{elsewhere}", mode.word(), counted(maintained.services, "service"))
}

fn check_cells(check: &Check) -> [String; 3] {
    let last = check.last.as_ref();
    let mut result = last.map_or_else(|| "none yet".to_owned(), |last| last.summary.clone());
    if last.is_some_and(|last| !last.conclusive) {
        result += " (inconclusive)";
    } else if check.contrary > 0 {
        result += &format!(" ({} in a row)", check.contrary);
    }
    let latency = last.map(|last| format!("{:.1} ms", last.microseconds as f64 / 1e3));
    [format!("{} {}", check.kind, check.target), result, latency.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::{Pace, Probe, ServiceHealth};

    #[test]
    fn checks_read_as_a_table() {
        let check = |passed, summary: &str, contrary| Check {
            kind: "http".to_owned(),
            target: "192.168.0.1:80/.testpage".to_owned(),
            state: "up".to_owned(),
            seconds: 60,
            last: Some(Probe { passed, conclusive: true, summary: summary.to_owned(), microseconds: 1_234 }),
            contrary,
            probes: 10,
            failures: 0,
        };
        let server = |last: u8, state: &str, installed_weight, checks| ServerHealth {
            address: [192, 168, 0, last].into(),
            port: 80,
            state: state.to_owned(),
            phase: if state == "up" { "starting" } else { "out" }.to_owned(),
            mode: if state == "up" { "enabled" } else { "drained" }.to_owned(),
            seconds: 61,
            reason: String::new(),
            weight: 5,
            installed_weight,
            resets: installed_weight == Some(0),
            checks,
        };
        let servers = vec![
            server(1, "up", Some(5), vec![check(true, "http 200", 0), check(false, "http 503", 2)]),
            server(2, "down", None, vec![]),
            server(3, "down", Some(0), vec![]),
        ];
        let services =
            vec![ServiceHealth { name: "www".to_owned(), quorum_lost: true, checks_doubted: false, servers }];
        let expected = "\
SERVICE            REAL SERVER     STATE                        FOR  WEIGHT  CHECK                          RESULT                 LATENCY
www (quorum lost)  192.168.0.1:80  up (starting)           00:01:01       5  http 192.168.0.1:80/.testpage  http 200                1.2 ms
                                                                             http 192.168.0.1:80/.testpage  http 503 (2 in a row)   1.2 ms
                   192.168.0.2:80  down (drained)          00:01:01       -
                   192.168.0.3:80  down (resets, drained)  00:01:01       0";
        assert_eq!(render(&Health { services, pace: Pace::default() }), expected);
    }
}
