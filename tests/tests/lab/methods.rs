//! Every forwarding method, in both families, with everything that a client may do.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::capture::{Capture, expect_good_checksums};
use lvs_tests::lab::client::{self, Exchange, UdpFlow};
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::{DNS_PORT, ECHO_PORT};
use lvs_tests::lab::network::{Arms, Replies, Shape};
use lvs_tests::lab::realserver::{self, HTTP_PORT, IPERF_PORT};

use crate::setup::{Balanced, Preparation, dialled, every_service};

const ONE_ARMED: Shape =
    Shape { arms: Arms::One, replies: Replies::Direct, real_servers: 2, behind_router: 0, vips: 1 };
const TWO_ARMED: Shape = Shape { arms: Arms::Two, replies: Replies::ThroughDirector, ..ONE_ARMED };
/// On one wire, but the director is the servers' gateway all the same.
const GATEWAY: Shape = Shape { replies: Replies::ThroughDirector, ..ONE_ARMED };

#[test]
fn dr_one_armed() -> Result<()> {
    serves_everything(ONE_ARMED, "dr", Family::V4, Family::V4)?;
    serves_everything(ONE_ARMED, "dr", Family::V6, Family::V6)
}

#[test]
fn dr_two_armed() -> Result<()> {
    serves_everything(TWO_ARMED, "dr", Family::V4, Family::V4)?;
    serves_everything(TWO_ARMED, "dr", Family::V6, Family::V6)
}

#[test]
fn dr_through_the_director_as_gateway() -> Result<()> {
    serves_everything(GATEWAY, "dr", Family::V4, Family::V4)?;
    serves_everything(GATEWAY, "dr", Family::V6, Family::V6)
}

#[test]
fn nat_one_armed() -> Result<()> {
    serves_everything(ONE_ARMED, "nat", Family::V4, Family::V4)?;
    serves_everything(ONE_ARMED, "nat", Family::V6, Family::V6)
}

#[test]
fn nat_two_armed() -> Result<()> {
    serves_everything(TWO_ARMED, "nat", Family::V4, Family::V4)?;
    serves_everything(TWO_ARMED, "nat", Family::V6, Family::V6)
}

#[test]
fn ipip_one_armed() -> Result<()> {
    serves_everything(ONE_ARMED, "ipip", Family::V4, Family::V4)?;
    serves_everything(ONE_ARMED, "ipip", Family::V6, Family::V6)
}

#[test]
fn ipip_two_armed() -> Result<()> {
    serves_everything(TWO_ARMED, "ipip", Family::V4, Family::V4)?;
    serves_everything(TWO_ARMED, "ipip", Family::V6, Family::V6)
}

#[test]
fn ipip_carries_one_family_in_the_other() -> Result<()> {
    serves_everything(ONE_ARMED, "ipip", Family::V4, Family::V6)?;
    serves_everything(ONE_ARMED, "ipip", Family::V6, Family::V4)
}

#[test]
fn local() -> Result<()> {
    serves_everything(ONE_ARMED, "local", Family::V4, Family::V4)?;
    serves_everything(ONE_ARMED, "local", Family::V6, Family::V6)
}

/// VIPs of family `inner`, real servers at addresses of family `outer`.
fn serves_everything(shape: Shape, forward: &'static str, inner: Family, outer: Family) -> Result<()> {
    let balanced = Balanced::start(shape, Preparation::of(forward), |network| {
        Configuration::new(network, every_service(network, forward, inner, outer))
    })?;
    // Fragments fill the wire, so a tunnel has no room for them.
    let longest = if forward == "ipip" { 1400 } else { 8000 };
    uses_everything(&balanced, inner, longest)
        .with_context(|| format!("{forward}, {inner} over {outer}; {}", balanced.explain()))
}

/// `longest` is the length of the longest datagram.
fn uses_everything(balanced: &Balanced, family: Family, longest: usize) -> Result<()> {
    let network = &balanced.network;
    let directory = network.identity.directory();
    let client = &network.client;
    let captures = [
        Capture::start(client, "eth0", &directory)?,
        Capture::start(&network.servers[0].namespace, "eth0", &directory)?,
    ];

    let web = dialled(family, HTTP_PORT);
    client::curl(client, web, "/").context("curl")?;
    let large = realserver::large_file(&directory)?;
    client::download(client, web, "/large", &large).context("download")?;
    let server = client::upload(client, web, &large, "copy").context("upload")?;
    client::same(&realserver::uploaded(network, &server, "copy"), &large).context("upload")?;

    client::dig(client, dialled(family, DNS_PORT)).context("dig")?;
    let echo = dialled(family, ECHO_PORT);
    client.enter(|| Exchange::TcpEcho.once(echo)).context("TCP echo")?;
    client.enter(|| same_flow_same_server(echo, longest)).context("UDP echo")?;

    for frames in captures.map(Capture::finish) {
        expect_good_checksums(&frames?)?;
    }
    // Without captures: they cannot keep up with it.
    for reverse in [false, true] {
        let megabits = client::iperf3(client, dialled(family, IPERF_PORT), reverse).context("iperf3")?;
        ensure!(megabits > 1.0, "iperf3 (from the server: {reverse}) got {megabits} Mbit/s");
    }
    client.enter(|| client::ping(echo.ip(), 56)).context("ping to the VIP")
}

/// Datagrams of one flow all reach one server, whatever their sizes.
fn same_flow_same_server(target: SocketAddr, longest: usize) -> Result<()> {
    let flow = UdpFlow::open(target)?;
    let first = flow.echo(b"hello")?;
    for length in [0, 1, 2, 63, 512, longest] {
        let datagram: Vec<u8> = (0..length).map(|index| index as u8).collect();
        let server = flow.echo(&datagram).with_context(|| format!("{length} bytes"))?;
        ensure!(server == first, "the flow went from {first} to {server}");
    }
    Ok(())
}
