//! Real servers die and come back under load.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::agent::Control;
use lvs_tests::lab::client::{Exchange, TcpFlow, UdpFlow};
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::network::{Network, Replies, Shape};
use lvs_tests::lab::realserver::{HTTP_PORT, start_web};
use lvs_tests::lab::scale;
use lvs_tests::lab::wait::{wait_for, wait_until};
use lvs_userspace::api::model::{Events, Health, ServerHealth, Services};

use nix::sys::signal::Signal;

use crate::setup::{Balanced, Preparation, dialled, real_servers, service};

const FAMILY: Family = Family::V4;
const PATIENCE: Duration = Duration::from_secs(10);

/// A probe five times a second, ten times a second in doubt.
const TIMING: &str = "interval: 200ms, fast_interval: 100ms, timeout: 500ms, rise: 2, fall: 2";

/// The seed's web site: its test page is looked for.
fn site(network: &Network, scheduler: &'static str, health: &str) -> Configuration {
    let mut service = service(FAMILY, HTTP_PORT, "tcp", scheduler, "dr", real_servers(network, FAMILY));
    service.health = format!(
        "{{checks: [{{type: http, path: /.testpage, body: test page, {TIMING}}}, {{type: tcp, {TIMING}}}]{health}}}"
    );
    Configuration::new(network, vec![service])
}

/// The real servers of the one service.
fn servers(control: &Control) -> Result<Vec<ServerHealth>> {
    let health: Health = control.json(&["health"])?;
    Ok(health.services.into_iter().next().context("no service")?.servers)
}

fn wait_for_state(control: &Control, server: usize, state: &str) -> Result<()> {
    wait_until(&format!("server {server} to be {state}"), PATIENCE, || {
        servers(control).is_ok_and(|servers| servers[server].state == state)
    })
    .with_context(|| format!("lvsctl health says: {:?}", servers(control)))
}

#[test]
fn a_killed_web_server_is_removed_and_returns_with_a_sequence() -> Result<()> {
    a_killed_web_server_is_removed_and_returns("rr")
}

#[test]
fn a_killed_web_server_is_removed_and_returns_with_a_hash() -> Result<()> {
    a_killed_web_server_is_removed_and_returns("mh")
}

/// Under some hundred requests a second: not one fails that begins after the removal.
fn a_killed_web_server_is_removed_and_returns(scheduler: &'static str) -> Result<()> {
    let mut balanced =
        Balanced::start(Shape::default(), Preparation::ByHand, |network| site(network, scheduler, ""))?;
    let control = balanced.agent.control().clone();
    (0..3).try_for_each(|server| wait_for_state(&control, server, "up"))?;

    let begun = Instant::now();
    let load =
        Load::start(&balanced.network.client, Plan::background(Exchange::Http, dialled(FAMILY, HTTP_PORT)));
    wait_until("load", PATIENCE, || load.ended() >= 100)?;
    let killed = begun.elapsed();
    balanced.programs[0].web.kill()?;
    wait_for_state(&control, 0, "down")?;
    let removed = begun.elapsed();
    let goal = load.ended() + 200;
    wait_until("load without the dead server", PATIENCE, || load.ended() >= goal)?;
    let report = load.stop()?;
    println!(
        "{scheduler}: removed {} ms after its end, {} of {} requests failed until then",
        (removed - killed).as_millis(),
        report.failures,
        report.failures + report.answers()
    );
    let last = report.last_failure.unwrap_or_default();
    ensure!(last <= removed, "a request failed {:?} after the removal: {report:?}", last - removed);

    let services: Services = control.json(&["services"])?;
    ensure!(services.services[0].destinations.len() == 2, "{services:?}");
    let load =
        Load::start(&balanced.network.client, Plan::count(Exchange::Http, dialled(FAMILY, HTTP_PORT), 200));
    let report = load.finish()?;
    report.expect_no_failure()?;
    ensure!(report.answers_of("rs1") == 0, "{report:?}");

    let returned = Instant::now();
    balanced.programs[0].web = start_web(&balanced.network, &balanced.network.servers[0].namespace, "rs1")?;
    wait_for_state(&control, 0, "up")?;
    println!("{scheduler}: up again {} ms after its start", returned.elapsed().as_millis());
    let load =
        Load::start(&balanced.network.client, Plan::count(Exchange::Http, dialled(FAMILY, HTTP_PORT), 300));
    let report = load.finish()?;
    report.expect_no_failure()?;
    ensure!(report.answers_of("rs1") > 0, "{report:?}");

    let events: Events = control.json(&["events"])?;
    let told: Vec<_> = events.events.iter().map(|event| event.what.as_str()).collect();
    ensure!(told == ["down", "up"], "{events:?}");
    ensure!(events.events[0].reason.contains("connection refused after"), "{events:?}");
    ensure!(events.events[0].reason.ends_with("2 of 2"), "{events:?}");
    Ok(())
}

