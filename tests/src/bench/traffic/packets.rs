//! Small datagrams through the director, through the kernel's forwarding and through nftables, in turn: what
//! disturbs the machine disturbs them alike.

use std::net::IpAddr;

use anyhow::{Context, Result};

use super::frame;
use super::generator::{End, Generator, Measured};
use super::topology::{self, Topology};
use crate::bench::Options;
use crate::bench::figure::{Better, Figure, median};
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
const FLOOR: &str = "XDP_DROP";
const NFTABLES: &str = "nftables DNAT";
const NFTABLES_NOTE: &str = "with conntrack, into which every flow was taken before";

/// What stands between the client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BedKind {
    Drop,
    Reflect,
    PassOn,
    Director,
    Kernel,
    Nftables,
}

const BEDS: [BedKind; 6] =
    [BedKind::Drop, BedKind::Reflect, BedKind::PassOn, BedKind::Director, BedKind::Kernel, BedKind::Nftables];

/// One thing to measure, and where.
struct Case {
    name: &'static str,
    family: Family,
    bed: BedKind,
    destination: IpAddr,
    goal: Option<f64>,
    runs: Vec<Measured>,
}

/// In this order it ends: programs first, namespaces last.
struct Bed {
    kind: BedKind,
    generator: Generator,
    #[expect(dead_code, reason = "runs as long as the bed lives")]
    agent: Option<Agent>,
    #[expect(dead_code, reason = "exists as long as the bed lives")]
    topology: Topology,
}

pub(super) fn figures(options: &Options) -> Result<Vec<Figure>> {
    let (runs, frames) = if options.quick { (3, 1 << 19) } else { (9, 1 << 21) };
    let mut beds = BEDS.into_iter().map(Bed::make).collect::<Result<Vec<_>>>()?;
    let mut cases = cases();
    // The first frames look up neighbours and fill tables.
    for run in 0..=runs {
        for case in &mut cases {
            let template = frame::template(topology::client_net(case.family), case.destination, PORT)?;
            let frames = if run == 0 { 1 << 16 } else { frames };
            let bed = beds.iter_mut().find(|bed| bed.kind == case.bed).context("a case without a bed")?;
            let measured = bed.generator.run(&template, frames)?;
            if run > 0 {
                case.runs.push(measured);
            }
        }
    }
    let kinds = [Case::processor_time, Case::packets_in_processor_second, Case::packets_a_second];
    let mut figures: Vec<Figure> = kinds.iter().flat_map(|kind| cases.iter().map(kind)).collect();
    let beyond_floor =
        cases.iter().filter_map(|case| case.beyond(cases.iter().find(|floor| floor.is_floor_of(case))?));
    figures.extend(beyond_floor);
    Ok(figures)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::BOTH {
        let mut add = |name, bed, destination, goal| {
            cases.push(Case { name, family, bed, destination, goal, runs: Vec::new() });
        };
        let server = topology::server(family);
        // What the least program costs does not depend on what it does not read.
        if family == Family::V4 {
            add("XDP_TX", BedKind::Reflect, server, None);
            add("XDP_REDIRECT", BedKind::PassOn, server, None);
        }
        add(FLOOR, BedKind::Drop, server, None);
        for method in METHODS {
            add(method.name, BedKind::Director, topology::vip(family, method.vip), method.goal);
        }
        add("kernel forwarding", BedKind::Kernel, server, None);
        add("kernel forwarding behind the director", BedKind::Director, server, None);
        add(NFTABLES, BedKind::Nftables, topology::vip(family, TRANSLATED), None);
    }
    cases
}

impl Case {
    fn processor_time(&self) -> Figure {
        let what = "processor time a packet";
        self.figure(what, "ns", Better::Lower, Some(FLOOR), Measured::nanoseconds_per_packet)
    }

    fn is_floor_of(&self, case: &Self) -> bool {
        self.name == FLOOR && self.family == case.family && case.name != FLOOR
    }

    /// What is left of the processor time without what generator, wire and sink take.
    fn beyond(&self, floor: &Self) -> Option<Figure> {
        let what = "processor time a packet beyond XDP_DROP";
        let times =
            |case: &Self| -> Vec<f64> { case.runs.iter().map(Measured::nanoseconds_per_packet).collect() };
        let floor = median(&times(floor));
        let mut figure =
            self.figure(what, "ns", Better::Lower, Some(NFTABLES), Measured::nanoseconds_per_packet);
        figure.samples.iter_mut().for_each(|sample| *sample -= floor);
        floor.is_finite().then_some(figure)
    }

    fn packets_in_processor_second(&self) -> Figure {
        let what = "packets in a second of processor time";
        let value = Measured::packets_per_processor_second;
        Figure { goal: self.goal, ..self.figure(what, "1/s", Better::Higher, Some(NFTABLES), value) }
    }

    fn packets_a_second(&self) -> Figure {
        self.figure("packets a second", "1/s", Better::Higher, None, Measured::packets_per_second)
    }

    fn figure(
        &self,
        what: &str,
        unit: &str,
        better: Better,
        reference: Option<&str>,
        value: fn(&Measured) -> f64,
    ) -> Figure {
        let lost = self.runs.iter().map(Measured::lost).fold(0.0, f64::max);
        let note = match self.name {
            _ if lost > LOSS_WORTH_A_NOTE => {
                Some(format!("up to {:.1} % of the frames were lost; not counted", lost * 100.0))
            }
            NFTABLES => Some(NFTABLES_NOTE.to_owned()),
            _ => None,
        };
        // Nothing is a multiple of itself.
        let reference = reference.filter(|name| *name != self.name);
        Figure {
            section: "traffic".into(),
            case: format!("{what}: {} {}", self.name, self.family),
            unit: unit.into(),
            samples: self.runs.iter().map(value).collect(),
            reference: reference.map(|name| format!("{what}: {name} {}", self.family)),
            goal: None,
            better,
            note,
        }
    }
}

impl Bed {
    fn make(kind: BedKind) -> Result<Self> {
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
        let generator = Generator::new(&topology, &ends, FLOWS)?;
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
