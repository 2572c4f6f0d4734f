//! Two directors: one dies, hangs or is cut off, and nobody notices.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family, Net};
use lvs_tests::lab::agent::start_realserver;
use lvs_tests::lab::arp::{ArpWatch, mac};
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::gap::GapProbe;
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::pair::{NODES, Pair};
use lvs_tests::lab::process::Process;
use lvs_tests::lab::realserver::{self, HTTP_PORT, Programs};
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::Health;
use nix::sys::signal::Signal;

use crate::setup::{dialled, real_servers, service};

const PATIENCE: Duration = Duration::from_secs(20);

struct Cluster {
    pair: Pair,
    _prepared: Vec<Process>,
    _programs: Vec<Programs>,
}

/// Two directors that serve by this scheduler and method; `change` is made before they start.
fn start(
    scheduler: &'static str,
    forward: &'static str,
    change: impl FnOnce(&mut Pair) -> Result<()>,
) -> Result<Cluster> {
    let mut pair = Pair::build(Shape::default())?;
    let programs = realserver::start_all(&pair.network)?;
    let mut prepared = Vec::new();
    for server in &pair.network.servers {
        match forward {
            "dr" => realserver::prepare_by_hand(server, pair.network.vips())?,
            "ipip" => {
                let mut arguments = vec!["--ipip".to_owned()];
                for vip in pair.network.vips() {
                    arguments.extend(["--vip".to_owned(), vip.to_string()]);
                }
                for (family, host) in Family::BOTH.into_iter().flat_map(|family| [(family, 2), (family, 4)]) {
                    for net in [Net::Servers, Net::Clients] {
                        arguments
                            .extend(["--director".to_owned(), address::host(net, family, host).to_string()]);
                    }
                }
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                prepared.push(start_realserver(&pair.network, server, &arguments)?);
            }
            _ => {}
        }
    }
    let mut services = Vec::new();
    for family in Family::BOTH {
        for (port, protocol) in [(HTTP_PORT, "tcp"), (ECHO_PORT, "tcp"), (ECHO_PORT, "udp")] {
            let servers = real_servers(&pair.network, family);
            services.push(service(family, port, protocol, scheduler, forward, servers));
        }
    }
    change(&mut pair)?;
    let configuration = Configuration::new(&pair.network, services);
    pair.start(configuration.to_string())?;
    Ok(Cluster { pair, _prepared: prepared, _programs: programs })
}

/// How a director stops serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Stop,
    PullServiceLink,
    /// The machine is gone: its agent, and all its links.
    Crash,
}

impl Cluster {
    fn answers(&self) -> Result<()> {
        for family in Family::BOTH {
            wait_until(&format!("an answer over {family}"), PATIENCE, || {
                self.pair.network.client.enter(|| Exchange::Http.once(dialled(family, HTTP_PORT))).is_ok()
            })
            .with_context(|| self.pair.explain())?;
        }
        Ok(())
    }