/// A check comes once in ten minutes at the most, and finds out within seconds what the connections have said.
#[test]
fn connections_that_are_not_accepted_make_the_next_check_come_sooner() -> Result<()> {
    let shape = Shape { replies: Replies::ThroughDirector, real_servers: 2, ..Shape::default() };
    let mut balanced = Balanced::start(shape, Preparation::None, |network| {
        let mut service = service(FAMILY, HTTP_PORT, "tcp", "rr", "nat", real_servers(network, FAMILY));
        service.health =
            "{checks: [{type: tcp, interval: 10m, fast_interval: 100ms, timeout: 500ms, fall: 2}]}"
                .to_owned();
        Configuration::new(network, vec![service])
    })?;
    let control = balanced.agent.control().clone();
    (0..2).try_for_each(|server| wait_for_state(&control, server, "up"))?;
    // The checks of the first round come close together; the next one is at least a minute away.
    balanced.programs[0].web.kill()?;
    let load =
        Load::start(&balanced.network.client, Plan::background(Exchange::Http, dialled(FAMILY, HTTP_PORT)));
    let killed = Instant::now();
    wait_for_state(&control, 0, "down")?;
    println!("found out {} ms after its end", killed.elapsed().as_millis());
    load.stop()?;
    ensure!(servers(&control)?[1].state == "up", "{:?}", servers(&control)?);
    Ok(())
}

/// With `quiesce` an open connection goes on although no new one comes.
#[test]
fn a_quiesced_server_keeps_its_place() -> Result<()> {
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        site(network, "wrr", ", on_down: quiesce")
    })?;
    let control = balanced.agent.control().clone();
    balanced.programs[0].web.kill()?;
    wait_for_state(&control, 0, "down")?;
    let weights = wait_for("the weight to be installed", PATIENCE, || {
        let services: Services = control.json(&["services"]).ok()?;
        let weights: Vec<_> =
            services.services[0].destinations.iter().map(|destination| destination.weight).collect();
        (weights[0] == 0).then_some(weights)
    })?;
    ensure!(weights == [0, 1, 1], "{weights:?}");
    Ok(())
}

