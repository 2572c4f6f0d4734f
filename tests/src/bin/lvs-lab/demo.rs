//! The live demonstration: real requests through every method, a drain, a crash and takeovers under load, and the
//! numbers to judge it by.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::client::{Exchange, TcpFlow};
use lvs_tests::lab::load::{Load, Plan, Report};
use lvs_tests::lab::network::{Arms, Network, Server};
use lvs_tests::lab::realserver::start_web;
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::Health;

use crate::setting::{Dialled, Setting, WEIGHTS, configuration, dialled};
use crate::table::render;
use crate::takeover::takeovers;

/// Exchanges per service and kind in the first act.
const WEB_REQUESTS: u64 = 3000;
const ECHOES: u64 = 1200;
/// Exchanges of every background load that must pass before an act is over.
const ENOUGH: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(keep: bool) -> Result<()> {
    let begin = Instant::now();
    let mut setting = Setting::build(Arms::One)?;
    distribution(&setting.network)?;
    drain(&setting)?;
    crash(&mut setting)?;
    death(&mut setting)?;

    println!("\n5. what the balancer has counted (lvsctl stats, without the lines of single real servers)\n");
    let stats = setting.agent.control().run(&["stats"])?;
    stats.lines().filter(|line| !line.trim_start().starts_with("->")).for_each(|line| println!("{line}"));
    println!();
    takeovers()?;
    if keep {
        setting.keep()?;
    } else {
        clean_up(setting)?;
    }
    println!("done in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Act 1: requests to every service, counted by server.
fn distribution(network: &Network) -> Result<()> {
    println!("\n1. every method, IPv4 and IPv6: requests by real server against weights\n");
    let mut rows = vec![heading(network)];
    for dialled in dialled(network) {
        let count = if dialled.exchange == Exchange::Http { WEB_REQUESTS } else { ECHOES };
        let report =
            Load::start(&network.client, Plan::count(dialled.exchange, dialled.target(), count)).finish()?;
        rows.push(row(network, &dialled, &report));
        let name = &dialled.service.name;
        println!("   {name}: {} answers, {} failures", report.answers(), report.failures);
        report.expect_no_failure().with_context(|| name.clone())?;
        report.expect_shares(&weights(network), dialled.tolerance).with_context(|| name.clone())?;
    }
    println!("\n{}", render(&rows));
    Ok(())
}

/// Act 2: rs2 gets no new connections, and keeps the one it has.
fn drain(setting: &Setting) -> Result<()> {
    let network = &setting.network;
    let drained = &network.servers[1];
    println!("2. {} is drained while load runs: weight 0, reload", drained.name);
    let mut flow = flow_to(network, drained)?;
    let loads = Background::start(network);
    loads.wait_for_more("load before the drain")?;

    let mut reduced = configuration(network);
    reduced.set_weight(drained, 0);
    setting.agent.reload(&reduced.to_string())?;
    println!(
        "   reloaded; an old connection to {} is still served: {}",
        drained.name,
        says_hello(network, &mut flow)?
    );
    let before = loads.stop("before and during the drain")?;

    let loads = Background::start(network);
    loads.wait_for_more("load after the drain")?;
    let after = loads.stop("after the drain")?;
    let (connections, late) = (before.tcp.answers_of(&drained.name), after.tcp.answers_of(&drained.name));
    println!("   {} got {connections} TCP connections before, {late} after", drained.name);
    // The client takes a source port again after some thousand sockets, and goes on with that flow.
    println!(
        "   ({} of its UDP flows of the last five minutes went on)",
        after.udp.answers_of(&drained.name)
    );
    ensure!(late == 0, "{} got {late} new connections after its drain", drained.name);
    says_hello(network, &mut flow)?;

    setting.agent.reload(&configuration(network).to_string())?;
    println!("   {} is back in service\n", drained.name);
    Ok(())
}

/// Act 3: the agent dies without a word and comes back.
fn crash(setting: &mut Setting) -> Result<()> {
    println!("3. the agent is killed (SIGKILL) while load runs, and started again");
    let mut flow = flow_to(&setting.network, &setting.network.servers[0])?;
    let loads = Background::start(&setting.network);
    loads.wait_for_more("load before the crash")?;
    setting.agent.kill()?;
    println!("   killed; packets go on");
    loads.wait_for_more("load without the agent")?;
    says_hello(&setting.network, &mut flow)?;
    let restart = Instant::now();
    setting.agent.start_again()?;
    println!("   started again in {:.1} s: it adopted what it found", restart.elapsed().as_secs_f64());
    loads.wait_for_more("load after the restart")?;
    says_hello(&setting.network, &mut flow)?;
    loads.stop("over crash and restart")?;
    Ok(())
}

/// Act 4: a web server dies under load and comes back.
fn death(setting: &mut Setting) -> Result<()> {
    let control = setting.agent.control().clone();
    let dead = &setting.network.servers[2];
    let addresses = Family::BOTH.map(|family| dead.address(family));
    let (name, namespace) = (dead.name.clone(), dead.namespace.clone());
    println!("4. nginx on {name} is killed (SIGKILL) while load runs, and started again");
    let are = |state: &str| {
        let health: Health = control.json(&["health"])?;
        let servers = health.services.into_iter().flat_map(|service| service.servers);
        let mut states =
            servers.filter(|server| addresses.contains(&server.address) && !server.checks.is_empty());
        Ok::<_, anyhow::Error>(states.all(|server| server.state == state))
    };
    let web = dialled(&setting.network).into_iter().find(|dialled| dialled.exchange == Exchange::Http);
    let target = web.context("no service has a web server")?.target();
    let client = setting.network.client.clone();
    let load = Load::start(&client, Plan::background(Exchange::Http, target));
    wait_until("load before the death", PATIENCE, || load.ended() >= ENOUGH)?;
    let begin = Instant::now();
    setting.programs[2].web.kill()?;
    wait_until("the dead server to be taken out", PATIENCE, || are("down").unwrap_or(false))?;
    let detected = begin.elapsed();
    let report = load.stop()?;
    println!(
        "   taken out of every service after {} ms; {} of {} requests to {target} failed until then",
        detected.as_millis(),
        report.failures,
        report.failures + report.answers()
    );
    let loads = Background::start(&setting.network);
    loads.wait_for_more("load without the dead server")?;
    loads.stop("without it")?;
    let begin = Instant::now();
    setting.programs[2].web = start_web(&setting.network, &namespace, &name)?;
    wait_until("the server to return", PATIENCE, || are("up").unwrap_or(false))?;
    println!("   started again, and back in every service after {} ms", begin.elapsed().as_millis());
    let loads = Background::start(&setting.network);
    loads.wait_for_more("load after the return")?;
    loads.stop("after its return")?;
    println!("   what `lvsctl events` says:");
    control.run(&["events", "--limit", "4"])?.lines().for_each(|line| println!("     {line}"));
    Ok(())
}

fn clean_up(setting: Setting) -> Result<()> {
    let Setting { mut agent, prepared, programs, network } = setting;
    let (pins, directory) = (agent.control().pins(), network.identity.directory());
    let status = agent.terminate()?;
    ensure!(status.success(), "lvsd ended with {status}:\n{}", agent.log());
    ensure!(!pins.exists(), "lvsd left {} behind", pins.display());
    drop((agent, prepared, programs));
    drop(network);
    ensure!(!Path::new(&directory).exists(), "the lab left {} behind", directory.display());
    println!("\ncleaned up: no process, namespace, pin or file is left");
    Ok(())
}

/// Steady load on every service at once.
struct Background {
    loads: Vec<(Dialled, Load)>,
}

impl Background {
    fn start(network: &Network) -> Self {
        let loads = dialled(network)
            .into_iter()
            .map(|dialled| {
                let plan = Plan { threads: 1, ..Plan::background(dialled.exchange, dialled.target()) };
                let load = Load::start(&network.client, plan);
                (dialled, load)
            })
            .collect();
        Self { loads }
    }

    /// Waits until every load has done enough from now on.
    fn wait_for_more(&self, what: &str) -> Result<()> {
        let goals: Vec<u64> = self.loads.iter().map(|(_, load)| load.ended() + ENOUGH).collect();
        wait_until(what, PATIENCE, || {
            self.loads.iter().zip(&goals).all(|((_, load), goal)| load.ended() >= *goal)
        })
    }

    /// Adds up over all services; a single failure is one too many.
    fn stop(self, when: &str) -> Result<Totals> {
        let mut totals = Totals::default();
        for (dialled, load) in self.loads {
            let report = load.stop()?;
            report.expect_no_failure().with_context(|| format!("{} {when}", dialled.service.name))?;
            match dialled.exchange {
                Exchange::UdpEcho => totals.udp.add(report),
                Exchange::Http | Exchange::TcpEcho => totals.tcp.add(report),
            }
        }
        println!(
            "   {when}: {} requests to all services, none failed, the slowest took {} ms",
            totals.tcp.answers() + totals.udp.answers(),
            totals.tcp.slowest.max(totals.udp.slowest).as_millis()
        );
        Ok(totals)
    }
}

#[derive(Default)]
struct Totals {
    tcp: Report,
    udp: Report,
}

/// An open connection to a certain server, by the first service with an echo.
fn flow_to(network: &Network, server: &Server) -> Result<TcpFlow> {
    let echo = dialled(network)
        .into_iter()
        .find(|dialled| dialled.exchange == Exchange::TcpEcho)
        .context("no service has an echo")?;
    network.client.enter(|| {
        for _ in 0..50 {
            let flow = TcpFlow::open(echo.target())?;
            if flow.server == server.name {
                return Ok(flow);
            }
        }
        anyhow::bail!("none of 50 connections to {} reached {}", echo.target(), server.name)
    })
}

fn says_hello(network: &Network, flow: &mut TcpFlow) -> Result<&'static str> {
    network.client.enter(|| flow.echo(b"hello"))?;
    Ok("yes")
}

fn weights(network: &Network) -> Vec<(&str, u32)> {
    network.servers.iter().map(|server| server.name.as_str()).zip(WEIGHTS).collect()
}

fn heading(network: &Network) -> Vec<String> {
    let mut cells: Vec<String> = ["service", "address", "method", "scheduler"].map(str::to_owned).to_vec();
    cells.extend(weights(network).iter().map(|(server, weight)| format!("{server} (weight {weight})")));
    cells.push("failures".to_owned());
    cells
}

fn row(network: &Network, dialled: &Dialled, report: &Report) -> Vec<String> {
    let service = &dialled.service;
    let mut cells = vec![
        service.name.clone(),
        dialled.target().to_string(),
        service.forward.to_owned(),
        service.scheduler.to_owned(),
    ];
    cells.extend(weights(network).iter().map(|(server, _)| {
        format!("{:>4} {:4.1} %", report.answers_of(server), report.share(server) * 100.0)
    }));
    cells.push(report.failures.to_string());
    cells
}
