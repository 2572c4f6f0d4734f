//! Everything that is counted and measured, for Prometheus. Names, types and labels are a promise to whoever has
//! dashboards and alerts on them: docs/metrics.md, which a test compares with what is written here.

mod cluster;
mod vrrp;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::exposition::{Exposition, Kind};
use super::model::{Stats, Traffic};
use super::overview::Overview;
use super::process::Process;
use crate::cluster::pulse::Status;
use crate::cluster::vrrp::RouterStatus;
use crate::config::model::Check;
use crate::health::pool::{ServerView, ServiceView};
use crate::health::watch::LATE_CLASSES;
use crate::health::{CheckView, Pace, Standing};

/// What is told at one moment.
pub(super) struct Sources<'a> {
    pub(super) overview: &'a Overview,
    pub(super) stats: &'a Stats,
    pub(super) services: &'a [ServiceView],
    pub(super) checks: &'a [CheckView],
    pub(super) pace: Pace,
    pub(super) routers: &'a [RouterStatus],
    pub(super) process: Process,
    /// `None` without a cluster.
    pub(super) cluster: Option<&'a Status>,
}

use Kind::{Counter, Gauge, Histogram};

/// A family whose samples are told by one rule: its name, what it is, and the rule.
struct Family<T, V> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    of: fn(&T) -> V,
}

const fn family<T, V>(name: &'static str, kind: Kind, help: &'static str, of: fn(&T) -> V) -> Family<T, V> {
    Family { name, kind, help, of }
}

pub(super) fn render(sources: &Sources<'_>) -> String {
    let mut to = Exposition::default();
    services(&mut to, sources);
    destinations(&mut to, sources);
    causes(&mut to, sources);
    tables(&mut to, sources);
    servers(&mut to, sources.services);
    checks(&mut to, sources);
    pace(&mut to, sources.pace);
    agent(&mut to, sources.overview);
    vrrp::routers(&mut to, sources.routers);
    process(&mut to, sources.process);
    cluster::render(&mut to, sources.cluster);
    to.finish()
}

fn services(to: &mut Exposition, sources: &Sources<'_>) {
    to.family("lvs_service_info", Gauge, "What a service is; always 1.");
    for service in &sources.overview.view.services {
        let (vip, port) = (service.vip.to_string(), service.port.to_string());
        let labels = [
            ("service", service.name.as_str()),
            ("vip", &vip),
            ("port", &port),
            ("protocol", &service.protocol),
            ("scheduler", &service.scheduler),
        ];
        to.sample(&labels, 1);
    }
    let groups: [Family<ServiceView, bool>; 2] = [
        family(
            "lvs_service_quorum_lost",
            Gauge,
            "Whether a service has not enough real servers, and its fallback serves if there is one.",
            |view| view.short,
        ),
        family(
            "lvs_service_checks_doubted",
            Gauge,
            "Whether so many real servers fail at once that the checks are doubted.",
            |view| view.doubted,
        ),
    ];
    for Family { name, kind, help, of } in groups {
        to.family(name, kind, help);
        for view in sources.services {
            to.sample(&[("service", &view.name)], u8::from(of(view)));
        }
    }
}

/// What is installed in the kernel.
fn destinations(to: &mut Exposition, sources: &Sources<'_>) {
    let views = sources.overview.view.services.iter().flat_map(|service| &service.destinations);
    let counted = sources.stats.services.iter().flat_map(|service| {
        service.destinations.iter().map(|destination| (service.name.as_str(), destination))
    });
    // Both are of one overview, in its order.
    let all: Vec<_> = counted
        .zip(views)
        .map(|((service, destination), view)| {
            (service, shown(destination.address, destination.port), destination, view.weight)
        })
        .collect();
    to.family("lvs_destination_info", Gauge, "How packets reach a destination; always 1.");
    for (service, server, destination, _) in &all {
        to.sample(&[("service", service), ("server", server), ("forward", &destination.forward)], 1);
    }
    to.family(
        "lvs_destination_weight",
        Gauge,
        "Weight as it is installed; all are ten times as large while one grows.",
    );
    for (service, server, _, weight) in &all {
        to.sample(&[("service", service), ("server", server)], weight);
    }
    to.family("lvs_destination_current_connections", Gauge, "Entries of the connection table.");
    for (service, server, destination, _) in &all {
        for (state, count) in [("active", destination.active), ("inactive", destination.inactive)] {
            to.sample(&[("service", service), ("server", server), ("state", state)], count);
        }
    }
    to.family("lvs_destination_connections_total", Counter, "Connections that were sent to a destination.");
    for (service, server, destination, _) in &all {
        to.sample(&[("service", service), ("server", server)], destination.traffic.connections);
    }
    let traffic: [Family<Traffic, [u64; 2]>; 2] = [
        family(
            "lvs_destination_packets_total",
            Counter,
            "Packets from clients (in), and from nat servers to clients (out).",
            |traffic| [traffic.packets_in, traffic.packets_out],
        ),
        family(
            "lvs_destination_bytes_total",
            Counter,
            "Bytes of IP packets from clients (in), and from nat servers to clients (out).",
            |traffic| [traffic.bytes_in, traffic.bytes_out],
        ),
    ];
    for Family { name, kind, help, of } in traffic {
        to.family(name, kind, help);
        for (service, server, destination, _) in &all {
            for (direction, count) in ["in", "out"].into_iter().zip(of(&destination.traffic)) {
                to.sample(&[("service", service), ("server", server), ("direction", direction)], count);
            }
        }
    }
}

