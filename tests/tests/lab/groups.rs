//! Several groups, held by different directors: a planned restart of either moves none, and its end all.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::gap::GapProbe;
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::pair::{NODES, Pair};
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);
const GROUPS: usize = 3;
const FLOWS: usize = 120;

/// The roles of a director for all groups.
fn roles(pair: &Pair, index: usize) -> Vec<String> {
    pair.status(index).unwrap_or_default().groups.into_iter().map(|group| group.role).collect()
}

/// The terms of all groups, as a director knows them.
fn terms(pair: &Pair, index: usize) -> Result<Vec<u64>> {
    Ok(pair.status(index)?.groups.iter().map(|group| group.epoch).collect())
}

fn wait_for_roles(pair: &Pair, expected: [[&str; GROUPS]; 2]) -> Result<()> {
    wait_until(&format!("{expected:?}"), PATIENCE, || {
        (0..2).all(|index| roles(pair, index) == expected[index])
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
    let [active, standby] = ["active", "standby"];
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
        stage.pair.agent(index)?.control().run(&["stop", "--keep-forwarding"])?;
        let said = stage.pair.agent(index)?.log();
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
