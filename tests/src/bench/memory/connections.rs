//! What a tracked connection takes: a table is filled through the program until it would lose entries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;

use anyhow::{Result, anyhow, ensure};

use super::figure;
use super::kernel::maps;
use crate::bench::Options;
use crate::bench::figure::Figure;
use crate::packet::frame::{Ip, Link, Tcp, tcp_flag};
use crate::packet::{Side, World, mac};

/// Share of the connections that may be missing from the table where it counts as full.
const LOST: f64 = 0.0001;
/// The table is looked at so often until it has as many connections as its size says.
const STEPS: u32 = 16;
/// Goal for an IPv4 connection, both directions of a nat connection counted.
const GOAL: f64 = 96.0;
/// Connections in a table that takes next to nothing.
const SMALL: u32 = 1024;
const ACCOUNTED: &str = "by the kernel's account of the maps, less that of small tables; full: where one of \
                         10 000 connections would be lost";

#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    forward: &'static str,
    client_net: IpAddr,
    vip: &'static str,
    server: &'static str,
    goal: Option<f64>,
}

const CASES: [Case; 4] = [
    Case {
        name: "dr IPv4",
        forward: "dr",
        client_net: IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)),
        vip: "10.0.0.3",
        server: "192.168.0.11",
        goal: Some(GOAL),
    },
    Case {
        name: "dr IPv6",
        forward: "dr",
        client_net: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0)),
        vip: "2001:db8::3",
        server: "2001:db8:1::11",
        goal: None,
    },
    Case {
        name: "nat IPv4",
        forward: "nat",
        client_net: IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)),
        vip: "10.0.0.3",
        server: "192.168.0.11",
        goal: Some(GOAL),
    },
    Case {
        name: "nat IPv6",
        forward: "nat",
        client_net: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0)),
        vip: "2001:db8::3",
        server: "2001:db8:1::11",
        goal: None,
    },
];

/// What a director and the connections in its table take.
#[derive(Clone, Copy, Debug)]
struct Filled {
    connections: u32,
    /// Of the maps, by the kernel's account.
    accounted: i64,
}

pub(super) fn figures(options: &Options) -> Result<Vec<Figure>> {
    let size: u32 = options.pick(1 << 11, 1 << 15, 1 << 18);
    let mut figures = Vec::new();
    for case in CASES {
        // Apart from the table itself, a director takes the same with small and large ones.
        let small = in_thread(move || fill(&case, SMALL, 0))?;
        let Filled { connections, accounted } = in_thread(move || fill(&case, size, size))?;
        ensure!(connections > 0, "{}: the table of {size} loses entries from the first on", case.name);
        let each = |bytes: i64| bytes as f64 / f64::from(connections);
        let name = format!("a tracked connection: {}", case.name);
        let bytes = each(accounted - small.accounted);
        figures.push(Figure { goal: case.goal, ..figure(name, "bytes", bytes, Some(ACCOUNTED)) });
        let full = Figure {
            better: crate::bench::figure::Better::Higher,
            ..figure(
                format!("connections in a table of {size}: {}", case.name),
                "share",
                f64::from(connections) / f64::from(size),
                None,
            )
        };
        figures.push(full);
    }
    Ok(figures)
}

/// Makes a director whose table is for `size` connections, and as many of these up to `wanted` as it keeps.
fn fill(case: &Case, size: u32, wanted: u32) -> Result<Filled> {
    let services = format!(
        "  - {{name: web, vip: \"{}\", port: 80, protocol: tcp, scheduler: mh, track: always, \
         forward: {}, real_servers: [{{address: \"{}\"}}]}}\n",
        case.vip, case.forward, case.server
    );
    let limits = format!("connections: {size}, embryonic: 1024, destinations: 64");
    let world = World::with_limits(&services, &limits);
    let look = |connections| -> Result<Filled> {
        let accounted = maps(&world.pins())?.total.cast_signed();
        Ok(Filled { connections, accounted })
    };
    let mut filled = look(0)?;
    let step = size / STEPS;
    for first in (0..wanted).step_by(step as usize) {
        (first..first + step).for_each(|flow| connect(&world, case, flow));
        let inserted = first + step;
        let established = world.connections().iter().filter(|(_, _, embryonic)| !embryonic).count();
        if (established as f64) < f64::from(inserted) * (1.0 - LOST) {
            break;
        }
        filled = look(inserted)?;
    }
    Ok(filled)
}

/// The first two packets of a connection.
fn connect(world: &World, case: &Case, flow: u32) {
    let ip = Ip::between(client(case.client_net, flow), crate::packet::frame::address(case.vip));
    // As many ports as addresses: neither alone tells flows apart.
    let port = 1024 + (flow % 512) as u16;
    let link = Link { destination: Side::Front.mac(), source: mac("10.9.0.7"), vlan: None };
    for flags in [tcp_flag::SYN, tcp_flag::ACK] {
        world.only_run(Side::Front, &link.frame(&ip.tcp_packet(&Tcp::new(port, 80, flags), &[])));
    }
}

/// A client of flow number `flow`.
fn client(net: IpAddr, flow: u32) -> IpAddr {
    let host = flow / 512 + 1;
    match net {
        IpAddr::V4(net) => Ipv4Addr::from_bits(net.to_bits() + host).into(),
        IpAddr::V6(net) => Ipv6Addr::from_bits(net.to_bits() + u128::from(host)).into(),
    }
}

/// A world moves its thread into a namespace of its own, and panics where it fails.
fn in_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    thread::spawn(work).join().unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Err(anyhow!("{}", words.unwrap_or_else(|| "the world panicked".to_owned())))
    })
}
