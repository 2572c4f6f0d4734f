//! Act 6 of the demonstration: two directors, of which one is killed under load, and then the other.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{Family, vip};
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::{Flows, FlowsReport};
use lvs_tests::lab::gap::GapProbe;
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::namespace::Namespace;
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::pair::{self, NODES, Pair};
use lvs_tests::lab::process::Process;
use lvs_tests::lab::realserver::{self, HTTP_PORT, Programs};
use lvs_tests::lab::wait::wait_until;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::setting::{METHODS, Method, WEIGHTS, configuration, prepare};
use crate::table::render;

/// Connections that stay open, by each method, half of them over each family.
const FLOWS: usize = 700;
/// Messages of each of them that have to come back before and after a takeover.
const ROUNDS: u64 = 4;
/// Between two datagrams of a probe, and so the error of a gap.
const PACE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

/// # Errors
/// An established connection broke, or a director was not replaced.
pub(crate) fn takeovers() -> Result<()> {
    println!("6. two directors with two heartbeat networks; the active one's agent is killed under load\n");
    allow_many_files()?;
    let mut stage = Stage::build()?;
    let client = stage.pair.network.client.clone();
    let flows: Vec<Flows> = METHODS
        .iter()
        .map(|method| Flows::open(&client, &Family::BOTH.map(|family| target(method, family)), FLOWS))
        .collect::<Result<_>>()?;
    println!("   {} TCP connections are open and in use\n", FLOWS * METHODS.len());

    let heading =
        ["killed", "service", "established", "broken", "without service", "new", "failed", "slowest"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for active in [0, 1] {
        rows.extend(stage.kill(active, &flows)?);
        if active == 0 {
            let control = stage.pair.agent(1)?.control();
            println!("   {} is dead; `lvsctl cluster` of {}:\n", NODES[0], NODES[1]);
            control
                .run(&["cluster"])?
                .lines()
                .for_each(|line| println!("{}", format!("     {line}").trim_end()));
        }
        stage.bring_back(active)?;
    }
    println!("\n{}", render(&rows));
    println!(
        "   (a new connection whose SYN is lost while nobody serves is made by its retry, a second later)"
    );

    let reports = flows.into_iter().map(Flows::stop).collect::<Result<Vec<FlowsReport>>>()?;
    let exchanges: u64 = reports.iter().map(|report| report.exchanges).sum();
    let broken: usize = reports.iter().map(|report| report.broken).sum();
    let stall = reports.iter().map(|report| report.longest_stall).max().unwrap_or_default();
    println!(
        "   over both takeovers: {broken} of {} connections broke; {exchanges} messages, the slowest {} ms\n",
        FLOWS * METHODS.len(),
        stall.as_millis()
    );
    reports.iter().try_for_each(FlowsReport::expect_none_broken).with_context(|| stage.pair.explain())
}

/// In this order it ends: the agents first, the network last.
struct Stage {
    pair: Pair,
    _prepared: Vec<Process>,
    _programs: Vec<Programs>,
}

impl Stage {
    fn build() -> Result<Self> {
        let vips = METHODS.len() as u8;
        let mut pair = Pair::build(Shape { real_servers: WEIGHTS.len(), vips, ..Shape::default() })?;
        let programs = realserver::start_all(&pair.network)?;
        let prepared = prepare(&pair.network, &pair::HOSTS)?;
        pair.start(configuration(&pair.network).to_string())?;
        let stage = Self { pair, _prepared: prepared, _programs: programs };
        stage.wait_for_standby(1)?;
        Ok(stage)
    }

    /// Kills the active agent while connections are made and used; tells what each method's clients saw.
    fn kill(&mut self, active: usize, flows: &[Flows]) -> Result<Vec<Vec<String>>> {
        let client = self.pair.network.client.clone();
        let seen: Vec<Seen> =
            METHODS.iter().map(|method| Seen::start(&client, method)).collect::<Result<_>>()?;
        wait_until("load before the death", PATIENCE, || seen.iter().all(Seen::is_under_way))?;
        let goals = |rounds: u64| -> Vec<u64> {
            flows.iter().map(|flows| flows.exchanges() + rounds * FLOWS as u64).collect()
        };
        let before = goals(ROUNDS);
        wait_until("every connection to be used", PATIENCE, || all_reach(flows, &before))?;

        self.pair.agents[active].as_mut().context("it runs")?.kill()?;
        self.pair.wait_for_active(1 - active)?;
        let after = goals(ROUNDS);
        wait_until("every connection to go on", PATIENCE, || {
            all_reach(flows, &after) || flows.iter().any(|flows| flows.broken() > 0)
        })
        .with_context(|| self.pair.explain())?;
        seen.into_iter()
            .zip(METHODS)
            .zip(flows)
            .map(|((seen, method), flows)| {
                let Seen { gap, new } = seen;
                let (gap, new) = (gap.stop(), new.stop()?);
                Ok(vec![
                    NODES[active].to_owned(),
                    format!("{} {}", method.forward, method.scheduler),
                    FLOWS.to_string(),
                    flows.broken().to_string(),
                    format!("{} ms", gap.longest_gap.as_millis()),
                    new.answers().to_string(),
                    new.failures.to_string(),
                    format!("{} ms", new.slowest.as_millis()),
                ])
            })
            .collect()
    }

    /// Starts a killed agent again, and waits until the other has told it all connections.
    fn bring_back(&mut self, index: usize) -> Result<()> {
        self.pair.agents[index].as_mut().context("it was there")?.start_again()?;
        self.wait_for_standby(index)?;
        println!("\n   {} is started again, has been told the connections, and stands by", NODES[index]);
        Ok(())
    }

    /// It has all connections, and hears that the other one is active.
    fn wait_for_standby(&self, index: usize) -> Result<()> {
        let stands_by = || -> Result<bool> {
            let status: serde_json::Value = self.pair.agent(index)?.control().json(&["cluster"])?;
            let group = &status["groups"][0];
            Ok(group["role"] == "standby" && group["holder"] == NODES[1 - index])
        };
        wait_until(&format!("{} to stand by", NODES[index]), PATIENCE, || stands_by().unwrap_or(false))
            .with_context(|| self.pair.explain())
    }
}

/// What the clients of one method see of a takeover.
struct Seen {
    gap: GapProbe,
    new: Load,
}

impl Seen {
    fn start(client: &Namespace, method: &Method) -> Result<Self> {
        let web = SocketAddr::new(vip(Family::V4, method.vip), HTTP_PORT);
        let plan = Plan { threads: 1, ..Plan::background(Exchange::Http, web) };
        Ok(Self {
            gap: GapProbe::start(client, target(method, Family::V4), PACE)?,
            new: Load::start(client, plan),
        })
    }

    fn is_under_way(&self) -> bool {
        self.gap.answers() > 20 && self.new.ended() > 20
    }
}

fn all_reach(flows: &[Flows], goals: &[u64]) -> bool {
    flows.iter().zip(goals).all(|(flows, goal)| flows.exchanges() >= *goal)
}

/// The echo of a method.
fn target(method: &Method, family: Family) -> SocketAddr {
    SocketAddr::new(vip(family, method.vip), ECHO_PORT)
}

/// Each connection is an open file of this program and of an echo; 1024 is usual.
fn allow_many_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(hard as usize > 2 * FLOWS * METHODS.len(), "no more than {hard} files may be open");
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
