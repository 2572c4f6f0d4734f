//! `lvsctl cluster`.

use super::synchronisation;
use super::table::table;
use crate::cluster::pulse::{GroupStatus, Heard, PeerStatus, Status};

pub(super) fn render(status: &Status) -> String {
    let rule = if status.has_majority_rule {
        "a majority decides"
    } else {
        "two directors without a voter: while they do not hear each other, both may come to serve"
    };
    let mut groups = table(&["GROUP", "ROLE HERE", "ACTIVE", "TERM", "LEASE", "FITNESS"], 3);
    for group in &status.groups {
        groups.add_row([
            group.name.clone(),
            group.role.clone(),
            group.holder.clone().unwrap_or_else(|| "-".to_owned()),
            group.epoch.to_string(),
            group.lease.map_or_else(|| "-".to_owned(), |lease| format!("{lease} ms")),
            if group.is_fit { group.score.to_string() } else { "unfit".to_owned() },
        ]);
    }
    let mut peers = table(&["NODE", "ALIVE", "PATH", "AGO", "RECEIVED", "LATE", "MISSING"], 3);
    for peer in &status.peers {
        rows(peer, |cells| {
            peers.add_row(cells);
        });
    }
    let mut paths = table(&["PATH HERE", "SENT", "FAILED", "RECEIVED", "DROPPED", "FAULT"], 1);
    for path in &status.paths {
        let numbers = [path.sent, path.failed, path.received, path.dropped].map(|number| number.to_string());
        let [sent, failed, received, dropped] = numbers;
        paths.add_row([
            path.name.clone(),
            sent,
            failed,
            received,
            dropped,
            path.fault.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let drift: String = status.groups.iter().filter_map(drift).collect();
    let refused = [
        ("messages refused", &status.refused),
        ("refused of connections", &status.refused_connections),
        ("refused of the state", &status.refused_state),
    ];
    let refused: Vec<String> =
        refused.into_iter().filter_map(|(what, counts)| refusals(what, counts)).collect();
    let refused = if refused.is_empty() { String::new() } else { format!("\n{}", refused.concat()) };
    format!(
        "node    {}\nrule    {rule}\n\n{}\n\n{}\n\n{}\n\n{}{refused}{drift}",
        status.node,
        groups.trim_fmt(),
        peers.trim_fmt(),
        paths.trim_fmt(),
        synchronisation::render(status),
    )
}

/// A line with those that have happened.
fn refusals(what: &str, counts: &[(String, u64)]) -> Option<String> {
    let happened = counts.iter().filter(|(_, count)| *count > 0);
    let happened: Vec<String> = happened.map(|(reason, count)| format!("{reason} {count}")).collect();
    (!happened.is_empty()).then(|| format!("{what}: {}\n", happened.join(", ")))
}

/// One row for each path on which a node was heard.
fn rows(peer: &PeerStatus, mut add: impl FnMut([String; 7])) {
    let alive = match (peer.is_alive, peer.alive_for) {
        (true, Some(time)) => format!("for {} s", time / 1000),
        (true, None) => "yes".to_owned(),
        (false, _) => "no".to_owned(),
    };
    if peer.heard.is_empty() {
        let [never, none] = ["never".to_owned(), "-".to_owned()];
        add([peer.name.clone(), alive, never, none.clone(), none.clone(), none.clone(), none]);
        return;
    }
    for Heard { path, ago, received, late, missing } in &peer.heard {
        let [received, late, missing] = [received, late, missing].map(u64::to_string);
        add([peer.name.clone(), alive.clone(), path.clone(), format!("{ago} ms"), received, late, missing]);
    }
}

fn drift(group: &GroupStatus) -> Option<String> {
    (!group.differs_from.is_empty()).then(|| {
        format!(
            "warning: group {}: {} would serve it differently: compare `cluster`, `services`, `timeouts` and `limits` of the files, and `lvsctl health`\n",
            group.name,
            group.differs_from.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::pulse::PathStatus;

    #[test]
    fn all_that_is_known_is_shown() {
        let status = Status {
            node: "director-1".to_owned(),
            groups: vec![GroupStatus {
                name: "www".to_owned(),
                role: "active".to_owned(),
                holder: Some("director-1".to_owned()),
                epoch: 3,
                takeovers: 1,
                lease: Some(412),
                is_ready: true,
                is_fit: true,
                score: 3,
                differs_from: vec!["director-2".to_owned()],
            }],
            peers: vec![PeerStatus { name: "director-2".to_owned(), ..PeerStatus::default() }],
            paths: vec![PathStatus { name: "from 10.0.0.1".to_owned(), sent: 17, ..PathStatus::default() }],
            refused: vec![("signature".to_owned(), 2), ("short".to_owned(), 0)],
            refused_connections: vec![("stale".to_owned(), 5)],
            refused_state: vec![("long".to_owned(), 0)],
            ..Status::default()
        };
        let shown = render(&status);
        for expected in [
            "412 ms",
            "director-2  no",
            "never",
            "from 10.0.0.1",
            "messages refused: signature 2\nrefused of connections: stale 5\n",
            "would serve it differently",
        ] {
            assert!(shown.contains(expected), "{expected:?} is missing in\n{shown}");
        }
        assert!(!shown.contains("short") && !shown.contains("of the state"), "{shown}");
    }
}