    fn break_down(&mut self, index: usize, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => self.pair.agents[index].as_mut().context("it runs")?.kill(),
            Fault::Stop => self.pair.agent(index)?.signal(Signal::SIGSTOP),
            Fault::PullServiceLink => self.pair.set_service_link(index, false),
            Fault::Crash => {
                self.pair.set_service_link(index, false)?;
                self.pair.set_heartbeat_links(false)?;
                self.pair.agents[index].as_mut().context("it runs")?.kill()
            }
        }
    }

    fn mend(&mut self, index: usize, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => self.pair.agents[index].as_mut().context("it was there")?.start_again()?,
            Fault::Stop => self.pair.agent(index)?.signal(Signal::SIGCONT)?,
            Fault::PullServiceLink => self.pair.set_service_link(index, true)?,
            Fault::Crash => {
                self.pair.set_service_link(index, true)?;
                self.pair.set_heartbeat_links(true)?;
                self.pair.agents[index].as_mut().context("it was there")?.start_again()?;
            }
        }
        self.pair.wait_for_standby(index)
    }

    /// Fault after fault, each at the director that is active, under load; tells what was seen.
    fn survive(&mut self, faults: &[Fault], flows: usize) -> Result<()> {
        let client = self.pair.network.client.clone();
        let targets = Family::BOTH.map(|family| dialled(family, ECHO_PORT));
        let watch = ArpWatch::start(&client, "eth0", &self.pair.network.vips().collect::<Vec<_>>())?;
        let established = Flows::open(&client, &targets, flows)?;
        let mut active = 0;
        for fault in faults {
            let load = Load::start(&client, Plan::background(Exchange::Http, dialled(Family::V4, HTTP_PORT)));
            let probe = GapProbe::start(&client, dialled(Family::V4, ECHO_PORT), Duration::from_millis(10))?;
            wait_until("load to be under way", PATIENCE, || load.ended() > 50 && probe.answers() > 20)?;
            let exchanged = established.exchanges();
            let begun = Instant::now();
            self.break_down(active, *fault)?;
            let other = 1 - active;
            self.pair.wait_for_active(other)?;
            let took = begun.elapsed();
            wait_until("all flows to go on", PATIENCE, || {
                established.exchanges() > exchanged + 4 * flows as u64 || established.broken() > 0
            })
            .with_context(|| self.pair.explain())?;
            let (gap, new) = (probe.stop(), load.stop()?);
            println!(
                "{fault:?} of {}: {} of {flows} flows broken; without service {:.0} ms; new role seen after {:.0} ms; new: {} answered, {} failed, slowest {:.0} ms",
                NODES[active],
                established.broken(),
                gap.longest_gap.as_secs_f64() * 1e3,
                took.as_secs_f64() * 1e3,
                new.answers(),
                new.failures,
                new.slowest.as_secs_f64() * 1e3,
            );
            ensure!(
                established.broken() == 0,
                "{fault:?}: {:?}\n{}",
                established.stop()?.examples,
                self.pair.explain()
            );
            // One that was born in the last batch before a crash may be lost, no more.
            ensure!(new.failures <= 2, "{fault:?}: {:?}\n{}", new.examples, self.pair.explain());
            self.mend(active, *fault).with_context(|| format!("after {fault:?}"))?;
            ensure!(self.pair.role(other) == "active", "{fault:?}: failback is off\n{}", self.pair.explain());
            active = other;
        }
        established.stop()?.expect_none_broken()?;
        self.expect_turns(&watch.stop()?)
    }

    /// On the client's wire no director has answered for a VIP after the other had begun to.
    fn expect_turns(&self, claims: &[lvs_tests::lab::arp::Claim]) -> Result<()> {
        let macs = [mac(&self.pair.directors[0], "eth0")?, mac(&self.pair.directors[1], "eth0")?];
        for vip in self.pair.network.vips() {
            let mut of_vip: Vec<_> = claims.iter().filter(|claim| claim.address == vip).collect();
            of_vip.sort_by_key(|claim| claim.time);
            ensure!(!of_vip.is_empty(), "nobody has announced {vip}");
            ensure!(of_vip.iter().all(|claim| macs.contains(&claim.mac)), "a stranger has {vip}: {of_vip:?}");
            // Each takeover is one change of the MAC; one that is taken back would be two more.
            let changes = of_vip.windows(2).filter(|two| two[0].mac != two[1].mac).count();
            let takeovers: usize = self.pair.takeovers()?;
            ensure!(
                changes <= takeovers,
                "{vip} changed hands {changes} times in {takeovers} takeovers: {of_vip:?}"
            );
        }
        Ok(())
    }
}

#[test]
fn a_killed_director_is_replaced_and_comes_back() -> Result<()> {
    let mut cluster = start("mh", "dr", |_| Ok(()))?;
    cluster.answers()?;
    cluster.break_down(0, Fault::Kill)?;
    cluster.pair.wait_for_active(1)?;
    cluster.answers()?;
    cluster.mend(0, Fault::Kill)?;
    cluster.answers()?;
    assert!(!cluster.pair.is_active(0), "failback is off\n{}", cluster.pair.explain());
    Ok(())
}