fn causes(to: &mut Exposition, sources: &Sources<'_>) {
    to.family("lvs_cause_packets_total", Counter, "Packets that did not simply go to their destination.");
    for cause in &sources.stats.causes {
        to.sample(&[("cause", &cause.name), ("verdict", &cause.verdict)], cause.packets);
    }
}

fn tables(to: &mut Exposition, sources: &Sources<'_>) {
    let tables = sources.overview.status().tables;
    to.family("lvs_table_entries", Gauge, "How much of a table is taken; connections as of the last sweep.");
    for table in &tables {
        to.sample(&[("table", &table.name)], table.used);
    }
    to.family("lvs_table_capacity_entries", Gauge, "How much a table holds.");
    for table in &tables {
        to.sample(&[("table", &table.name)], table.capacity);
    }
}

/// What is known of real servers.
fn servers(to: &mut Exposition, services: &[ServiceView]) {
    let all = || {
        services.iter().flat_map(|service| {
            service.servers.iter().map(|view| (service.name.as_str(), view.key.to_string(), view))
        })
    };
    let states: [Family<ServerView, f64>; 3] = [
        family(
            "lvs_server_up",
            Gauge,
            "Whether a real server passes its checks, or nothing is known against it.",
            |view| f64::from(u8::from(view.verdict.word() != "down")),
        ),
        family("lvs_server_state_age_seconds", Gauge, "How long it has been up or down.", |view| {
            view.for_time.as_secs_f64()
        }),
        family(
            "lvs_server_serving",
            Gauge,
            "Whether it is installed with a weight: it gets new connections.",
            |view| f64::from(u8::from(view.installed_weight.is_some_and(|weight| weight > 0))),
        ),
    ];
    for Family { name, kind, help, of } in states {
        to.family(name, kind, help);
        for (service, server, view) in all() {
            to.sample(&[("service", service), ("server", &server)], of(view));
        }
    }
    to.family("lvs_server_mode", Gauge, "What operators want of a real server; 1 for its mode.");
    for (service, server, view) in all() {
        to.sample(&[("service", service), ("server", &server), ("mode", view.mode.word())], 1);
    }
}

fn checks(to: &mut Exposition, sources: &Sources<'_>) {
    let known: BTreeMap<&Arc<Check>, &CheckView> =
        sources.checks.iter().map(|view| (&view.check, view)).collect();
    let all = || {
        let servers = sources
            .services
            .iter()
            .flat_map(|service| service.servers.iter().map(|server| (service.name.as_str(), server)));
        servers.flat_map(|(service, server)| {
            let numbered = (1..).zip(&server.checks);
            numbered.filter_map({
                let known = &known;
                move |(number, check)| {
                    let view: &CheckView = known.get(check)?;
                    Some((service, server.key.to_string(), number, view))
                }
            })
        })
    };
    let kinds: [Family<CheckView, Option<f64>>; 6] = [
        family("lvs_check_up", Gauge, "Whether a check passes; missing before its first result.", |view| {
            match view.standing {
                Standing::Untested => None,
                Standing::Up => Some(1.0),
                Standing::Down => Some(0.0),
            }
        }),
        family("lvs_check_probes_total", Counter, "Probes that have ended.", |view| Some(view.probes as f64)),
        family("lvs_check_failures_total", Counter, "Probes that have failed.", |view| {
            Some(view.failures as f64)
        }),
        family(
            "lvs_check_failures_in_a_row",
            Gauge,
            "Probes that have failed since one has passed.",
            |view| Some(f64::from(view.failing)),
        ),
        family("lvs_check_last_duration_seconds", Gauge, "How long the last probe took.", |view| {
            Some(view.last.as_ref()?.took.as_secs_f64())
        }),
        family(
            "lvs_check_certificate_end_timestamp_seconds",
            Gauge,
            "When the certificate ends that the last probe has seen, in seconds since 1970.",
            |view| Some(view.last.as_ref()?.certificate?.end as f64),
        ),
    ];
    for Family { name, kind, help, of } in kinds {
        to.family(name, kind, help);
        for (service, server, number, view) in all() {
            if let Some(value) = of(view) {
                let labels = [
                    ("service", service),
                    ("server", &server),
                    ("check", &number.to_string()),
                    ("type", view.check.probe.word()),
                ];
                to.sample(&labels, value);
            }
        }
    }
}

