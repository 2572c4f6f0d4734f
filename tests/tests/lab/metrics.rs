//! Prometheus finds what is counted and measured, as docs/metrics.md promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::command::run_with_input;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::realserver::HTTP_PORT;
use lvs_tests::lab::wait::wait_until;

use crate::setup::{Balanced, Preparation, dialled, real_servers, service};

const PATIENCE: Duration = Duration::from_secs(10);

/// Name, sorted labels and value.
pub(crate) type Sample = (String, BTreeMap<String, String>, f64);

fn samples(text: &str) -> Result<Vec<Sample>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').with_context(|| format!("no value: {line}"))?;
            let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
            let pairs = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
                let (name, value) = pair.split_once("=\"").with_context(|| format!("no label: {pair}"))?;
                Ok((name.to_owned(), value.trim_end_matches('"').to_owned()))
            });
            Ok((name.to_owned(), pairs.collect::<Result<_>>()?, value.parse()?))
        })
        .collect()
}

/// The labels of every metric in the manual's tables.
fn promised() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let manual = fs::read_to_string(path)?;
    let rows = manual.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, ..] = cells.as_slice() else { return None };
        ["counter", "gauge", "histogram"].contains(kind).then(|| {
            let labels = labels.split_whitespace().map(|label| label.trim_matches('`').to_owned());
            (name.trim_matches('`').to_owned(), labels.collect())
        })
    });
    Ok(rows.collect())
}

/// What a page tells, if promtool has nothing against it and the manual promises it.
pub(crate) fn checked(page: &str) -> Result<Vec<Sample>> {
    let mut promtool = Command::new("promtool");
    let lint = run_with_input(promtool.args(["check", "metrics"]), page)?;
    ensure!(lint.trim().is_empty(), "promtool says: {lint}");
    let promised = promised()?;
    let samples = samples(page)?;
    for (name, labels, _) in &samples {
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
        let family = suffix.filter(|family| promised.contains_key(*family)).unwrap_or(name);
        let expected = promised.get(family).with_context(|| format!("{family} is not in the manual"))?;
        let found: BTreeSet<String> = labels.keys().filter(|label| *label != "le").cloned().collect();
        ensure!(found == *expected, "{name} has the labels {found:?} instead of {expected:?}");
    }
    Ok(samples)
}

/// Of all samples with this name and these labels.
pub(crate) fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let of = samples.iter().filter(|(other, found, _)| {
        other == name && labels.iter().all(|(label, value)| found.get(*label).is_some_and(|v| v == value))
    });
    of.map(|(_, _, value)| value).sum::<f64>()
}

#[test]
fn metrics_are_what_the_manual_promises() -> Result<()> {
    let mut text = String::new();
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        let services = Family::BOTH.map(|family| {
            let mut service = service(family, HTTP_PORT, "tcp", "rr", "dr", real_servers(network, family));
            service.health = "{checks: [{type: tcp, interval: 200ms, fall: 1}]}".to_owned();
            service
        });
        let configuration = Configuration::new(network, services.to_vec());
        text = configuration.to_string();
        configuration
    })?;
    let control = balanced.agent.control().clone();
    balanced.programs[0].web.kill()?;
    let load = Plan::count(Exchange::Http, dialled(Family::V4, HTTP_PORT), 60);
    wait_until("the dead server to be out", PATIENCE, || {
        control.run(&["metrics"]).is_ok_and(|text| {
            text.contains("lvs_server_up{service=\"tcp-80-v4\",server=\"10.0.0.11:80\"} 0\n")
        })
    })?;
    Load::start(&balanced.network.client, load).finish()?.expect_no_failure()?;
    ensure!(control.run(&["reload"]).is_ok());

    // Over HTTP from here on, on the address that the machines of the lab reach.
    let metrics = "metrics: {listen: \"0.0.0.0:9742\"}\n";
    balanced.agent.reload(&format!("{text}{metrics}"))?;
    let director = lvs_tests::lab::address::director(lvs_tests::lab::address::Net::Servers, Family::V4);
    let url = |path: &str| format!("http://{director}:9742{path}");
    let client = &balanced.network.servers[0].namespace;
    let curl = |path: &str| client.run("curl", &["--silent", "--fail", "--max-time", "5", &url(path)]);
    let text_of_metrics = curl("/metrics").with_context(|| balanced.explain())?;
    ensure!(curl("/other").is_err(), "something else is served");

    let samples = checked(&text_of_metrics)?;
    let value = |name: &str, labels: &[(&str, &str)]| sum(&samples, name, labels);
    let www = ("service", "tcp-80-v4");
    ensure!(value("lvs_destination_connections_total", &[www]) == 60.0, "{text_of_metrics}");
    ensure!(value("lvs_destination_packets_total", &[www, ("direction", "in")]) > 200.0, "{text_of_metrics}");
    ensure!(value("lvs_server_up", &[www]) == 2.0, "{text_of_metrics}");
    ensure!(value("lvs_events_total", &[("event", "down")]) == 2.0, "{text_of_metrics}");
    ensure!(value("lvs_reloads_total", &[("result", "success")]) == 2.0, "{text_of_metrics}");
    ensure!(value("lvs_check_failures_in_a_row", &[www, ("server", "10.0.0.11:80")]) >= 1.0);
    ensure!(value("process_resident_memory_bytes", &[]) > 1e6);

    balanced.agent.reload(&text)?;
    wait_until("the listener to end", PATIENCE, || curl("/metrics").is_err())
}
