//! A director that is less fit than the other one: it has lost its way to the real servers, or something that it tracks.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::{Configuration, Service};
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::loss::Loss;
use lvs_tests::lab::network::{Network, Shape};
use lvs_tests::lab::pair::Pair;
use lvs_tests::lab::realserver::{self, prepare_by_hand};
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::Health;

use crate::setup::{real_servers, service};

const PATIENCE: Duration = Duration::from_secs(30);
const TIMING: &str = "interval: 200ms, fast_interval: 100ms, timeout: 300ms, rise: 2, fall: 2";
/// At `TIMING`'s interval longer than another director must be fitter before the group goes to it (5 s).
const PROBES: u64 = 30;
/// Interfaces whose presence a program finds out, and a file.
const PROGRAM: &str = "tracked0";
const FILE: &str = "tracked1";
/// Of the real servers, the first ones: their service loses its quorum where they are not reached.
const LOST: usize = 2;

#[test]
fn a_director_that_has_lost_its_way_to_real_servers_hands_over_once() -> Result<()> {
    let shape = Shape { vips: 2, ..Shape::default() };
    let mut pair = Pair::build(shape)?;
    let programs = realserver::start_all(&pair.network)?;
    for server in &pair.network.servers {
        prepare_by_hand(server, pair.network.vips())?;
    }
    let services = Family::BOTH.into_iter().flat_map(|family| sites(&pair.network, family)).collect();
    pair.start(Configuration::new(&pair.network, services).to_string())?;
    // Of each family two real servers at one VIP, and one at the other.
    wait_for_scores(&pair, [6, 6])?;
    let client = &pair.network.client;
    let target = |number| move |family| (address::vip(family, number), ECHO_PORT).into();
    let flows = Flows::open(client, &Family::BOTH.map(target(1)), 100)?;

    let ways: Vec<Loss> = pair.network.servers[..LOST]
        .iter()
        .map(|server| Loss::between(&pair.network.switch, "director", &server.name))
        .collect::<Result<_>>()?;
    pair.wait_for_active(1)?;
    ensure!(pair.role(0) == "standby", "{}", pair.explain());
    for family in Family::BOTH {
        wait_until(&format!("an answer over {family}"), PATIENCE, || {
            client.enter(|| Exchange::TcpEcho.once(target(0)(family))).is_ok()
        })
        .with_context(|| pair.explain())?;
    }
    // One service of each family has its quorum.
    wait_for_scores(&pair, [2, 6])?;
    expect_to_stay(&pair, "while the first director does not reach them")?;

    // Then nobody does, which is no reason to hand over, nor is it when the first one does again.
    let others: Vec<Loss> = pair.network.servers[..LOST]
        .iter()
        .map(|server| Loss::between(&pair.network.switch, "director2", &server.name))
        .collect::<Result<_>>()?;
    wait_for_scores(&pair, [2, 2])?;
    others.into_iter().chain(ways).for_each(Loss::heal);
    wait_for_scores(&pair, [6, 6])?;
    ensure!(pair.is_active(1) && pair.takeovers()? == 2, "{}", pair.explain());

    let report = flows.stop()?;
    println!("the longest stall of a connection whose path lives: {:?}", report.longest_stall);
    report.expect_none_broken().with_context(|| pair.explain())?;
    drop(programs);
    Ok(())
}

/// Whether a program and a file are well is a matter of the director's own network namespace here.
#[test]
fn the_fitter_director_by_what_is_tracked_has_the_group() -> Result<()> {
    let mut pair = Pair::build(Shape::default())?;
    let _programs = realserver::start_all(&pair.network)?;
    for director in [0, 1] {
        set(&pair, director, PROGRAM, true)?;
        set(&pair, director, FILE, true)?;
    }
    let gateways = pair.network.servers[..2].iter().map(|server| server.address(Family::V4).to_string());
    let gateways = gateways.collect::<Vec<_>>().join(", ");
    pair.options = format!(
        "  track:\n    gateways: [{gateways}]\n    \
         scripts: [{{command: [ip, link, show, {PROGRAM}], interval: 200ms}}]\n    \
         files: [/proc/thread-self/net/dev_snmp6/{FILE}]\n"
    );
    pair.start(Configuration::new(&pair.network, Vec::new()).to_string())?;
    wait_for_scores(&pair, [4000, 4000])?;

    set(&pair, 0, PROGRAM, false)?;
    wait_for_scores(&pair, [3000, 4000])?;
    pair.wait_for_active(1)?;

    set(&pair, 1, FILE, false)?;
    set(&pair, 0, PROGRAM, true)?;
    wait_for_scores(&pair, [4000, 3000])?;
    pair.wait_for_active(0)?;

    set(&pair, 1, FILE, true)?;
    let lose = |server: usize, director: &str| {
        Loss::between(&pair.network.switch, director, &pair.network.servers[server].name)
    };
    let one = lose(0, "director")?;
    wait_for_scores(&pair, [3000, 4000])?;
    pair.wait_for_active(1)?;

    // Who reaches none is cut off, whatever the other one lacks.
    let both = [lose(0, "director2")?, lose(1, "director2")?];
    pair.wait_for_active(0)?;
    let is_fit = |director: usize| pair.status(director).is_ok_and(|status| status.groups[0].is_fit);
    ensure!(is_fit(0) && !is_fit(1), "{}", pair.explain());
    ensure!(pair.takeovers()? == 5, "once for each loss\n{}", pair.explain());
    both.into_iter().chain([one]).for_each(Loss::heal);
    wait_for_scores(&pair, [4000, 4000])
}

fn set(pair: &Pair, director: usize, name: &str, present: bool) -> Result<()> {
    let change = if present { format!("link add {name} type veth") } else { format!("link del {name}") };
    pair.directors[director].links(&change)
}

/// The first VIP has the real servers whose way gets lost, the second one all others.
fn sites(network: &Network, family: Family) -> Vec<Service> {
    let (lost, others) = {
        let mut servers = real_servers(network, family);
        let others = servers.split_off(LOST);
        (servers, others)
    };
    let site = |(number, servers)| {
        let mut service = service(family, ECHO_PORT, "tcp", "wlc", "dr", servers);
        service.vip = address::vip(family, number);
        service.name += &format!("-{number}");
        service.health = format!("{{checks: [{{type: tcp, {TIMING}}}]}}");
        service
    };
    [(0, lost), (1, others)].map(site).to_vec()
}

fn wait_for_scores(pair: &Pair, scores: [u16; 2]) -> Result<()> {
    let has = |director: usize| {
        pair.status(director).is_ok_and(|status| status.groups[0].score == scores[director])
    };
    wait_until(&format!("the fitness to be {scores:?}"), PATIENCE, || has(0) && has(1))
        .with_context(|| pair.explain())
}

/// The second director holds the group, for the second term, for as many probes as the other one would need to have it back.
fn expect_to_stay(pair: &Pair, when: &str) -> Result<()> {
    let control = pair.agent(1)?.control();
    let probes = || -> Result<u64> {
        let health: Health = control.json(&["health"])?;
        let servers = health.services.iter().flat_map(|service| &service.servers);
        servers.map(|server| server.checks[0].probes).min().context("no checks")
    };
    let until = probes()? + PROBES;
    let mut has_moved = false;
    wait_until("further probes", PATIENCE, || {
        has_moved = pair.role(1) != "active" || pair.takeovers().is_ok_and(|terms| terms != 2);
        has_moved || probes().is_ok_and(|probes| probes >= until)
    })?;
    ensure!(!has_moved, "the group did not stay {when}\n{}", pair.explain());
    Ok(())
}