/// A server hangs, and answers nothing any more: the director ends its clients' connections, over both families, with and
/// without entries in the table, and new ones go elsewhere. Then it is well again.
#[test]
fn clients_of_a_server_that_hangs_are_told_by_a_reset() -> Result<()> {
    let balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        let services = [(Family::V4, "wlc"), (Family::V6, "mh")].map(|(family, scheduler)| {
            ["tcp", "udp"].map(|protocol| {
                let servers = real_servers(network, family);
                let mut service = service(family, ECHO_PORT, protocol, scheduler, "dr", servers);
                service.health = format!(
                    "{{checks: [{{type: http, port: {HTTP_PORT}, path: /.testpage, {TIMING}}}], on_down: reset}}"
                );
                service
            })
        });
        Configuration::new(network, services.concat())
    })?;
    let control = balanced.agent.control().clone();
    (0..3).try_for_each(|server| wait_for_state(&control, server, "up"))?;
    let client = &balanced.network.client;
    let mut flows = client.enter(|| {
        let mut flows = Vec::new();
        for family in Family::BOTH {
            while flows
                .iter()
                .filter(|(of, flow): &&(Family, TcpFlow)| *of == family && flow.server == "rs1")
                .count()
                < 3
            {
                flows.push((family, TcpFlow::open(dialled(family, ECHO_PORT))?));
            }
        }
        Ok(flows)
    })?;
    let datagrams = client.enter(|| {
        let mut flows = Vec::new();
        for family in Family::BOTH {
            // Each asks until one is with the first server.
            loop {
                let flow = UdpFlow::open(dialled(family, ECHO_PORT))?;
                if flow.echo(b"who is there")? == "rs1" {
                    flows.push(flow);
                    break;
                }
            }
        }
        Ok(flows)
    })?;
    let programs = &balanced.programs[0];
    for program in [&programs.web, &programs.echo] {
        program.signal(Signal::SIGSTOP)?;
    }
    wait_for_state(&control, 0, "down")?;
    let explained = || {
        let ask = |what| control.run(&[what]).unwrap_or_default();
        format!("{}\n{}", ask("health"), balanced.explain())
    };
    wait_until("the reset to be installed", PATIENCE, || {
        let services: Result<Services> = control.json(&["services"]);
        services.is_ok_and(|services| services.services.iter().all(|service| service.destinations[0].resets))
    })
    .with_context(explained)?;
    for (family, flow) in &mut flows {
        let of_the_dead = flow.server == "rs1";
        let went_on = flow.echo(b"still there?");
        let is_reset = went_on.as_ref().is_err_and(|error| {
            let reason = error.root_cause().downcast_ref::<std::io::Error>();
            reason.is_some_and(|reason| reason.kind() == std::io::ErrorKind::ConnectionReset)
        });
        ensure!(
            if of_the_dead { is_reset } else { went_on.is_ok() },
            "{family} with {}: {went_on:?}\n{}",
            flow.server,
            explained()
        );
    }
    for flow in &datagrams {
        let server = flow.echo(b"still there?").with_context(explained)?;
        ensure!(server != "rs1", "a datagram was answered by the dead server");
    }
    let health = control.run(&["health"])?;
    ensure!(health.contains("down (resets)"), "{health}");
    for family in Family::BOTH {
        for _ in 0..9 {
            let server = client
                .enter(|| Exchange::TcpEcho.once(dialled(family, ECHO_PORT)))
                .with_context(explained)?;
            ensure!(server != "rs1", "{}", explained());
        }
    }

    for program in [&programs.web, &programs.echo] {
        program.signal(Signal::SIGCONT)?;
    }
    wait_for_state(&control, 0, "up")?;
    for family in Family::BOTH {
        wait_until("the server to serve again", PATIENCE, || {
            client
                .enter(|| Exchange::TcpEcho.once(dialled(family, ECHO_PORT)))
                .is_ok_and(|server| server == "rs1")
        })
        .with_context(explained)?;
    }
    for (family, flow) in flows.iter_mut().filter(|(_, flow)| flow.server != "rs1") {
        flow.echo(b"all the time").with_context(|| format!("{family}: {}", explained()))?;
    }
    Ok(())
}

/// A reload changes nothing about checks that are defined as before.
#[test]
fn a_reload_keeps_a_dead_server_out() -> Result<()> {
    let mut balanced =
        Balanced::start(Shape::default(), Preparation::ByHand, |network| site(network, "rr", ""))?;
    let control = balanced.agent.control().clone();
    balanced.programs[1].web.kill()?;
    wait_for_state(&control, 1, "down")?;
    let mut heavier = site(&balanced.network, "wrr", "");
    heavier.services[0].real_servers[0].weight = 7;
    balanced.agent.reload(&heavier.to_string())?;
    ensure!(servers(&control)?[1].state == "down", "{:?}", servers(&control)?);
    let load =
        Load::start(&balanced.network.client, Plan::count(Exchange::Http, dialled(FAMILY, HTTP_PORT), 100));
    load.finish()?.expect_no_failure()?;
    Ok(())
}

