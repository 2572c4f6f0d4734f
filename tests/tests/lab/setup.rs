//! A balancer in a network, as most tests want it.

use std::net::IpAddr;

use anyhow::{Context, Result};
use lvs_tests::lab::address::{self, Family, Net};
use lvs_tests::lab::agent::{Agent, start_realserver};
use lvs_tests::lab::configuration::{Configuration, RealServer, Service};
pub(crate) use lvs_tests::lab::configuration::{dialled, real_servers, service};
use lvs_tests::lab::echo::{DNS_PORT, ECHO_PORT};
use lvs_tests::lab::network::{Network, Server, Shape};
use lvs_tests::lab::process::Process;
use lvs_tests::lab::realserver::{self, HTTP_PORT, IPERF_PORT, OTHER_HTTP_PORT, Programs};

/// In this order they end: the agent first, the network last.
pub(crate) struct Balanced {
    pub(crate) agent: Agent,
    _prepared: Vec<Process>,
    pub(crate) programs: Vec<Programs>,
    pub(crate) network: Network,
}

/// How the servers get ready for VIPs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preparation {
    /// The VIP on lo and silence about it, by hand: enough for dr.
    ByHand,
    /// `lvsd realserver`, which also unpacks what the director tunnels.
    Ipip,
    /// Nothing: nat needs none.
    None,
}

impl Preparation {
    pub(crate) fn of(method: &str) -> Self {
        match method {
            "dr" => Self::ByHand,
            "ipip" => Self::Ipip,
            _ => Self::None,
        }
    }
}

impl Balanced {
    /// Builds the network, starts and prepares the servers, and then the agent.
    pub(crate) fn start(
        shape: Shape,
        preparation: Preparation,
        configuration: impl FnOnce(&Network) -> Configuration,
    ) -> Result<Self> {
        let network = Network::build(shape)?;
        let mut programs = realserver::start_all(&network)?;
        // For destinations on the director itself.
        let vips: Vec<IpAddr> = network.vips().collect();
        programs.push(Programs::start(&network, &network.director, "director", &vips)?);
        let mut prepared = Vec::new();
        for server in &network.servers {
            match preparation {
                Preparation::ByHand => realserver::prepare_by_hand(server, network.vips())?,
                Preparation::Ipip => prepared.push(prepare_ipip(&network, server)?),
                Preparation::None => {}
            }
        }
        let configuration = configuration(&network);
        let agent = Agent::start(&network, &configuration.to_string())
            .with_context(|| format!("with this configuration:\n{configuration}"))?;
        Ok(Self { agent, _prepared: prepared, programs, network })
    }
}

impl Balanced {
    /// For messages of failures: what the agent said, and what it has counted.
    pub(crate) fn explain(&self) -> String {
        let ask = |what| self.agent.control().run(&[what]).unwrap_or_else(|error| format!("{error:#}"));
        format!("the agent says:\n{}\n{}\n{}", ask("services"), ask("causes"), self.agent.log())
    }
}

/// `lvsd realserver` for all VIPs, on one server.
pub(crate) fn prepare_ipip(network: &Network, server: &Server) -> Result<Process> {
    let mut arguments = vec!["--ipip".to_owned()];
    for vip in network.vips() {
        arguments.extend(["--vip".to_owned(), vip.to_string()]);
    }
    for net in [Net::Servers, Net::Clients] {
        for family in Family::BOTH {
            arguments.extend(["--director".to_owned(), address::director(net, family).to_string()]);
        }
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    start_realserver(network, server, &arguments)
}

/// Services for everything the lab's servers run, all with one method. `inner` is the family of the
/// VIPs, `outer` that of the real servers' addresses.
pub(crate) fn every_service(
    network: &Network,
    forward: &'static str,
    inner: Family,
    outer: Family,
) -> Vec<Service> {
    [
        (HTTP_PORT, "tcp", "rr"),
        (ECHO_PORT, "tcp", "wlc"),
        (ECHO_PORT, "udp", "rr"),
        (DNS_PORT, "udp", "mh"),
        // Its control connection and its data must meet on one server.
        (IPERF_PORT, "tcp", "sh"),
    ]
    .into_iter()
    .map(|(port, protocol, scheduler)| {
        let mut servers = real_servers(network, outer);
        if forward == "local" {
            servers = vec![RealServer { address: None, port: None, weight: 1 }];
        } else if forward == "nat" && port == HTTP_PORT {
            servers.iter_mut().for_each(|server| server.port = Some(OTHER_HTTP_PORT));
        }
        service(inner, port, protocol, scheduler, forward, servers)
    })
    .collect()
}
