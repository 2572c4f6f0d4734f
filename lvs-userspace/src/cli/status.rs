//! `lvsctl status`, and the answers to `reload` and `stop`.

use super::table::table;
use crate::api::model::{Reloaded, Status, Stopped};
use crate::control::summary::counted;

pub(super) fn render(status: &Status) -> String {
    let interfaces: Vec<_> = status
        .interfaces
        .iter()
        .map(|interface| format!("{} ({})", interface.name, interface.mode))
        .collect();
    let facts = [
        ("version", format!("{}, map layout {}", status.version, status.layout)),
        ("instance", format!("{}, pid {}", status.instance, status.pid)),
        ("configuration", status.config.clone()),
        ("up for", duration(status.uptime_seconds)),
        ("interfaces", interfaces.join(", ")),
        ("services", status.services.to_string()),
    ];
    let facts: String = facts.iter().map(|(name, value)| format!("{name:<15}{value}\n")).collect();
    let mut tables = table(&["TABLE", "USED", "CAPACITY"], 1);
    for table in &status.tables {
        tables.add_row([&table.name, &table.used.to_string(), &table.capacity.to_string()]);
    }
    format!("{facts}\n{}\n{}", tables.trim_fmt(), warnings(&status.warnings))
}

pub(super) fn render_reloaded(reloaded: &Reloaded) -> String {
    let Reloaded { services, changes, warnings: told } = reloaded;
    let changes = match changes {
        0 => "nothing to change".to_owned(),
        _ => counted(*changes, "change"),
    };
    let services = counted(*services, "service");
    format!("reloaded: {services}, {changes}\n{}", warnings(told))
}

pub(super) fn render_stopped(stopped: &Stopped) -> String {
    if stopped.forwarding_kept {
        "the agent has ended; packets are forwarded on, and the next agent takes over".to_owned()
    } else {
        "the agent has ended and left nothing behind".to_owned()
    }
}

/// Warnings for a person; a rack that is dead has hundreds.
const WARNINGS: usize = 20;

fn warnings(warnings: &[String]) -> String {
    let mut text: String =
        warnings.iter().take(WARNINGS).map(|warning| format!("warning: {warning}\n")).collect();
    if let Some(more @ 1..) = warnings.len().checked_sub(WARNINGS) {
        text += &format!("and {more} more warnings: `lvsctl --json status` has them all\n");
    }
    text
}

/// `3 days 02:15:09`
pub(super) fn duration(seconds: u64) -> String {
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match seconds / 86_400 {
        0 => clock,
        1 => format!("1 day {clock}"),
        days => format!("{days} days {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::{Interface, Table};

    #[test]
    fn status_is_told_with_its_warnings() {
        let status = Status {
            version: "0.1.0".to_owned(),
            layout: 1,
            instance: "lvs".to_owned(),
            pid: 4711,
            config: "/etc/lvs.yaml".to_owned(),
            uptime_seconds: 3 * 86_400 + 2 * 3600 + 15 * 60 + 9,
            interfaces: vec![Interface { name: "eth0".to_owned(), index: 2, mode: "native".to_owned() }],
            services: 3,
            tables: vec![Table { name: "connections".to_owned(), used: 10, capacity: 262_144 }],
            warnings: vec!["look here".to_owned()],
        };
        let expected = "\
version        0.1.0, map layout 1
instance       lvs, pid 4711
configuration  /etc/lvs.yaml
up for         3 days 02:15:09
interfaces     eth0 (native)
services       3

TABLE        USED  CAPACITY
connections    10    262144
warning: look here
";
        assert_eq!(render(&status), expected);
    }

    #[test]
    fn a_reload_says_how_much_it_changed() {
        let reloaded = |changes| Reloaded { services: 2, changes, warnings: vec![] };
        assert_eq!(render_reloaded(&reloaded(0)), "reloaded: 2 services, nothing to change\n");
        assert_eq!(render_reloaded(&reloaded(1)), "reloaded: 2 services, 1 change\n");
        assert_eq!(render_reloaded(&reloaded(5)), "reloaded: 2 services, 5 changes\n");
    }
}
