//! Two directors: one dies, hangs or is cut off, and nobody notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::arp::ArpWatch;
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::fault::Fault;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::gap::GapProbe;
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::pair::Pair;
use lvs_tests::lab::realserver::HTTP_PORT;
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::trial::{Burden, Trial};
use lvs_tests::lab::wait::wait_until;

use crate::setup::dialled;

const PATIENCE: Duration = Duration::from_secs(20);

/// Fault after fault, each at the director that is active, under load; tells what was seen.
fn survive(
    scheduler: &'static str,
    forward: &'static str,
    faults: &[(Fault, bool)],
    established: usize,
    hurries: bool,
) -> Result<()> {
    let mut stage = Stage::start(scheduler, forward, |_| Ok(()))?;
    let vips: Vec<_> = stage.pair.network.vips().collect();
    let watch = ArpWatch::start(&stage.pair.network.client, "eth0", &vips)?;
    let mut trial = Trial::begin(&mut stage, Burden { established, new_per_second: 200 })?;
    trial.hurries = hurries;
    for (fault, in_drain) in faults {
        let seen = trial.run(*fault, *in_drain)?;
        println!("{forward} {scheduler}: {seen}");
        ensure!(seen.broken == 0, "{seen}");
        // One that was born in the last batch before a crash may be lost, no more.
        ensure!(seen.new_failed <= 2, "{seen}");
    }
    trial.end()?.expect_none_broken()?;
    stage.expect_turns(&watch.stop()?, faults.len())
}

#[test]
fn a_killed_director_is_replaced_and_comes_back() -> Result<()> {
    let mut stage = Stage::start("mh", "dr", |_| Ok(()))?;
    stage.answers()?;
    Fault::Kill.prepare(&stage.pair, 0)?.strike(&mut stage.pair)?;
    stage.pair.wait_for_active(1)?;
    stage.answers()?;
    Fault::Kill.mend(&mut stage.pair, 0)?;
    stage.answers()?;
    assert!(!stage.pair.is_active(0), "failback is off\n{}", stage.pair.explain());
    Ok(())
}

/// Each with another method and another scheduler; `lvs-lab matrix` has them all.
const FAULTS: [(Fault, bool); 4] =
    [(Fault::Kill, false), (Fault::Stop, true), (Fault::Pull, false), (Fault::Crash, false)];

#[test]
fn established_connections_go_on_with_rings_and_dr() -> Result<()> {
    survive("mh", "dr", &FAULTS, 2000, false)
}

#[test]
fn established_connections_go_on_with_wlc_and_nat() -> Result<()> {
    survive("wlc", "nat", &FAULTS, 2000, false)
}

#[test]
fn established_connections_go_on_with_rr_and_ipip() -> Result<()> {
    survive("rr", "ipip", &FAULTS, 2000, false)
}

/// What an operator has set is the cluster's: it goes where the services go, and comes back with a director that knows
/// less.
#[test]
fn a_drain_survives_the_director_and_its_end_too() -> Result<()> {
    let mut stage = Stage::start("rr", "dr", |_| Ok(()))?;
    let drained = stage.pair.network.servers[0].clone();
    let answers_of_drained = |pair: &Pair| -> Result<u64> {
        let plan = Plan::count(Exchange::Http, dialled(Family::V4, HTTP_PORT), 60);
        let report = Load::start(&pair.network.client, plan).finish()?;
        report.expect_no_failure()?;
        Ok(report.answers_of(&drained.name))
    };
    stage.wait_for_mode(0, &drained, false)?;
    stage.set_drained(0, &drained, true)?;
    let address = drained.address(Family::V4).to_string();
    let refused = stage.pair.agent(1)?.control().run(&["enable", &address]).expect_err("it stands by");
    ensure!(format!("{refused:#}").contains("follows director-1"), "{refused:#}");

    Fault::Kill.prepare(&stage.pair, 0)?.strike(&mut stage.pair)?;
    stage.pair.wait_for_active(1)?;
    stage.wait_for_mode(1, &drained, true)?;
    let answers = answers_of_drained(&stage.pair)?;
    ensure!(answers == 0, "{answers}\n{}", stage.pair.explain());
    stage.set_drained_at(1, &drained, false)?;
    let answers = answers_of_drained(&stage.pair)?;
    ensure!(answers == 20, "{answers}\n{}", stage.pair.explain());

    // What the first one has on its disk is of before.
    Fault::Kill.mend(&mut stage.pair, 0)?;
    stage.wait_for_mode(0, &drained, false)?;
    ensure!(stage.pair.role(0) == "standby", "failback is off\n{}", stage.pair.explain());
    Ok(())
}

/// Ten rounds of failover and failback.
#[test]
fn ten_rounds_break_nothing() -> Result<()> {
    let rounds: Vec<_> = [(Fault::Kill, false), (Fault::Stop, false)].into_iter().cycle().take(10).collect();
    survive("mh", "dr", &rounds, 200, true)
}

#[test]
fn operators_move_a_group_and_a_planned_restart_does_not() -> Result<()> {
    let mut stage = Stage::start("wlc", "nat", |_| Ok(()))?;
    let client = stage.pair.network.client.clone();
    let flows = Flows::open(&client, &Family::BOTH.map(|family| dialled(family, ECHO_PORT)), 100)?;
    let go_on = |what: &str| -> Result<()> {
        let before = flows.exchanges();
        wait_until(what, PATIENCE, || flows.exchanges() > before + 300 || flows.broken() > 0)?;
        ensure!(flows.broken() == 0, "{what}: {} flows broke", flows.broken());
        Ok(())
    };
    // The second one must be ready, and the first must know.
    wait_until("the first director to hand over", PATIENCE, || {
        stage.pair.agent(0).is_ok_and(|agent| agent.control().run(&["cluster", "standby"]).is_ok())
    })?;
    stage.pair.wait_for_active(1)?;
    go_on("flows after a hand over")?;
    stage.pair.agent(0)?.control().run(&["cluster", "takeover"])?;
    stage.pair.wait_for_active(0)?;
    go_on("flows after a takeover")?;

    let probe = GapProbe::start(&client, dialled(Family::V4, ECHO_PORT), Duration::from_millis(10))?;
    let terms = stage.pair.takeovers()?;
    stage.pair.agent(0)?.control().run(&["stop", "--keep-forwarding"])?;
    stage.pair.agents[0].as_mut().context("it was there")?.start_again()?;
    stage.pair.wait_for_active(0)?;
    ensure!(stage.pair.takeovers()? == terms, "a planned restart is no takeover\n{}", stage.pair.explain());
    println!("longest gap over a planned restart: {:?}", probe.stop().longest_gap);

    go_on("flows after a planned restart")?;
    // A clean end hands over.
    stage.pair.agents[0].as_mut().context("it runs")?.terminate()?;
    stage.pair.wait_for_active(1)?;
    stage.answers()?;
    flows.stop()?.expect_none_broken()
}
