//! A flood of SYNs may only push out other SYNs.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use lvs_tests::lab::address::Family;
use lvs_tests::lab::client::{Exchange, TcpFlow};
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::realserver::HTTP_PORT;
use lvs_userspace::api::model::Stats;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::setup::{Balanced, Preparation, dialled, real_servers, service};

/// More than the table for them holds, as configured below.
const SYNS: u16 = 5_000;
const EMBRYONIC: u32 = 1_024;

#[test]
fn open_connections_outlive_a_flood_of_syns() -> Result<()> {
    let balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        let services = [HTTP_PORT, ECHO_PORT]
            .map(|port| service(Family::V4, port, "tcp", "rr", "dr", real_servers(network, Family::V4)));
        let mut configuration = Configuration::new(network, services.to_vec());
        configuration.embryonic = Some(EMBRYONIC);
        configuration
    })?;
    let client = &balanced.network.client;
    let echo = dialled(Family::V4, ECHO_PORT);
    let mut flows = client.enter(|| (0..20).map(|_| TcpFlow::open(echo)).collect::<Result<Vec<_>>>())?;

    client.enter(|| flood(dialled(Family::V4, HTTP_PORT)))?;

    client.enter(|| {
        for flow in &mut flows {
            flow.echo(b"still there").with_context(|| format!("to {}", flow.server))?;
        }
        Exchange::Http.once(dialled(Family::V4, HTTP_PORT)).context("a new connection")
    })?;
    let stats: Stats = balanced.agent.control().json(&["stats"])?;
    let count =
        |name: &str| stats.causes.iter().find(|cause| cause.name == name).map_or(0, |cause| cause.packets);
    let evicted = count("embryonic_evicted");
    ensure!(
        evicted >= u64::from(SYNS) - 2 * u64::from(EMBRYONIC),
        "only {evicted} of {SYNS} SYNs were pushed out"
    );
    Ok(())
}

/// Sends SYNs from addresses of the clients' net that nobody has: no answer comes back.
fn flood(target: SocketAddr) -> Result<()> {
    let SocketAddr::V4(target) = target else {
        anyhow::bail!("IPv4 only");
    };
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    for number in 0..SYNS {
        let [high, low] = number.to_be_bytes();
        let source = Ipv4Addr::new(10, 1, 200 + high % 32, low);
        let mut packet = Vec::new();
        PacketBuilder::ipv4(source.octets(), target.ip().octets(), 64)
            .tcp(1024 + number, target.port(), 1, 65_535)
            .syn()
            .write(&mut packet, &[])?;
        sendto(socket.as_raw_fd(), &packet, &SockaddrIn::from(target), MsgFlags::empty())?;
    }
    Ok(())
}
