//! The agent's beginning and end.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::network::{Network, Shape};
use lvs_tests::lab::realserver::HTTP_PORT;
use lvs_tests::lab::wait::{wait_for, wait_until};

use crate::setup::{Balanced, Preparation, dialled, prepare_ipip, real_servers, service};

const PATIENCE: Duration = Duration::from_secs(10);

fn web(network: &Network) -> Configuration {
    let services = Family::BOTH
        .map(|family| service(family, HTTP_PORT, "tcp", "rr", "dr", real_servers(network, family)));
    Configuration::new(network, services.to_vec())
}

/// The id of the XDP program on an interface of the director; empty without one.
fn xdp_on(network: &Network, interface: &str) -> Result<String> {
    let links = network.director.run("ip", &["-j", "link", "show", interface])?;
    let links: serde_json::Value = serde_json::from_str(&links)?;
    Ok(links[0]["xdp"]["prog"]["id"].to_string().replace("null", ""))
}

#[test]
fn an_orderly_end_leaves_nothing_behind() -> Result<()> {
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, web)?;
    let control = balanced.agent.control().clone();
    ensure!(control.pins().is_dir() && control.socket().exists(), "the agent has no pins or no socket");
    ensure!(!xdp_on(&balanced.network, "eth0")?.is_empty(), "no XDP program is on eth0");

    let status = balanced.agent.terminate()?;
    ensure!(status.success(), "lvsd ended with {status}: {}", balanced.agent.log());
    ensure!(!control.pins().exists(), "{} is left", control.pins().display());
    ensure!(!control.socket().exists(), "{} is left", control.socket().display());
    ensure!(xdp_on(&balanced.network, "eth0")?.is_empty(), "an XDP program is left on eth0");

    // And it can begin anew.
    balanced.agent.start_again()?;
    for family in Family::BOTH {
        balanced.network.client.enter(|| Exchange::Http.once(dialled(family, HTTP_PORT)))?;
    }
    Ok(())
}

/// A check's program and the child that it waits for go with an agent that cannot end them any more.
#[test]
fn programs_end_with_a_killed_agent() -> Result<()> {
    let mut pids = PathBuf::new();
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        pids = network.identity.directory().join("pids");
        let script = format!("echo $$ >> {0}; sh -c 'echo $$ >> {0}; exec sleep 600'; true", pids.display());
        let mut configuration = web(network);
        configuration.services.truncate(1);
        configuration.services[0].health = format!(
            "{{checks: [{{type: external, timeout: 10m, convention: nagios, command: [sh, -c, \"{script}\"]}}]}}"
        );
        configuration
    })?;
    let started = wait_for("a program and its child for each server", PATIENCE, || {
        let text = fs::read_to_string(&pids).unwrap_or_default();
        let pids: Vec<String> = text.lines().map(str::to_owned).collect();
        (pids.len() == 6).then_some(pids)
    })?;
    let is_there = |pid: &String| {
        // Nobody may have asked for the end of one that has ended.
        fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("State:\tZ"))
    };
    ensure!(started.iter().all(is_there), "some have ended by themselves: {started:?}");
    balanced.agent.kill()?;
    wait_until("all of them to end", PATIENCE, || !started.iter().any(is_there))
}

#[test]
fn a_killed_agent_leaves_the_data_plane_and_the_next_one_adopts_it() -> Result<()> {
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, web)?;
    let network = &balanced.network;
    let once = || network.client.enter(|| Exchange::Http.once(dialled(Family::V4, HTTP_PORT)));
    once()?;
    let program = xdp_on(network, "eth0")?;
    balanced.agent.kill()?;
    once()?;
    ensure!(xdp_on(network, "eth0")? == program, "the XDP program went with the agent");
    balanced.agent.start_again()?;
    once()?;
    ensure!(balanced.agent.terminate()?.success());
    ensure!(!balanced.agent.control().pins().exists(), "the adopted pins are left");
    ensure!(xdp_on(network, "eth0")?.is_empty(), "the adopted program is left on eth0");
    Ok(())
}

#[test]
fn a_second_agent_of_the_same_name_is_refused() -> Result<()> {
    let balanced = Balanced::start(Shape::default(), Preparation::ByHand, web)?;
    let (status, words) = balanced.agent.start_second()?;
    ensure!(!status.success(), "a second lvsd ran under the same name: {words}");
    ensure!(words.contains("running"), "the message does not say why: {words}");
    balanced.network.client.enter(|| Exchange::Http.once(dialled(Family::V4, HTTP_PORT)))?;
    Ok(())
}

/// `lvsd realserver` undoes all that it did.
#[test]
fn a_prepared_server_is_as_before_afterwards() -> Result<()> {
    let network = Network::build(Shape { real_servers: 1, ..Shape::default() })?;
    let server = &network.servers[0];
    let state = || -> Result<String> {
        let namespace = &server.namespace;
        let arp = namespace.enter(|| {
            let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}"));
            Ok(read("all/arp_ignore")? + &read("all/arp_announce")? + &read("eth0/arp_ignore")?)
        })?;
        let addresses = namespace.run("ip", &["-o", "addr", "show", "dev", "lo"])?;
        let routes = namespace.run("ip", &["route"])? + &namespace.run("ip", &["-6", "route"])?;
        let programs = namespace.run("bpftool", &["net", "show"])?;
        Ok([arp, addresses, routes, programs].join("\n"))
    };
    let before = state()?;
    let mut prepared = prepare_ipip(&network, server)?;
    ensure!(state()? != before, "nothing was prepared");
    ensure!(prepared.terminate()?.success(), "{}", prepared.log());
    let after = state()?;
    ensure!(after == before, "before:\n{before}\nafter:\n{after}");
    Ok(())
}
