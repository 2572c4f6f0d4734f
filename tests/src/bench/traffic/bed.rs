//! The rows of machines that packets are measured in.

use anyhow::Result;

use super::generator::{End, Generator};
use super::topology::{self, Topology};
use crate::lab::address::Family;
use crate::lab::agent::Agent;
use crate::lab::command::run_with_input;
use crate::lab::configuration::{Configuration, RealServer, Service};

pub(super) const PORT: u16 = 5000;

/// A way through the director, with the number of its VIP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    forward: &'static str,
    pub(super) vip: u8,
    /// The server stands where the client does: frames go back by the interface they came from.
    pub(super) one_armed: bool,
    /// At least so many times the packets of nftables in the same time of a processor.
    pub(super) goal: Option<f64>,
}

pub(super) const METHODS: [Method; 4] = [
    Method { name: "dr, one interface", forward: "dr", vip: 1, one_armed: true, goal: Some(6.0) },
    Method { name: "dr", forward: "dr", vip: 2, one_armed: false, goal: Some(6.0) },
    Method { name: "nat", forward: "nat", vip: 3, one_armed: false, goal: Some(3.0) },
    Method { name: "ipip", forward: "ipip", vip: 4, one_armed: false, goal: None },
];
/// What nftables translates.
pub(super) const TRANSLATED: u8 = 5;
/// What stands between the client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BedKind {
    Drop,
    Reflect,
    PassOn,
    Director,
    Kernel,
    Nftables,
}

pub(super) const BEDS: [BedKind; 6] =
    [BedKind::Drop, BedKind::Reflect, BedKind::PassOn, BedKind::Director, BedKind::Kernel, BedKind::Nftables];

/// In this order it ends: programs first, namespaces last.
pub(super) struct Bed {
    pub(super) kind: BedKind,
    pub(super) generator: Generator,
    #[expect(dead_code, reason = "runs as long as the bed lives")]
    agent: Option<Agent>,
    #[expect(dead_code, reason = "exists as long as the bed lives")]
    topology: Topology,
}

impl Bed {
    pub(super) fn make(kind: BedKind) -> Result<Self> {
        let topology = Topology::build()?;
        let Topology { client, director, server, .. } = &topology;
        let ends = match kind {
            BedKind::Drop => vec![(End::Sink, director)],
            BedKind::Reflect => vec![(End::Reflect, director), (End::Sink, client)],
            BedKind::PassOn => vec![(End::PassOn, director), (End::Sink, server)],
            // One for the server on the client's side.
            BedKind::Director => vec![(End::Sink, server), (End::Sink, client)],
            BedKind::Kernel | BedKind::Nftables => vec![(End::Sink, server)],
        };
        let generator = Generator::new(&topology, &ends)?;
        let agent = match kind {
            BedKind::Director => Some(start_agent(&topology)?),
            _ => None,
        };
        if kind == BedKind::Nftables {
            run_with_input(director.command("nft").args(["-f", "-"]), &rules())?;
        }
        Ok(Self { kind, generator, agent, topology })
    }
}

fn start_agent(topology: &Topology) -> Result<Agent> {
    let services = METHODS.iter().flat_map(|method| Family::BOTH.map(|family| service(method, family)));
    let configuration = Configuration {
        interfaces: vec!["eth0".into(), "eth1".into()],
        embryonic: None,
        services: services.collect(),
        alerts: String::new(),
    };
    Agent::start_in(&topology.director, &topology.identity, &configuration.to_string())
}

fn service(method: &Method, family: Family) -> Service {
    let server = if method.one_armed { topology::neighbour(family) } else { topology::server(family) };
    let name = match family {
        Family::V4 => format!("v4-{}", method.vip),
        Family::V6 => format!("v6-{}", method.vip),
    };
    Service {
        name,
        vip: topology::vip(family, method.vip),
        port: PORT,
        protocol: "udp",
        scheduler: "mh",
        forward: method.forward,
        real_servers: vec![RealServer { address: Some(server), port: None, weight: 1 }],
        health: String::new(),
    }
}

/// For `nft`.
fn rules() -> String {
    let table = |(family, table)| {
        let (vip, server) = (topology::vip(family, TRANSLATED), topology::server(family));
        format!(
            "table {table} bench {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat;
                    {table} daddr {vip} udp dport {PORT} dnat to {server};
                }}
            }}\n"
        )
    };
    [(Family::V4, "ip"), (Family::V6, "ip6")].map(table).concat()
}