/// What an operator has set outlives the agent, as does the verdict on a dead server.
#[test]
fn maintenance_and_verdicts_survive_a_crash() -> Result<()> {
    let mut balanced =
        Balanced::start(Shape::default(), Preparation::ByHand, |network| site(network, "rr", ""))?;
    let control = balanced.agent.control().clone();
    let addresses = balanced.network.servers.iter().map(|server| server.address(FAMILY).to_string());
    let addresses: Vec<_> = addresses.collect();
    balanced.programs[1].web.kill()?;
    wait_for_state(&control, 1, "down")?;
    let told = control.run(&["drain", &addresses[0]])?;
    ensure!(told.trim() == format!("{} is drained in 1 service", addresses[0]), "{told}");
    let weights = || -> Result<Vec<Option<u32>>> {
        Ok(servers(&control)?.iter().map(|server| server.installed_weight).collect())
    };
    ensure!(weights()? == [Some(0), None, Some(1)], "{:?}", weights()?);

    balanced.agent.kill()?;
    balanced.agent.start_again()?;
    ensure!(weights()? == [Some(0), None, Some(1)], "{:?}", weights()?);
    ensure!(servers(&control)?[0].mode == "drained", "{:?}", servers(&control)?);
    let load =
        Load::start(&balanced.network.client, Plan::count(Exchange::Http, dialled(FAMILY, HTTP_PORT), 100));
    let report = load.finish()?;
    report.expect_no_failure()?;
    ensure!(report.answers_of("rs3") == 100, "{report:?}");

    control.run(&["enable", &addresses[0]])?;
    control.run(&["disable", &format!("{}:80", addresses[2])])?;
    ensure!(weights()? == [Some(1), None, None], "{:?}", weights()?);
    let refused = control.run(&["drain", "192.0.2.99"]).expect_err("no such real server");
    ensure!(format!("{refused:#}").contains("192.0.2.99 is no real server of any service"), "{refused:#}");
    Ok(())
}

/// The director's own web server apologises while there are not enough.
#[test]
fn the_fallback_serves_until_there_are_enough() -> Result<()> {
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        site(network, "rr", ", quorum: 2, quorum_recovery: 3, fallback: {forward: local}")
    })?;
    let control = balanced.agent.control().clone();
    let client = balanced.network.client.clone();
    let answers =
        |count| Load::start(&client, Plan::count(Exchange::Http, dialled(FAMILY, HTTP_PORT), count)).finish();
    balanced.programs[0].web.kill()?;
    wait_for_state(&control, 0, "down")?;
    ensure!(answers(20)?.answers_of("director") == 0);
    balanced.programs[1].web.kill()?;
    wait_for_state(&control, 1, "down")?;
    let report = answers(20)?;
    report.expect_no_failure()?;
    ensure!(report.answers_of("director") == 20, "{report:?}");

    let network = &balanced.network;
    balanced.programs[0].web = start_web(network, &network.servers[0].namespace, "rs1")?;
    wait_for_state(&control, 0, "up")?;
    ensure!(answers(20)?.answers_of("director") == 20, "two are not enough to return");
    balanced.programs[1].web = start_web(network, &network.servers[1].namespace, "rs2")?;
    wait_for_state(&control, 1, "up")?;
    let report = answers(30)?;
    report.expect_no_failure()?;
    ensure!(report.answers_of("director") == 0, "{report:?}");
    Ok(())
}

/// The agent's own page, over both families: taken by nobody else, and only as long as it is needed.
#[test]
fn a_page_is_served_while_all_servers_are_dead() -> Result<()> {
    let page = "<p>We are sorry.</p>\n";
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        let path = network.identity.directory().join("sorry.html");
        // A missing file shows in the test below.
        fs::write(&path, page).ok();
        let services = Family::BOTH.map(|family| {
            let mut service = service(family, HTTP_PORT, "tcp", "rr", "dr", real_servers(network, family));
            let page = path.display();
            service.health = format!("{{checks: [{{type: tcp, {TIMING}}}], fallback: {{page: {page}}}}}");
            service
        });
        Configuration::new(network, services.to_vec())
    })?;
    let client = balanced.network.client.clone();
    let curl = |family, more: &[&str]| {
        let url = format!("http://{}/any?thing", dialled(family, HTTP_PORT));
        let format = "%{http_code} %header{retry-after} %{content_type}";
        client.run("curl", &[&["--silent", "--max-time", "5", "--write-out", format, &url], more].concat())
    };
    let mut programs = balanced.programs.iter_mut();
    for programs in programs.by_ref().take(3) {
        programs.web.kill()?;
    }
    wait_until("the agent to say that the port is taken", PATIENCE, || {
        balanced.agent.log().contains("the fallback page cannot be served")
    })?;
    // The director's own web server was in the way.
    programs.next().context("the director runs nothing")?.web.kill()?;
    let apology = format!("{page}503 30 text/html; charset=utf-8");
    for family in Family::BOTH {
        wait_until("the page", PATIENCE, || curl(family, &[]).is_ok_and(|said| said == apology))
            .with_context(|| format!("{:?}", curl(family, &[])))?;
        let posted = curl(family, &["--data", "some text"])?;
        ensure!(posted == apology, "{posted}");
    }

    let network = &balanced.network;
    balanced.programs[0].web = start_web(network, &network.servers[0].namespace, "rs1")?;
    for family in Family::BOTH {
        wait_until("the server to return", PATIENCE, || {
            curl(family, &[]).is_ok_and(|said| said.contains("rs1\n"))
        })?;
        let vip = address::with_port(address::vip(family, 0), HTTP_PORT);
        wait_until("the page to end", PATIENCE, || {
            balanced.network.director.run("ss", &["-Hltn", "src", &vip]).is_ok_and(|list| list.is_empty())
        })?;
    }
    Ok(())
}

