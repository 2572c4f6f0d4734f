//! What the demonstration and kept labs run: six VIPs, one for each method and family, with a web server
//! and an echo behind each.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lvs_tests::lab::address::{self, DIRECTOR, Family, Net};
use lvs_tests::lab::agent::{Agent, start_realserver};
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::{Configuration, RealServer, Service};
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::network::{Arms, Network, Shape};
use lvs_tests::lab::process::Process;
use lvs_tests::lab::realserver::{self, HTTP_PORT, OTHER_HTTP_PORT, Programs};

/// A VIP of each family, by its number, and what its services show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    pub(crate) vip: u8,
    pub(crate) forward: &'static str,
    pub(crate) scheduler: &'static str,
    /// How far a server's share may be off its weight's. Sequences are exact, hashes scatter, and least
    /// connections favour whoever is quick at the moment, which is the point of them.
    pub(crate) tolerance: f64,
}

pub(crate) const METHODS: [Method; 3] = [
    Method { vip: 0, forward: "dr", scheduler: "mh", tolerance: 0.06 },
    Method { vip: 1, forward: "nat", scheduler: "wlc", tolerance: 0.1 },
    Method { vip: 2, forward: "ipip", scheduler: "wrr", tolerance: 0.01 },
];
/// Weights of rs1, rs2 and rs3.
pub(crate) const WEIGHTS: [u32; 3] = [1, 2, 3];

/// Web servers are watched by their test page.
const WEB_HEALTH: &str = "{checks: [{type: http, path: /.testpage, body: test page, interval: 500ms, \
                          fast_interval: 100ms, timeout: 500ms, rise: 2, fall: 3}]}";

/// In this order they end: the agent first, the network last.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) agent: Agent,
    pub(crate) prepared: Vec<Process>,
    pub(crate) programs: Vec<Programs>,
    pub(crate) network: Network,
}

/// One service of the setting, as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Dialled {
    pub(crate) service: Service,
    pub(crate) exchange: Exchange,
    pub(crate) tolerance: f64,
}

impl Dialled {
    pub(crate) fn target(&self) -> SocketAddr {
        SocketAddr::new(self.service.vip, self.service.port)
    }
}

impl Setting {
    /// Builds it all, telling each step.
    pub(crate) fn build(arms: Arms) -> Result<Self> {
        println!("building a network: client, director, {} real servers", WEIGHTS.len());
        let vips = METHODS.len() as u8;
        let network = Network::build(Shape { arms, real_servers: WEIGHTS.len(), vips, ..Shape::default() })?;
        println!("starting nginx, an echo and iperf3 on each real server");
        let programs = realserver::start_all(&network)?;
        println!("preparing the real servers: lvsd realserver --ipip");
        let prepared = prepare(&network, &[DIRECTOR])?;
        println!("starting the director's agent: lvsd");
        let agent = Agent::start(&network, &configuration(&network).to_string())?;
        Ok(Self { agent, prepared, programs, network })
    }

    /// Lets everything run on without this program.
    pub(crate) fn keep(self) -> Result<()> {
        let Self { agent, prepared, programs, mut network } = self;
        let note = super::kept::how_to_explore(&network)?;
        network.identity.keep(&note)?;
        agent.detach();
        prepared.into_iter().for_each(Process::detach);
        programs.into_iter().for_each(Programs::detach);
        println!("{note}");
        Ok(())
    }
}

pub(crate) fn configuration(network: &Network) -> Configuration {
    Configuration::new(network, dialled(network).into_iter().map(|dialled| dialled.service).collect())
}

/// Every service with the way to use it.
pub(crate) fn dialled(network: &Network) -> Vec<Dialled> {
    let mut services = Vec::new();
    for (exchange, kind, protocol, port) in [
        (Exchange::Http, "web", "tcp", HTTP_PORT),
        (Exchange::TcpEcho, "echo", "tcp", ECHO_PORT),
        (Exchange::UdpEcho, "echo-udp", "udp", ECHO_PORT),
    ] {
        for Method { vip, forward, scheduler, tolerance } in METHODS {
            for family in Family::BOTH {
                let real_servers = network.servers.iter().zip(WEIGHTS).map(|(server, weight)| RealServer {
                    address: Some(server.address(family)),
                    // The web server listens there too: nat can translate ports.
                    port: (forward == "nat" && port == HTTP_PORT).then_some(OTHER_HTTP_PORT),
                    weight,
                });
                let service = Service {
                    name: format!("{kind}-{forward}-{}", if family == Family::V4 { "v4" } else { "v6" }),
                    vip: address::vip(family, vip),
                    port,
                    protocol,
                    scheduler,
                    forward,
                    real_servers: real_servers.collect(),
                    health: if exchange == Exchange::Http { WEB_HEALTH.to_owned() } else { String::new() },
                };
                services.push(Dialled { service, exchange, tolerance });
            }
        }
    }
    services
}

/// Every server gets the VIPs of dr and ipip, and unpacks what directors with these host numbers tunnel.
pub(crate) fn prepare(network: &Network, hosts: &[u8]) -> Result<Vec<Process>> {
    let directors = hosts.iter().flat_map(|host| {
        [Net::Servers, Net::Clients]
            .into_iter()
            .flat_map(|net| Family::BOTH.map(|family| address::host(net, family, *host)))
    });
    let mut arguments = vec!["--ipip".to_owned()];
    for (option, addresses) in [
        ("--vip", network.vips().filter(|vip| !is_nat(*vip)).collect::<Vec<_>>()),
        ("--director", directors.collect()),
    ] {
        arguments.extend(addresses.iter().flat_map(|address| [option.to_owned(), address.to_string()]));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    network.servers.iter().map(|server| start_realserver(network, server, &arguments)).collect()
}

fn is_nat(vip: IpAddr) -> bool {
    METHODS.iter().any(|method| method.forward == "nat" && address::vip(Family::of(vip), method.vip) == vip)
}
