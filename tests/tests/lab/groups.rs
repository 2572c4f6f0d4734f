//! Several groups, held by different directors: a planned restart of either moves none, and its end all; what operators
//! want of the real servers of a group goes with it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::gap::GapProbe;
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::pair::{NODES, Pair};
use lvs_tests::lab::realserver::HTTP_PORT;
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::Health;

const PATIENCE: Duration = Duration::from_secs(20);
const GROUPS: usize = 3;
const ROLES: [&str; 2] = ["active", "standby"];
const FLOWS: usize = 120;

/// The roles of a director for all groups.
fn roles(pair: &Pair, index: usize) -> Vec<String> {
    pair.status(index).unwrap_or_default().groups.into_iter().map(|group| group.role).collect()
}

/// The terms of all groups, as a director knows them.
fn terms(pair: &Pair, index: usize) -> Result<Vec<u64>> {
    Ok(pair.status(index)?.groups.iter().map(|group| group.epoch).collect())
}

fn wait_for_roles<const N: usize>(pair: &Pair, expected: [[&str; N]; 2]) -> Result<()> {
    wait_until(&format!("{expected:?}"), PATIENCE, || {
        (0..2).all(|index| pair.agents[index].is_none() || roles(pair, index) == expected[index])
    })
    .with_context(|| pair.explain())
}

#[test]
fn a_planned_restart_moves_none_of_several_groups_and_an_end_moves_all() -> Result<()> {
    let shape = Shape { vips: GROUPS as u8, ..Shape::default() };
    let mut stage = Stage::start_with(shape, "wlc", "dr", |pair| {
        pair.has_group_for_each_vip = true;
        Ok(())
    })?;
    let [active, standby] = ROLES;
    wait_for_roles(&stage.pair, [[active; GROUPS], [standby; GROUPS]])?;
    let targets: Vec<_> = (0..shape.vips)
        .flat_map(|number| Family::BOTH.map(|family| (address::vip(family, number), ECHO_PORT).into()))
        .collect();
    let flows = Flows::open(&stage.pair.network.client, &targets, FLOWS)?;
    let go_on = |pair: &Pair, what: &str| -> Result<()> {
        let before = flows.exchanges();
        wait_until(what, PATIENCE, || flows.exchanges() > before + 3 * FLOWS as u64 || flows.broken() > 0)?;
        ensure!(flows.broken() == 0, "{what}: {:?}\n{}", flows.examples(), pair.explain());
        Ok(())
    };
    // One of them goes to the other director.
    stage.pair.agent(1)?.control().run(&["cluster", "takeover", "www2"])?;
    let shared = [[active, active, standby], [standby, standby, active]];
    wait_for_roles(&stage.pair, shared)?;
    stage.pair.wait_until_settled(1)?;
    go_on(&stage.pair, "flows after one group has moved")?;

    // An upgrade, one after the other: each next agent has another file, whose change of `cluster` a reload refuses.
    stage.pair.options += "  deadtime: 600ms\n";
    for index in [0, 1] {
        let before = terms(&stage.pair, index)?;
        let agent = stage.pair.agents[index].as_mut().context("it runs")?;
        ensure!(agent.make_way()?.success(), "{}", agent.log());
        let said = agent.log();
        stage.pair.start_agent(index)?;
        wait_for_roles(&stage.pair, shared)?;
        let waited = said.matches("the others wait for the restart with group").count();
        ensure!(waited == [2, 1][index], "of {}: {waited}\n{said}", NODES[index]);
        for director in [0, 1] {
            let after = terms(&stage.pair, director)?;
            ensure!(after == before, "{before:?}, then {after:?}\n{}", stage.pair.explain());
        }
        go_on(&stage.pair, "flows after a planned restart")?;
        stage.pair.wait_until_settled(1)?;
    }

    let before = terms(&stage.pair, 1)?;
    let probe = GapProbe::start(&stage.pair.network.client, targets[0], Duration::from_millis(10))?;
    stage.pair.agent(0)?.control().run(&["stop"])?;
    wait_until("the second director to have all groups", PATIENCE, || {
        roles(&stage.pair, 1) == [active; GROUPS]
    })
    .with_context(|| stage.pair.explain())?;
    println!("without service while a director ends: {:?}", probe.stop().longest_gap);
    // Each at the first attempt: who ends votes for the other.
    let after = terms(&stage.pair, 1)?;
    ensure!(after == [before[0] + 1, before[1] + 1, before[2]], "{before:?}, then {after:?}");
    go_on(&stage.pair, "flows after the end of one director")?;
    flows.stop()?.expect_none_broken()
}

