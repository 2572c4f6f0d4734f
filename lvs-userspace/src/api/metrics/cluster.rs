//! Of a director in a cluster. Without one the families are there, and empty.

use super::super::exposition::{Exposition, Kind};
use super::{Family, family};
use crate::cluster::pulse::{GroupStatus, Heard, PathStatus, Status};
use crate::cluster::sync::view::View;

use Kind::{Counter, Gauge};

/// What a group's role may be.
const ROLES: [&str; 4] = ["active", "standby", "waiting", "released"];

pub(super) fn render(to: &mut Exposition, status: Option<&Status>) {
    groups(to, status.map_or(&[], |status| &status.groups));
    members(to, status);
    beats(to, status);
    refused(to, status);
    synchronisation(to, status.and_then(|status| status.synchronisation.as_deref()).unwrap_or_default());
    desired(to, status);
}

fn groups(to: &mut Exposition, groups: &[GroupStatus]) {
    to.family("lvs_cluster_group_role", Gauge, "What this director is for a group; 1 for its role.");
    for group in groups {
        for role in ROLES {
            to.sample(&[("group", &group.name), ("role", role)], u8::from(group.role == role));
        }
    }
    let families: [Family<GroupStatus, f64>; 5] = [
        family(
            "lvs_cluster_group_lease_seconds",
            Gauge,
            "How long this director's lease lasts without a further beat; 0 without one.",
            |group| group.lease.map_or(0.0, |lease| lease as f64 / 1000.0),
        ),
        family("lvs_cluster_group_term", Gauge, "Term of office of the group, as known here.", |group| {
            group.epoch as f64
        }),
        family(
            "lvs_cluster_group_takeovers_total",
            Counter,
            "How often this director has become active for a group.",
            |group| group.takeovers as f64,
        ),
        family("lvs_cluster_group_fit", Gauge, "Whether this director is fit to hold a group.", |group| {
            f64::from(u8::from(group.is_fit))
        }),
        family("lvs_cluster_group_score", Gauge, "How fit it is.", |group| f64::from(group.score)),
    ];
    for Family { name, kind, help, of } in families {
        to.family(name, kind, help);
        for group in groups {
            to.sample(&[("group", &group.name)], of(group));
        }
    }
    to.family("lvs_cluster_group_drift", Gauge, "Whether a director serves something else for a group.");
    for group in groups {
        to.sample(&[("group", &group.name)], u8::from(!group.differs_from.is_empty()));
    }
}

fn members(to: &mut Exposition, status: Option<&Status>) {
    to.family("lvs_cluster_member_alive", Gauge, "Whether another director, or the voter, is heard.");
    for peer in status.iter().flat_map(|status| &status.peers) {
        to.sample(&[("member", &peer.name)], u8::from(peer.is_alive));
    }
}

fn beats(to: &mut Exposition, status: Option<&Status>) {
    let paths: [Family<PathStatus, u64>; 4] = [
        family("lvs_cluster_path_sent_total", Counter, "Beats sent on a path.", |path| path.sent),
        family("lvs_cluster_path_failed_total", Counter, "Beats that a path did not take.", |path| {
            path.failed
        }),
        family("lvs_cluster_path_received_total", Counter, "Messages received on a path.", |path| {
            path.received
        }),
        family(
            "lvs_cluster_path_dropped_total",
            Counter,
            "Messages of strangers, too long or damaged.",
            |path| path.dropped,
        ),
    ];
    for Family { name, kind, help, of } in paths {
        to.family(name, kind, help);
        for path in status.iter().flat_map(|status| &status.paths) {
            to.sample(&[("path", &path.name)], of(path));
        }
    }
    let heard: [Family<Heard, u64>; 3] = [
        family("lvs_cluster_beats_received_total", Counter, "Beats of a member on a path.", |heard| {
            heard.received
        }),
        family("lvs_cluster_beats_late_total", Counter, "Those that came after the warning time.", |heard| {
            heard.late
        }),
        family("lvs_cluster_beats_missing_total", Counter, "Those that never came on a path.", |heard| {
            heard.missing
        }),
    ];
    for Family { name, kind, help, of } in heard {
        to.family(name, kind, help);
        for peer in status.iter().flat_map(|status| &status.peers) {
            for heard in &peer.heard {
                to.sample(&[("member", &peer.name), ("path", &heard.path)], of(heard));
            }
        }
    }
}