const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Stop, Fault::PullServiceLink, Fault::Crash];

#[test]
fn established_connections_go_on_with_rings_and_dr() -> Result<()> {
    start("mh", "dr", |_| Ok(()))?.survive(&FAULTS, 600)
}

#[test]
fn established_connections_go_on_with_wlc_and_nat() -> Result<()> {
    start("wlc", "nat", |_| Ok(()))?.survive(&FAULTS, 600)
}

#[test]
fn established_connections_go_on_with_rr_and_ipip() -> Result<()> {
    start("rr", "ipip", |_| Ok(()))?.survive(&FAULTS, 600)
}

/// What an operator has set is the cluster's: it goes where the services go, and comes back with a director that knows
/// less.
#[test]
fn a_drain_survives_the_director_and_its_end_too() -> Result<()> {
    let mut cluster = start("rr", "dr", |_| Ok(()))?;
    let drained = cluster.pair.network.servers[0].address(Family::V4).to_string();
    let shows = |pair: &Pair, index: usize, mode: &str, weight: u32| -> Result<()> {
        let what = format!("{} to have {drained} {mode}", NODES[index]);
        let control = pair.agent(index)?.control().clone();
        wait_until(&what, PATIENCE, || {
            let asked: Result<Health> = control.json(&["health"]);
            asked.is_ok_and(|health| {
                let servers: Vec<_> = health
                    .services
                    .iter()
                    .flat_map(|service| &service.servers)
                    .filter(|server| server.address.to_string() == drained)
                    .collect();
                servers.len() == 3
                    && servers
                        .iter()
                        .all(|server| server.mode == mode && server.installed_weight == Some(weight))
            })
        })
        .with_context(|| pair.explain())
    };
    let answers_of_drained = |pair: &Pair| -> Result<usize> {
        let plan = Plan::count(Exchange::Http, dialled(Family::V4, HTTP_PORT), 60);
        let report = Load::start(&pair.network.client, plan).finish()?;
        report.expect_no_failure()?;
        Ok(usize::try_from(report.answers_of("rs1"))?)
    };
    shows(&cluster.pair, 0, "enabled", 1)?;
    cluster.pair.agent(0)?.control().run(&["drain", &drained])?;
    shows(&cluster.pair, 1, "drained", 0)?;
    let refused = cluster.pair.agent(1)?.control().run(&["enable", &drained]).expect_err("it stands by");
    ensure!(format!("{refused:#}").contains("follows director-1"), "{refused:#}");

    cluster.break_down(0, Fault::Kill)?;
    cluster.pair.wait_for_active(1)?;
    shows(&cluster.pair, 1, "drained", 0)?;
    let answers = answers_of_drained(&cluster.pair)?;
    ensure!(answers == 0, "{answers}\n{}", cluster.pair.explain());
    cluster.pair.agent(1)?.control().run(&["enable", &drained])?;
    shows(&cluster.pair, 1, "enabled", 1)?;
    let answers = answers_of_drained(&cluster.pair)?;
    ensure!(answers == 20, "{answers}\n{}", cluster.pair.explain());

    // What the first one has on its disk is of before.
    cluster.mend(0, Fault::Kill)?;
    shows(&cluster.pair, 0, "enabled", 1)?;
    ensure!(cluster.pair.role(0) == "standby", "failback is off\n{}", cluster.pair.explain());
    Ok(())
}

/// Ten rounds of failover and failback.
#[test]
fn ten_rounds_break_nothing() -> Result<()> {
    let mut cluster = start("mh", "dr", |_| Ok(()))?;
    let rounds: Vec<Fault> = [Fault::Kill, Fault::Stop].into_iter().cycle().take(10).collect();
    cluster.survive(&rounds, 200)
}

