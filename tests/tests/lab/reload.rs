//! What a user notices of reloads, drains, crashes and restarts: nothing.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::client::{self, Exchange, TcpFlow};
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::load::{Load, Plan, Report};
use lvs_tests::lab::namespace::Namespace;
use lvs_tests::lab::network::{Arms, Network, Replies, Server, Shape};
use lvs_tests::lab::realserver::{self, HTTP_PORT};
use lvs_tests::lab::wait::wait_until;

use crate::setup::{Balanced, Preparation, dialled, real_servers, service};

const FAMILY: Family = Family::V4;

/// A web server and an echo, as rr or mh with dr, or as rr with nat.
fn configuration(network: &Network, scheduler: &'static str, forward: &'static str) -> Configuration {
    let service = |port| service(FAMILY, port, "tcp", scheduler, forward, real_servers(network, FAMILY));
    Configuration::new(network, vec![service(HTTP_PORT), service(ECHO_PORT)])
}

#[test]
fn flows_survive_everything_with_a_sequence() -> Result<()> {
    flows_survive_everything("rr", "dr")
}

#[test]
fn flows_survive_everything_with_a_hash() -> Result<()> {
    flows_survive_everything("mh", "dr")
}

#[test]
fn flows_survive_everything_with_nat() -> Result<()> {
    flows_survive_everything("rr", "nat")
}

/// A drain and its end, a removed service, a crash, a restart: under load, with open connections to
/// every server and a long download. Not one of them may notice.
fn flows_survive_everything(scheduler: &'static str, forward: &'static str) -> Result<()> {
    let shape = match forward {
        "nat" => Shape { arms: Arms::Two, replies: Replies::ThroughDirector, ..Shape::default() },
        _ => Shape::default(),
    };
    let mut balanced = Balanced::start(shape, Preparation::of(forward), |network| {
        configuration(network, scheduler, forward)
    })?;
    let client = balanced.network.client.clone();
    let full = configuration(&balanced.network, scheduler, forward);
    let drained = |server: usize| {
        let mut reduced = full.clone();
        reduced.set_weight(&balanced.network.servers[server], 0);
        reduced.to_string()
    };
    let drains = [drained(0), drained(1)];

    let mut flows = Flows::open(&balanced.network)?;
    let large = realserver::large_file(&balanced.network.identity.directory())?;
    let load = Load::start(&client, Plan::background(Exchange::Http, dialled(FAMILY, HTTP_PORT)));
    let downloader = client.clone();
    let download =
        thread::spawn(move || client::download(&downloader, dialled(FAMILY, HTTP_PORT), "/slow", &large));

    for (what, drain) in ["drain of rs1", "drain of rs2"].into_iter().zip(&drains) {
        balanced.agent.reload(drain)?;
        flows.go_on(&load).context(what)?;
        balanced.agent.reload(&full.to_string())?;
        flows.go_on(&load).with_context(|| format!("end of the {what}"))?;
    }
    balanced.agent.kill()?;
    flows.go_on(&load).context("crash of the agent")?;
    balanced.agent.start_again()?;
    flows.go_on(&load).context("restart of the agent")?;
    balanced.agent.reload(&drains[0])?;
    flows.go_on(&load).context("drain by the new agent")?;

    let downloaded = download.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    downloaded.context("the long download")?;
    load.stop()?.expect_no_failure().with_context(|| balanced.explain())
}

/// Open connections to the echo, at least one to every server.
struct Flows {
    client: Namespace,
    flows: Vec<TcpFlow>,
}

impl Flows {
    fn open(network: &Network) -> Result<Self> {
        let flows = network.client.enter(|| {
            let mut flows: Vec<TcpFlow> = Vec::new();
            for _ in 0..100 {
                flows.push(TcpFlow::open(dialled(FAMILY, ECHO_PORT))?);
                let is_met = |server: &Server| flows.iter().any(|flow| flow.server == server.name);
                if network.servers.iter().all(is_met) {
                    return Ok(flows);
                }
            }
            bail!("100 connections did not meet every server")
        })?;
        Ok(Self { client: network.client.clone(), flows })
    }

    /// Every connection echoes, and the load goes on for a while.
    fn go_on(&mut self, load: &Load) -> Result<()> {
        let goal = load.ended() + 100;
        wait_until("the load to go on", Duration::from_secs(20), || load.ended() >= goal)?;
        let flows = &mut self.flows;
        self.client.enter(|| {
            flows.iter_mut().try_for_each(|flow| {
                flow.echo(b"still there").with_context(|| format!("an open connection to {}", flow.server))
            })
        })
    }
}

