//! What a director does while it holds nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family, Net};
use lvs_tests::lab::agent::start_realserver;
use lvs_tests::lab::configuration::{Configuration, Service};
use lvs_tests::lab::network::{Network, Server, Shape};
use lvs_tests::lab::pair::{HOSTS, NODES, Pair, gateway};
use lvs_tests::lab::process::Process;
use lvs_tests::lab::realserver::{HTTP_PORT, OTHER_HTTP_PORT, start_web};
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::Health;

use crate::setup::{real_servers, service};

const PATIENCE: Duration = Duration::from_secs(20);
const TIMING: &str = "via: path, interval: 200ms, fast_interval: 100ms, timeout: 500ms, rise: 2, fall: 2";
/// With nat, translated to the web server's.
const TRANSLATED_PORT: u16 = 81;
/// Each method has a port of its own, on one VIP of each family.
const METHODS: [(&str, u16); 3] = [("dr", HTTP_PORT), ("ipip", OTHER_HTTP_PORT), ("nat", TRANSLATED_PORT)];

/// Its probes take the path all the same: a server that lacks the VIP and does not unpack is found out by both
/// directors, and returns for both. (Of nat the standby cannot find out about the default route, which leads to the
/// other one.)
#[test]
fn probes_by_the_path_find_out_who_cannot_serve() -> Result<()> {
    let shape = Shape { real_servers: 2, ..Shape::default() };
    let mut pair = Pair::build(shape)?;
    let mut webs = Vec::new();
    for server in &pair.network.servers {
        webs.push(start_web(&pair.network, &server.namespace, &server.name)?);
        for family in Family::BOTH {
            // For the answers to nat's probes, which come from an address elsewhere.
            let way = format!("via {}", gateway(family));
            server.namespace.addresses(family, &format!("route replace default {way}\n"))?;
        }
    }
    let mut prepared = vec![prepare(&pair.network, &pair.network.servers[0])?];
    let services: Vec<Service> =
        Family::BOTH.into_iter().flat_map(|family| sites(&pair.network, family)).collect();
    pair.start(Configuration::new(&pair.network, services).to_string())?;

    for director in [1, 0] {
        expect(&pair, director, |forward, server| server == 0 || forward == "nat")?;
    }
    ensure!(pair.role(1) == "standby", "{}", pair.explain());
    prepared.push(prepare(&pair.network, &pair.network.servers[1])?);
    for director in [1, 0] {
        expect(&pair, director, |_, _| true)?;
    }
    ensure!(pair.role(1) == "standby" && pair.role(0) == "active", "{}", pair.explain());

    // The roles change: so does whose address nat's probes have.
    pair.agents[0].as_mut().context("it runs")?.kill()?;
    pair.wait_for_active(1)?;
    expect(&pair, 1, |_, _| true)?;
    drop(webs);
    Ok(())
}

fn sites(network: &Network, family: Family) -> Vec<Service> {
    let site = |(forward, port): (&'static str, u16)| {
        let mut servers = real_servers(network, family);
        if forward == "nat" {
            servers.iter_mut().for_each(|server| server.port = Some(HTTP_PORT));
        }
        let mut service = service(family, port, "tcp", "rr", forward, servers);
        service.name = format!("{forward}-{family}");
        service.health = format!("{{checks: [{{type: http, path: /.testpage, body: test page, {TIMING}}}]}}");
        service
    };
    METHODS.map(site).to_vec()
}

/// The VIPs, and whoever unpacks what either director sends in a tunnel.
fn prepare(network: &Network, server: &Server) -> Result<Process> {
    let mut arguments = vec!["--ipip".to_owned()];
    for vip in network.vips() {
        arguments.extend(["--vip".to_owned(), vip.to_string()]);
    }
    for (family, host) in Family::BOTH.into_iter().flat_map(|family| HOSTS.map(|host| (family, host))) {
        for net in [Net::Servers, Net::Clients] {
            arguments.extend(["--director".to_owned(), address::host(net, family, host).to_string()]);
        }
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    start_realserver(network, server, &arguments)
}

/// Waits until a director's own probes, some of them from now on, say of every server of every service whether it is up.
fn expect(pair: &Pair, director: usize, is_up: impl Fn(&str, usize) -> bool) -> Result<()> {
    let control = pair.agent(director)?.control().clone();
    let probes = || -> Result<u64> {
        let health: Health = control.json(&["health"])?;
        let servers = health.services.iter().flat_map(|service| &service.servers);
        servers.map(|server| server.checks[0].probes).min().context("no checks")
    };
    let before = probes()?;
    let what = format!("the probes of {} to say so", NODES[director]);
    wait_until(&what, PATIENCE, || {
        let asked: Result<Health> = control.json(&["health"]);
        let is_later = probes().is_ok_and(|now| now >= before + 3);
        is_later
            && asked.is_ok_and(|health| {
                health.services.iter().all(|service| {
                    let forward = service.name.split('-').next().unwrap_or_default();
                    (0..).zip(&service.servers).all(|(number, server)| {
                        let check = &server.checks[0];
                        let last = check.last.as_ref().is_some_and(|last| last.conclusive);
                        last && check.state == if is_up(forward, number) { "up" } else { "down" }
                    })
                })
            })
    })
    .with_context(|| format!("{}\n{}", control.run(&["health"]).unwrap_or_default(), pair.explain()))
}