/// The heartbeat networks are cut while clients are served.
fn cut_off(voter: bool) -> Result<()> {
    let mut cluster = start("mh", "dr", |pair| if voter { pair.start_witness() } else { Ok(()) })?;
    let client = cluster.pair.network.client.clone();
    let flows = Flows::open(&client, &Family::BOTH.map(|family| dialled(family, ECHO_PORT)), 100)?;
    cluster.pair.set_heartbeat_links(false)?;
    let heard = |pair: &Pair, index: usize| -> Result<bool> {
        let status: serde_json::Value = pair.agent(index)?.control().json(&["cluster"])?;
        Ok(status["peers"][0]["is_alive"] == true)
    };
    wait_until("the directors to miss each other", PATIENCE, || {
        [0, 1].iter().all(|index| heard(&cluster.pair, *index).is_ok_and(|heard| !heard))
    })?;
    // Several dead times long, the one that serves goes on, and the other asks and stands back.
    wait_until("the standby to have stood back", PATIENCE, || {
        cluster.pair.agent(1).is_ok_and(|agent| agent.log().contains("does not take group www"))
    })
    .with_context(|| cluster.pair.explain())?;
    ensure!(cluster.pair.is_active(0) && !cluster.pair.is_active(1), "{}", cluster.pair.explain());
    cluster.pair.set_heartbeat_links(true)?;
    wait_until("the directors to hear each other", PATIENCE, || {
        [0, 1].iter().all(|index| heard(&cluster.pair, *index).unwrap_or(false))
    })?;
    wait_until("roles as before", PATIENCE, || {
        cluster.pair.is_active(0) && cluster.pair.role(1) == "standby"
    })
    .with_context(|| cluster.pair.explain())?;
    cluster.answers()?;
    flows.stop()?.expect_none_broken()?;
    // What is left behind is nothing.
    cluster.pair.agents[1].as_mut().context("it runs")?.terminate()?;
    Ok(())
}

#[test]
fn with_a_voter_a_cut_heartbeat_moves_nothing() -> Result<()> {
    cut_off(true)
}

#[test]
fn without_a_voter_the_wire_keeps_two_directors_apart() -> Result<()> {
    cut_off(false)
}

#[test]
fn operators_move_a_group_and_a_planned_restart_does_not() -> Result<()> {
    let mut cluster = start("wlc", "nat", |_| Ok(()))?;
    let client = cluster.pair.network.client.clone();
    let flows = Flows::open(&client, &Family::BOTH.map(|family| dialled(family, ECHO_PORT)), 100)?;
    let go_on = |what: &str| -> Result<()> {
        let before = flows.exchanges();
        wait_until(what, PATIENCE, || flows.exchanges() > before + 300 || flows.broken() > 0)?;
        ensure!(flows.broken() == 0, "{what}: {} flows broke", flows.broken());
        Ok(())
    };
    // The second one must be ready, and the first must know.
    wait_until("the first director to hand over", PATIENCE, || {
        cluster.pair.agent(0).is_ok_and(|agent| agent.control().run(&["cluster", "standby"]).is_ok())
    })?;
    cluster.pair.wait_for_active(1)?;
    go_on("flows after a hand over")?;
    cluster.pair.agent(0)?.control().run(&["cluster", "takeover"])?;
    cluster.pair.wait_for_active(0)?;
    go_on("flows after a takeover")?;

    let probe = GapProbe::start(&client, dialled(Family::V4, ECHO_PORT), Duration::from_millis(10))?;
    let terms = cluster.pair.takeovers()?;
    cluster.pair.agent(0)?.control().run(&["stop", "--keep-forwarding"])?;
    cluster.pair.agents[0].as_mut().context("it was there")?.start_again()?;
    cluster.pair.wait_for_active(0)?;
    ensure!(
        cluster.pair.takeovers()? == terms,
        "a planned restart is no takeover\n{}",
        cluster.pair.explain()
    );
    println!("longest gap over a planned restart: {:?}", probe.stop().longest_gap);

    go_on("flows after a planned restart")?;
    // A clean end hands over.
    cluster.pair.agents[0].as_mut().context("it runs")?.terminate()?;
    cluster.pair.wait_for_active(1)?;
    cluster.answers()?;
    flows.stop()?.expect_none_broken()
}