/// What was not taken, by reason.
fn refused(to: &mut Exposition, status: Option<&Status>) {
    type Counts = fn(&Status) -> &Vec<(String, u64)>;
    let families: [(&str, &str, Counts); 3] = [
        ("lvs_cluster_refused_messages_total", "Beats that were not taken.", |status| &status.refused),
        (
            "lvs_cluster_refused_state_total",
            "Streams for the desired state that were refused, or ended for what was said.",
            |status| &status.refused_state,
        ),
        ("lvs_sync_refused_datagrams_total", "Datagrams about connections that were not taken.", |status| {
            &status.refused_connections
        }),
    ];
    for (name, help, of) in families {
        to.family(name, Counter, help);
        for (reason, count) in status.into_iter().flat_map(of) {
            to.sample(&[("reason", reason)], count);
        }
    }
}

/// What is told to another director, and what is taken from it.
fn synchronisation(to: &mut Exposition, views: &[View]) {
    let both: [Family<View, [f64; 2]>; 4] = [
        family("lvs_sync_progress_ratio", Gauge, "How much of all there was has been told.", |view| {
            [view.sent.progress, view.received.progress].map(|percent| f64::from(percent) / 100.0)
        }),
        family("lvs_sync_connections_total", Counter, "Connections told, again those that go on.", |view| {
            [view.sent.connections as f64, view.received.connections as f64]
        }),
        family("lvs_sync_removals_total", Counter, "Connections told to be over.", |view| {
            [view.sent.removals as f64, view.received.removals as f64]
        }),
        family(
            "lvs_sync_lost_datagrams_total",
            Counter,
            "Datagrams lost; what they said is said again.",
            |view| [view.sent.lost as f64, view.received.lost as f64],
        ),
    ];
    for Family { name, kind, help, of } in both {
        to.family(name, kind, help);
        for view in views {
            for (direction, value) in ["sent", "received"].into_iter().zip(of(view)) {
                to.sample(&[("director", &view.node), ("direction", direction)], value);
            }
        }
    }
    let sent: [Family<View, f64>; 2] = [
        family(
            "lvs_sync_sent_bytes_total",
            Counter,
            "Bytes of datagrams sent, without UDP and IP headers.",
            |view| view.sent.bytes as f64,
        ),
        family(
            "lvs_sync_lag_seconds",
            Gauge,
            "How long ago the oldest change was made that is not acknowledged.",
            |view| view.sent.lag_milliseconds as f64 / 1000.0,
        ),
    ];
    for Family { name, kind, help, of } in sent {
        to.family(name, kind, help);
        for view in views {
            to.sample(&[("director", &view.node)], of(view));
        }
    }
    to.family("lvs_sync_refused_connections_total", Counter, "Connections that were not taken over.");
    for view in views {
        let received = &view.received;
        let reasons =
            [("full", received.full), ("unresolved", received.unresolved), ("kernel", received.failures)];
        for (reason, count) in reasons {
            to.sample(&[("director", &view.node), ("reason", reason)], count);
        }
    }
}

fn desired(to: &mut Exposition, status: Option<&Status>) {
    to.family("lvs_cluster_state_version", Gauge, "Version of the desired state in force, and whose it is.");
    if let Some((status, desired)) = status.and_then(|status| Some((status, status.desired.as_ref()?))) {
        let node = desired.node.as_ref().unwrap_or(&status.node);
        to.sample(&[("director", node)], desired.version);
    }
}
