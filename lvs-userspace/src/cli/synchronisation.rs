//! The part of `lvsctl cluster` about connections and the desired state.

use super::table::{short, table};
use crate::cluster::pulse::{DesiredStatus, Status};
use crate::cluster::sync::view::{Phase, View};

pub(super) fn render(status: &Status) -> String {
    let Some(views) = &status.synchronisation else {
        return "connections and the desired state are not told to other directors: they have no addresses, and no path by multicast or broadcast\n".to_owned();
    };
    let header = ["DIRECTOR", "ROLE", "PHASE", "TOLD", "ENDED", "LAG", "BYTES/S", "LOST", "FAILED", "STATE"];
    let mut rows = table(&header, 3);
    for view in views {
        for row in rows_of(view) {
            rows.add_row(row);
        }
    }
    let desired = match &status.desired {
        None => "none of the cluster's: this director's own checks count".to_owned(),
        Some(DesiredStatus { node: None, version, .. }) => format!("version {version}, told to the others"),
        Some(DesiredStatus { node: Some(node), version, age_milliseconds }) => {
            format!("version {version} of {node}, {} s old", age_milliseconds / 1000)
        }
    };
    format!("{}\n\nstate   {desired}\n", rows.trim_fmt())
}

/// One for each direction in which there is anything to tell.
fn rows_of(view: &View) -> Vec<[String; 10]> {
    let View { node, address, sends, receives, sent, received } = view;
    let none = || "-".to_owned();
    let phase = |phase: Phase, progress: u8| match phase {
        Phase::Absent if address.is_none() => "its address is not known".to_owned(),
        Phase::Absent => "does not answer".to_owned(),
        Phase::Joining => format!("joining {progress} %"),
        Phase::Behind => "behind".to_owned(),
        Phase::Complete => "complete".to_owned(),
    };
    let version = |version: Option<u64>| version.map_or_else(none, |version| version.to_string());
    let mut rows = Vec::new();
    if *sends {
        rows.push([
            node.clone(),
            "sends to".to_owned(),
            phase(sent.phase, sent.progress),
            short(sent.connections),
            short(sent.removals),
            format!("{} ms", sent.lag_milliseconds),
            short(sent.bytes_per_second),
            short(sent.lost),
            none(),
            version(sent.state_version),
        ]);
    }
    if *receives {
        rows.push([
            node.clone(),
            "receives from".to_owned(),
            phase(received.phase, received.progress),
            short(received.connections),
            short(received.removals),
            none(),
            none(),
            short(received.lost),
            short(received.full + received.unresolved + received.failures),
            version(received.state_version),
        ]);
    }
    if rows.is_empty() {
        let idle = phase(received.phase, received.progress);
        let [a, b, c, d, e, f, g] = std::array::from_fn(|_| none());
        rows.push([node.clone(), "idle".to_owned(), idle, a, b, c, d, e, f, g]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sync::view::{Received, Sent};

    #[test]
    fn each_direction_has_its_row() {
        let view = |node: &str, sends, receives| View {
            node: node.to_owned(),
            address: Some("10.0.0.2:695".to_owned()),
            sends,
            receives,
            sent: Sent {
                phase: Phase::Joining,
                progress: 43,
                lag_milliseconds: 812,
                state_version: Some(17),
                ..Sent::default()
            },
            received: Received {
                phase: Phase::Complete,
                connections: 150_000,
                full: 2,
                failures: 1,
                ..Received::default()
            },
        };
        let mut unknown = view("d4", true, false);
        (unknown.address, unknown.sent) = (None, Sent::default());
        let status = Status {
            synchronisation: Some(vec![view("d2", true, true), view("d3", false, false), unknown]),
            desired: Some(DesiredStatus { node: Some("d2".to_owned()), version: 9, age_milliseconds: 4100 }),
            ..Status::default()
        };
        let shown = render(&status);
        let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        let row = |number: usize| words[number].join(" ");
        assert_eq!(row(1), "d2 sends to joining 43 % 0 0 812 ms 0 0 - 17");
        assert_eq!(row(2), "d2 receives from complete 150.0k 0 - - 0 3 -");
        assert_eq!(row(3), "d3 idle complete - - - - - - -");
        assert!(row(4).starts_with("d4 sends to its address is not known"), "{shown}");
        assert!(shown.ends_with("state   version 9 of d2, 4 s old\n"), "{shown}");
    }

    #[test]
    fn a_director_that_tells_nobody_says_so() {
        assert!(render(&Status::default()).starts_with("connections and the desired state are not told"));
    }
}
