//! Health checks through the path: servers that answer on their own address, and cannot serve the VIP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::agent::{Agent, Control};
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::{Configuration, Service};
use lvs_tests::lab::network::{Arms, Network, Replies, Server, Shape};
use lvs_tests::lab::process::Process;
use lvs_tests::lab::realserver::{self, HTTP_PORT, OTHER_HTTP_PORT, start_web};
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::{Health, ServerHealth};

use crate::setup::{prepare_ipip, real_servers, service};

/// discard
const UNUSED_PORT: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(20);
const TIMING: &str = "via: path, interval: 200ms, fast_interval: 100ms, timeout: 500ms, rise: 2, fall: 2";

const ONE_ARMED: Shape =
    Shape { arms: Arms::One, replies: Replies::Direct, real_servers: 2, behind_router: 0, vips: 1 };
const TWO_ARMED: Shape = Shape { arms: Arms::Two, replies: Replies::ThroughDirector, ..ONE_ARMED };
/// On one wire, with the director as the servers' gateway.
const GATEWAY: Shape = Shape { replies: Replies::ThroughDirector, ..ONE_ARMED };

#[test]
fn dr_one_armed() -> Result<()> {
    finds_out(ONE_ARMED, "dr")
}

#[test]
fn dr_two_armed() -> Result<()> {
    finds_out(TWO_ARMED, "dr")
}

#[test]
fn ipip_one_armed() -> Result<()> {
    finds_out(ONE_ARMED, "ipip")
}

#[test]
fn ipip_two_armed() -> Result<()> {
    finds_out(TWO_ARMED, "ipip")
}

#[test]
fn nat_one_armed() -> Result<()> {
    finds_out(GATEWAY, "nat")
}

#[test]
fn nat_two_armed() -> Result<()> {
    finds_out(TWO_ARMED, "nat")
}

/// The first server is as it should be, and the second one lacks what the method needs until it is given.
fn finds_out(shape: Shape, forward: &'static str) -> Result<()> {
    let network = Network::build(shape)?;
    let mut webs = Vec::new();
    for server in &network.servers {
        webs.push(start_web(&network, &server.namespace, &server.name)?);
        // One that routes must not pass a probe on to somebody who can answer it.
        server.namespace.sysctl(&[("ipv4.ip_forward", "1"), ("ipv6.conf.all.forwarding", "1")])?;
        // And refuses whatever it has to.
        server.namespace.sysctl(&[("ipv4.icmp_ratelimit", "0"), ("ipv6.icmp.ratelimit", "0")])?;
    }
    let [good, poor] = &network.servers[..] else { unreachable!("the shape has two real servers") };
    let mut prepared = Vec::from_iter(prepare(&network, good, forward)?);
    spoil(&network, poor, forward)?;

    let configuration = Configuration::new(&network, services(&network, forward));
    let agent = Agent::start(&network, &configuration.to_string())?;
    let control = agent.control();
    let explained = |result: Result<()>| {
        result.with_context(|| {
            let health = control.run(&["health"]).unwrap_or_default();
            format!(
                "{forward} {shape:?}\n{health}\n{}\n{}",
                control.run(&["causes"]).unwrap_or_default(),
                agent.log()
            )
        })
    };
    for (number, family) in Family::BOTH.into_iter().enumerate() {
        explained(wait_for_state(control, number, 0, "up"))?;
        explained(wait_for_state(control, number, 1, "down"))?;
        // It is out of the service now: a packet that it sent back would reach the other one, which answers.
        explained(goes_on(control, number, 1, false))?;
        // The refusal is an ICMP error, which comes from the VIP and is about a packet to it.
        explained(wait_for_state(control, number + 2, 0, "down"))?;
        let refused = server(control, number + 2, 0)?;
        ensure!(refused.reason.contains("connection refused"), "{refused:?}");
        // An ordinary check would not have noticed.
        let own = SocketAddr::new(poor.address(family), HTTP_PORT);
        network.director.enter(|| Exchange::Http.once(own)).context("the server's own address")?;
    }

    if forward == "ipip" {
        // `lvsd realserver` brings them itself.
        on_lo(&network, poor, "del")?;
    }
    prepared.extend(prepare(&network, poor, forward)?);
    for number in [0, 1] {
        explained(wait_for_state(control, number, 1, "up"))?;
    }

    // So far the VIPs were the director's own addresses.
    for vip in network.vips() {
        let family = Family::of(vip);
        network.director.addresses(family, &format!("addr del {vip}/{} dev eth0", family.host_bits()))?;
    }
    for number in [0, 1] {
        explained(goes_on(control, number, 0, true))?;
    }
    drop(prepared);
    Ok(())
}

