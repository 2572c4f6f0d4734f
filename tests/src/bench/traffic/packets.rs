//! Small datagrams through the director, through the kernel's forwarding and through nftables, in turn: what
//! disturbs the machine disturbs them alike.

use std::net::IpAddr;

use anyhow::Result;

use super::frame;
use super::generator::{Generator, Measured};
use super::topology::{self, Topology};
use crate::bench::Options;
use crate::bench::figure::{Better, Figure};
use crate::lab::address::Family;
use crate::lab::agent::Agent;
use crate::lab::command::run_with_input;
use crate::lab::configuration::{Configuration, RealServer, Service};

const PORT: u16 = 5000;
const FLOWS: u32 = 4096;
/// Lost frames are named above this share.
const LOSS_WORTH_A_NOTE: f64 = 0.001;

/// A way through the director, with the number of its VIP.
#[derive(Clone, Copy, Debug)]
struct Method {
    name: &'static str,
    forward: &'static str,
    vip: u8,
    /// The server stands where the client does: frames go back by the interface they came from.
    one_armed: bool,
    /// At least so many times the packets of nftables in the same time of a processor.
    goal: Option<f64>,
}

const METHODS: [Method; 4] = [
    Method { name: "dr, one interface", forward: "dr", vip: 1, one_armed: true, goal: Some(6.0) },
    Method { name: "dr", forward: "dr", vip: 2, one_armed: false, goal: Some(6.0) },
    Method { name: "nat", forward: "nat", vip: 3, one_armed: false, goal: Some(3.0) },
    Method { name: "ipip", forward: "ipip", vip: 4, one_armed: false, goal: None },
];
/// What nftables translates.
const TRANSLATED: u8 = 5;
const FLOOR: &str = "XDP_DROP at the director";
const FORWARDING: &str = "kernel forwarding";
const NFTABLES: &str = "nftables DNAT with conntrack";

/// One thing to measure, and the topology it is measured in.
struct Case {
    name: String,
    family: Family,
    bed: usize,
    destination: IpAddr,
    goal: Option<f64>,
    runs: Vec<Measured>,
}

/// In this order it ends: programs first, namespaces last.
struct Bed {
    generator: Generator,
    #[expect(dead_code, reason = "lives as long as the bed")]
    agent: Option<Agent>,
    topology: Topology,
}

pub(super) fn figures(options: &Options) -> Result<Vec<Figure>> {
    let (runs, frames) = if options.quick { (3, 1 << 19) } else { (9, 1 << 21) };
    let mut beds = [floor()?, director()?, plain()?, nftables()?];
    let mut cases = cases();
    // The first frames look up neighbours and fill tables.
    for run in 0..=runs {
        for case in &mut cases {
            let template = frame::template(topology::client_net(case.family), case.destination, PORT)?;
            let frames = if run == 0 { 1 << 16 } else { frames };
            let measured = beds[case.bed].generator.run(&template, frames)?;
            if run > 0 {
                case.runs.push(measured);
            }
        }
    }
    Ok(cases.iter().flat_map(Case::figures).collect())
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        let mut add = |name: &str, bed, destination, goal| {
            let name = format!("{name}, {family}");
            cases.push(Case { name, family, bed, destination, goal, runs: Vec::new() });
        };
        add(FLOOR, 0, topology::server(family), None);
        for method in METHODS {
            add(method.name, 1, topology::vip(family, method.vip), method.goal);
        }
        add(FORWARDING, 2, topology::server(family), None);
        add(NFTABLES, 3, topology::vip(family, TRANSLATED), None);
    }
    cases
}

impl Case {
    fn figures(&self) -> [Figure; 3] {
        let lost = self.runs.iter().map(Measured::lost).fold(0.0, f64::max);
        let note = (lost > LOSS_WORTH_A_NOTE)
            .then(|| format!("up to {:.1} % of the frames did not arrive; not counted", lost * 100.0));
        let figure =
            |what: &str, unit: &str, better, reference: Option<&str>, value: fn(&Measured) -> f64| {
                let reference = reference.map(|name| format!("{name}, {}: {what}", self.family));
                Figure {
                    section: "traffic".into(),
                    case: format!("{}: {what}", self.name),
                    unit: unit.into(),
                    samples: self.runs.iter().map(value).collect(),
                    // Nothing is a multiple of itself.
                    reference: reference.filter(|reference| !reference.starts_with(&self.name)),
                    goal: None,
                    better,
                    note: note.clone(),
                }
            };
        [
            figure(
                "processor time",
                "ns/packet",
                Better::Lower,
                Some(FLOOR),
                Measured::nanoseconds_per_packet,
            ),
            Figure {
                goal: self.goal,
                ..figure(
                    "packets in a second of processor time",
                    "1/s",
                    Better::Higher,
                    Some(NFTABLES),
                    Measured::packets_per_processor_second,
                )
            },
            figure("packets a second", "1/s", Better::Higher, None, Measured::packets_per_second),
        ]
    }
}

fn floor() -> Result<Bed> {
    let topology = Topology::build()?;
    let generator = Generator::new(&topology, &[&topology.director], FLOWS)?;
    Ok(Bed { generator, agent: None, topology: topology })
}

fn director() -> Result<Bed> {
    let topology = Topology::build()?;
    // XDP_TX needs a program at the other end as well.
    let generator = Generator::new(&topology, &[&topology.server, &topology.client], FLOWS)?;
    let services = METHODS.iter().flat_map(|method| Family::BOTH.map(|family| service(method, family)));
    let configuration = Configuration {
        interfaces: vec!["eth0".into(), "eth1".into()],
        embryonic: None,
        services: services.collect(),
    };
    let agent = Agent::start_in(&topology.director, &topology.identity, &configuration.to_string())?;
    Ok(Bed { generator, agent: Some(agent), topology: topology })
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
    }
}

fn plain() -> Result<Bed> {
    let topology = Topology::build()?;
    let generator = Generator::new(&topology, &[&topology.server], FLOWS)?;
    Ok(Bed { generator, agent: None, topology: topology })
}

fn nftables() -> Result<Bed> {
    let bed = plain()?;
    let mut rules = String::new();
    for (family, table) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
        let (vip, server) = (topology::vip(family, TRANSLATED), topology::server(family));
        rules += &format!(
            "table {table} bench {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat;
                    {table} daddr {vip} udp dport {PORT} dnat to {server};
                }}
            }}\n"
        );
    }
    run_with_input(bed.topology.director.command("nft").args(["-f", "-"]), &rules)?;
    Ok(bed)
}