fn pace(to: &mut Exposition, pace: Pace) {
    to.family("lvs_probe_lateness_seconds", Histogram, "How much later than planned probes began.");
    let mut count = 0;
    for (end, late) in LATE_CLASSES.iter().map(Duration::as_secs_f64).zip(pace.late) {
        count += late;
        to.sample_of("_bucket", &[("le", &end.to_string())], count);
    }
    to.sample_of("_bucket", &[("le", "+Inf")], pace.probes);
    to.sample_of("_sum", &[], pace.late_total.as_secs_f64());
    to.sample_of("_count", &[], pace.probes);
    to.family("lvs_probes_running", Gauge, "Probes under way.");
    to.sample(&[], pace.running);
}

fn agent(to: &mut Exposition, overview: &Overview) {
    let status = overview.status();
    to.family("lvs_build_info", Gauge, "The agent's version and that of the maps' layout; always 1.");
    to.sample(&[("version", &status.version), ("layout", &status.layout.to_string())], 1);
    to.family("lvs_interface_info", Gauge, "An interface that has the program, and in which mode; always 1.");
    for interface in &status.interfaces {
        to.sample(&[("interface", &interface.name), ("mode", &interface.mode)], 1);
    }
    to.family("lvs_warnings", Gauge, "Warnings that hold now (lvsctl status).");
    to.sample(&[], status.warnings.len());
    to.family("lvs_reloads_total", Counter, "Reloads of the configuration.");
    for (result, count) in [("success", overview.reloads.succeeded), ("failure", overview.reloads.failed)] {
        to.sample(&[("result", result)], count);
    }
    to.family("lvs_events_total", Counter, "What happened to real servers and services (lvsctl events).");
    for (event, count) in &overview.events {
        to.sample(&[("event", event)], count);
    }
}

/// Under the names that all programs have.
fn process(to: &mut Exposition, process: Process) {
    let Process { processor_time, resident_bytes, descriptors, descriptor_limit, started } = process;
    let families = [
        (
            "process_cpu_seconds_total",
            Counter,
            "Processor time of the agent, in seconds.",
            processor_time.map(|time| time.as_secs_f64()),
        ),
        (
            "process_resident_memory_bytes",
            Gauge,
            "Memory of the agent, in bytes, without the kernel's maps.",
            resident_bytes.map(|bytes| bytes as f64),
        ),
        ("process_open_fds", Gauge, "Open descriptors.", descriptors.map(|count| count as f64)),
        (
            "process_max_fds",
            Gauge,
            "Descriptors that may be open.",
            descriptor_limit.map(|limit| limit as f64),
        ),
        ("process_start_time_seconds", Gauge, "When the agent started, in seconds since 1970.", started),
    ];
    for (name, kind, help, value) in families {
        if let Some(value) = value {
            to.family(name, kind, help);
            to.sample(&[], value);
        }
    }
}

/// As [`crate::health::pool::ServerKey`] shows real servers.
fn shown(address: std::net::IpAddr, port: u16) -> String {
    match (address, port) {
        (std::net::IpAddr::V6(address), 0) => format!("[{address}]:*"),
        (address, 0) => format!("{address}:*"),
        (address, port) => std::net::SocketAddr::new(address, port).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every family is begun, whether or not there is anything to tell. The lab compares labels.
    #[test]
    fn the_manual_lists_every_metric() {
        let overview = Overview {
            instance: String::new(),
            config: "lvs.yaml".into(),
            uptime: Duration::ZERO,
            view: Default::default(),
            attachments: Vec::new(),
            settings: lvs_common::settings::Settings::defaults(),
            warnings: Vec::new(),
            usage: Default::default(),
            reloads: Default::default(),
            events: vec![("down", 3)],
        };
        let text = render(&Sources {
            overview: &overview,
            stats: &Stats::default(),
            services: &[],
            checks: &[],
            pace: Pace { probes: 7, late: [1, 2, 3, 0, 1], ..Pace::default() },
            routers: &[],
            process: Process::read(),
            cluster: None,
        });
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let rendered: BTreeSet<_> = types.collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let manual = std::fs::read_to_string(path).unwrap();
        let rows = manual.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let kind = rest.split_once(" |")?.0;
            ["counter", "gauge", "histogram"].contains(&kind).then_some((name, kind))
        });
        assert_eq!(rows.collect::<BTreeSet<_>>(), rendered);
        assert!(text.contains("lvs_events_total{event=\"down\"} 3\n"), "{text}");
        let buckets: Vec<_> = text.lines().filter(|line| line.contains("_bucket")).collect();
        assert_eq!(buckets[1], "lvs_probe_lateness_seconds_bucket{le=\"0.01\"} 3");
        assert_eq!(buckets[4], "lvs_probe_lateness_seconds_bucket{le=\"+Inf\"} 7");
    }
}