#[test]
fn a_drained_server_gets_no_new_connection() -> Result<()> {
    for scheduler in ["wrr", "wlc", "mh"] {
        let balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
            configuration(network, scheduler, "dr")
        })?;
        let plan = Plan::count(Exchange::Http, dialled(FAMILY, HTTP_PORT), 300);
        let run = || -> Result<Report> {
            let report = Load::start(&balanced.network.client, plan).finish()?;
            report.expect_no_failure()?;
            Ok(report)
        };
        ensure!(run()?.servers.contains_key("rs2"), "{scheduler}: rs2 got nothing before its drain");
        let mut reduced = configuration(&balanced.network, scheduler, "dr");
        reduced.set_weight(&balanced.network.servers[1], 0);
        balanced.agent.reload(&reduced.to_string())?;
        let after = run()?;
        ensure!(!after.servers.contains_key("rs2"), "{scheduler}: {:?}", after.servers);
        ensure!(after.servers.len() == 2, "{scheduler}: {:?}", after.servers);
    }
    Ok(())
}

/// Services come and go under a running agent; a VIP without a service is the director's own.
#[test]
fn services_come_and_go() -> Result<()> {
    let balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        Configuration::new(network, Vec::new())
    })?;
    let who = |port: u16| -> Result<String> {
        let exchange = if port == HTTP_PORT { Exchange::Http } else { Exchange::TcpEcho };
        let name = balanced.network.client.enter(|| exchange.once(dialled(FAMILY, port)))?;
        Ok(if name.starts_with("rs") { "a real server".to_owned() } else { name })
    };
    let every_port = service(FAMILY, 0, "tcp", "mh", "dr", real_servers(&balanced.network, FAMILY));
    let web = service(FAMILY, HTTP_PORT, "tcp", "rr", "dr", real_servers(&balanced.network, FAMILY));
    for (services, on_80, on_7) in [
        (vec![], "director", "director"),
        (vec![web.clone()], "a real server", "director"),
        (vec![web, every_port.clone()], "a real server", "a real server"),
        (vec![every_port], "a real server", "a real server"),
        (vec![], "director", "director"),
    ] {
        let configuration = Configuration::new(&balanced.network, services).to_string();
        balanced.agent.reload(&configuration)?;
        let met = (who(HTTP_PORT)?, who(ECHO_PORT)?);
        ensure!(met == (on_80.to_owned(), on_7.to_owned()), "{met:?} with\n{configuration}");
    }
    Ok(())
}

/// Taken out of the file altogether: no new connection, and the others' old ones go on.
#[test]
fn a_removed_server_takes_no_other_along() -> Result<()> {
    for scheduler in ["rr", "mh"] {
        let balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
            configuration(network, scheduler, "dr")
        })?;
        let mut flows = Flows::open(&balanced.network)?;
        let mut reduced = configuration(&balanced.network, scheduler, "dr");
        for service in &mut reduced.services {
            service.real_servers.remove(1);
        }
        balanced.agent.reload(&reduced.to_string())?;

        let load = Load::start(
            &balanced.network.client,
            Plan::background(Exchange::Http, dialled(FAMILY, HTTP_PORT)),
        );
        flows.flows.retain(|flow| flow.server != "rs2");
        flows.go_on(&load).with_context(|| format!("{scheduler}; {}", balanced.explain()))?;
        let report = load.stop()?;
        report.expect_no_failure()?;
        ensure!(report.answers_of("rs2") == 0, "{scheduler}: {:?}", report.servers);
    }
    Ok(())
}

#[test]
fn a_bad_file_changes_nothing() -> Result<()> {
    let balanced =
        Balanced::start(Shape::default(), Preparation::ByHand, |network| configuration(network, "rr", "dr"))?;
    let control = balanced.agent.control();
    let before = control.run(&["services"])?;
    let error = balanced.agent.reload("version: 1\ninterfaces: [eth0]\nservices:\n  - nmae: web\n");
    let message = format!("{:#}", error.expect_err("the file is refused"));
    ensure!(message.contains("nmae"), "the message does not name the mistake: {message}");
    ensure!(control.run(&["services"])? == before);
    let answer = balanced.network.client.enter(|| Exchange::Http.once(dialled(FAMILY, HTTP_PORT)));
    answer.map(drop)
}