/// The modes of a server in the services at a VIP, as a director has them.
fn modes_of(pair: &Pair, director: usize, vip: usize, server: IpAddr) -> Vec<(String, String)> {
    let health = pair.agent(director).and_then(|agent| agent.control().json::<Health>(&["health"]));
    let services = health.map(|health| health.services).unwrap_or_default().into_iter();
    services
        .filter(|service| service.name.ends_with(&format!("-{vip}")))
        .flat_map(|service| {
            let servers = service.servers.into_iter().filter(|one| one.address == server);
            servers.map(|server| (service.name.clone(), server.mode)).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn a_drain_is_known_to_the_director_that_holds_another_group() -> Result<()> {
    let shape = Shape { vips: 2, ..Shape::default() };
    let mut stage = Stage::start_with(shape, "mh", "dr", |pair| {
        pair.has_group_for_each_vip = true;
        Ok(())
    })?;
    let [active, standby] = ROLES;
    wait_for_roles(&stage.pair, [[active; 2], [standby; 2]])?;
    stage.pair.agent(1)?.control().run(&["cluster", "takeover", "www1"])?;
    wait_for_roles(&stage.pair, [[active, standby], [standby, active]])?;
    let client = stage.pair.network.client.clone();
    let [of_first, of_second] = [0, 1].map(|number| address::vip(Family::V4, number));
    let flows = Flows::open(&client, &[(of_first, ECHO_PORT).into()], FLOWS)?;

    let drained = stage.pair.network.servers[0].clone();
    let server = drained.address(Family::V4);
    let drain = |director: usize, more: &[&str]| {
        let text = server.to_string();
        let command = [&["drain", &text], more].concat();
        stage.pair.agent(director)?.control().run(&command)
    };
    let modes = |director, vip| modes_of(&stage.pair, director, vip, server);
    let are = |director, vip, expected: &str| {
        let modes = modes(director, vip);
        !modes.is_empty() && modes.iter().all(|(_, mode)| mode == expected)
    };
    for (director, holder) in [(0, 1), (1, 0)] {
        let service = modes(director, holder).into_iter().next().context("it has services")?.0;
        let refusal = format!("it is served by {}: maintain real servers there", NODES[holder]);
        let is_refused = || {
            let refused = drain(director, &["--service", &service]);
            refused.is_err_and(|error| format!("{error:#}").contains(&refusal))
        };
        wait_until(&refusal, PATIENCE, is_refused).with_context(|| stage.pair.explain())?;
    }
    let said = drain(0, &[])?;
    ensure!(said.contains("; 3 more are served elsewhere, and to be maintained there"), "{said}");
    wait_until("the drain at the second director", PATIENCE, || are(1, 0, "drained"))
        .with_context(|| stage.pair.explain())?;
    for (director, vip, expected) in [(0, 0, "drained"), (0, 1, "enabled"), (1, 1, "enabled")] {
        ensure!(are(director, vip, expected), "{director}: {:?}", modes(director, vip));
    }

    // What an operator wants a moment before he hands the group over counts there, and is not taken back here.
    let other = stage.pair.network.servers[1].address(Family::V4);
    let second = stage.pair.agent(1)?.control();
    // Who has just handed a group over does not take it back at once.
    wait_until("the first director to take the second group", PATIENCE, || {
        let server = other.to_string();
        let wishes = [&["enable", &server][..], &["drain", &server], &["cluster", "standby", "www1"]];
        wishes.into_iter().all(|wish| second.run(wish).is_ok())
    })
    .with_context(|| stage.pair.explain())?;
    wait_for_roles(&stage.pair, [[active; 2], [standby; 2]])?;
    for director in [0, 1] {
        let modes = modes_of(&stage.pair, director, 1, other);
        ensure!(
            !modes.is_empty() && modes.iter().all(|(_, mode)| mode == "drained"),
            "{director}: {modes:?}"
        );
    }
    wait_until("the second director to take it back", PATIENCE, || {
        second.run(&["cluster", "takeover", "www1"]).is_ok()
    })
    .with_context(|| stage.pair.explain())?;
    wait_for_roles(&stage.pair, [[active, standby], [standby, active]])?;

    // The connections of a drained server go on, and new ones go elsewhere, at whichever director.
    let expect = |vip, has_drained: bool| -> Result<()> {
        let plan = Plan::count(Exchange::Http, (vip, HTTP_PORT).into(), 60);
        let report = Load::start(&client, plan).finish()?;
        report.expect_no_failure()?;
        let answers = report.answers_of(&drained.name);
        ensure!((answers > 0) == has_drained, "{vip}: {answers} of {}", drained.name);
        Ok(())
    };
    expect(of_first, false)?;
    let mut dead = stage.pair.agents[0].take().context("it does not run")?;
    dead.kill()?;
    wait_for_roles(&stage.pair, [["", ""], [active; 2]])?;
    expect(of_first, false)?;
    expect(of_second, true)?;
    let before = flows.exchanges();
    wait_until("flows at the second director", PATIENCE, || {
        flows.exchanges() > before + 3 * FLOWS as u64 || flows.broken() > 0
    })?;
    flows.stop()?.expect_none_broken()
}