/// A web site for each family, and then for each a UDP port that nobody listens on.
fn services(network: &Network, forward: &'static str) -> Vec<Service> {
    let refused = Family::BOTH.map(|family| {
        let mut service = service(family, UNUSED_PORT, "udp", "rr", forward, real_servers(network, family));
        service.health = format!("{{checks: [{{type: udp, {TIMING}}}]}}");
        service
    });
    let sites = Family::BOTH.map(|family| {
        let mut servers = real_servers(network, family);
        if forward == "nat" {
            servers.iter_mut().for_each(|server| server.port = Some(OTHER_HTTP_PORT));
        }
        let mut service = service(family, HTTP_PORT, "tcp", "rr", forward, servers);
        service.health = format!(
            "{{checks: [{{type: http, path: /.testpage, body: test page, {TIMING}}}, {{type: tcp, {TIMING}}}]}}"
        );
        service
    });
    [sites, refused].concat()
}

/// Gives the server what the method needs.
fn prepare(network: &Network, server: &Server, forward: &str) -> Result<Option<Process>> {
    match forward {
        "dr" => realserver::prepare_by_hand(server, network.vips())?,
        "ipip" => return prepare_ipip(network, server).map(Some),
        _ => restore_gateway(server)?,
    }
    Ok(None)
}

/// Takes it away.
fn spoil(network: &Network, server: &Server, forward: &str) -> Result<()> {
    match forward {
        // Nothing has been done yet.
        "dr" => Ok(()),
        // The VIP, but nobody who unpacks.
        "ipip" => on_lo(network, server, "add"),
        _ => Family::BOTH
            .into_iter()
            .try_for_each(|family| server.namespace.addresses(family, "route del default")),
    }
}

fn on_lo(network: &Network, server: &Server, action: &str) -> Result<()> {
    network.vips().try_for_each(|vip| {
        let family = Family::of(vip);
        server.namespace.addresses(family, &format!("addr {action} {vip}/{} dev lo", family.host_bits()))
    })
}

fn restore_gateway(server: &Server) -> Result<()> {
    Family::BOTH.into_iter().try_for_each(|family| {
        let director = address::director(address::Net::Servers, family);
        server.namespace.addresses(family, &format!("route replace default via {director}"))
    })
}

fn server(control: &Control, service: usize, server: usize) -> Result<ServerHealth> {
    let health: Health = control.json(&["health"])?;
    let servers = health.services.into_iter().nth(service).context("no such service")?.servers;
    servers.into_iter().nth(server).context("no such server")
}

fn wait_for_state(control: &Control, service: usize, number: usize, state: &str) -> Result<()> {
    wait_until(&format!("server {number} of service {service} to be {state}"), PATIENCE, || {
        server(control, service, number).is_ok_and(|server| server.state == state)
    })
}

/// Further probes pass all, or fail all.
fn goes_on(control: &Control, service: usize, number: usize, passing: bool) -> Result<()> {
    let checks = || Ok::<_, anyhow::Error>(server(control, service, number)?.checks);
    let before = checks()?;
    wait_until("more probes", PATIENCE, || {
        checks().is_ok_and(|now| now.iter().zip(&before).all(|(now, before)| now.probes >= before.probes + 5))
    })?;
    let now = checks()?;
    for (before, now) in before.iter().zip(&now) {
        let (probes, failures) = (now.probes - before.probes, now.failures - before.failures);
        ensure!(failures == if passing { 0 } else { probes }, "{before:?}\n{now:?}");
        ensure!(
            now.last.as_ref().is_some_and(|probe| probe.passed == passing && probe.conclusive),
            "{now:?}"
        );
    }
    Ok(())
}