/// A fifth of what one agent is measured with (`cargo xtask lab scale`), since this one is not optimised and
/// shares the machine with other tests.
#[test]
fn thousands_of_checks_keep_their_time() -> Result<()> {
    let measured = scale::measure(2_000, 200, Duration::from_secs(5))?;
    println!("{measured}");
    let expected = 2_200.0 * measured.span.as_secs_f64();
    ensure!(measured.probes as f64 >= expected * 0.8, "{measured}");
    ensure!(measured.late.last() == Some(&0), "some began more than a second late:\n{measured}");
    // Probes against a server that answers at once hold a socket for a moment only.
    ensure!(measured.descriptors < 1_000, "{measured}");
    Ok(())
}

/// A server that returns gets a tenth of its weight at first, and all of it in the end.
#[test]
fn a_returning_server_starts_slowly() -> Result<()> {
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        site(network, "wrr", ", slow_start: 4s")
    })?;
    let control = balanced.agent.control().clone();
    balanced.programs[0].web.kill()?;
    wait_for_state(&control, 0, "down")?;
    let network = &balanced.network;
    balanced.programs[0].web = start_web(network, &network.servers[0].namespace, "rs1")?;
    let weights = || -> Result<Vec<u32>> {
        let services: Services = control.json(&["services"])?;
        Ok(services.services[0].destinations.iter().map(|destination| destination.weight).collect())
    };
    // Ten times as large while they grow.
    let grows = |weights: &[u32]| weights.len() == 3 && weights[0] < 10 && weights[1..] == [10, 10];
    let seen = wait_for("the weight to grow", PATIENCE, || weights().ok().filter(|weights| grows(weights)))?;
    wait_until("the weight to grow further", PATIENCE, || {
        weights().is_ok_and(|weights| weights[0] > seen[0] && grows(&weights))
    })?;
    wait_until("the weight to be whole", PATIENCE, || weights().is_ok_and(|weights| weights == [1, 1, 1]))?;
    Ok(())
}

/// All checks fail at once: the pool stays, and people are told.
#[test]
fn when_all_fail_at_once_the_checks_are_doubted() -> Result<()> {
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        site(network, "rr", ", panic_threshold: 50")
    })?;
    let control = balanced.agent.control().clone();
    (0..3).try_for_each(|server| wait_for_state(&control, server, "up"))?;
    balanced.programs.iter_mut().take(3).try_for_each(|programs| programs.web.kill())?;
    (0..3).try_for_each(|server| wait_for_state(&control, server, "down"))?;
    let health: Health = control.json(&["health"])?;
    ensure!(health.services[0].checks_doubted, "{health:?}");
    let kept = health.services[0].servers.iter().filter(|server| server.phase == "held").count();
    ensure!(kept == 3, "{health:?}");
    let services: Services = control.json(&["services"])?;
    ensure!(services.services[0].destinations.len() == 3, "{services:?}");

    let network = &balanced.network;
    for (server, programs) in network.servers.iter().zip(&mut balanced.programs) {
        programs.web = start_web(network, &server.namespace, &server.name)?;
    }
    (0..3).try_for_each(|server| wait_for_state(&control, server, "up"))?;
    let events: Events = control.json(&["events"])?;
    let told = |what: &str| events.events.iter().filter(|event| event.what == what).count();
    ensure!((told("checks doubted"), told("checks trusted")) == (1, 1), "{events:?}");
    Ok(())
}
