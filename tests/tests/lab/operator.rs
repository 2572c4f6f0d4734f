//! What the operator reads: `lvsctl` against what clients really did.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::client::{Exchange, TcpFlow};
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::network::{Arms, Network, Replies, Shape};
use lvs_tests::lab::realserver::HTTP_PORT;
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::{Connections, ServiceStats, Services, Stats};

use crate::setup::{Balanced, Preparation, dialled, real_servers, service};

const FAMILY: Family = Family::V4;
const PATIENCE: Duration = Duration::from_secs(5);

/// A web server with weights 1 and 2, and an echo, with nat: the director sees both directions.
fn configuration(network: &Network) -> Configuration {
    let mut weighted = real_servers(network, FAMILY);
    weighted[1].weight = 2;
    let services = vec![
        service(FAMILY, HTTP_PORT, "tcp", "wrr", "nat", weighted),
        service(FAMILY, ECHO_PORT, "tcp", "wlc", "nat", real_servers(network, FAMILY)),
    ];
    Configuration::new(network, services)
}

fn start() -> Result<Balanced> {
    let shape =
        Shape { arms: Arms::Two, replies: Replies::ThroughDirector, real_servers: 2, ..Shape::default() };
    Balanced::start(shape, Preparation::None, configuration)
}

#[test]
fn traffic_is_counted_by_service_and_server() -> Result<()> {
    let mut balanced = start()?;
    let plan = Plan::count(Exchange::Http, dialled(FAMILY, HTTP_PORT), 60);
    Load::start(&balanced.network.client, plan).finish()?.expect_no_failure()?;

    let web = |balanced: &Balanced| -> Result<ServiceStats> {
        let stats: Stats = balanced.agent.control().json(&["stats"])?;
        stats
            .services
            .into_iter()
            .find(|service| service.port == HTTP_PORT)
            .context("no statistics of port 80")
    };
    let counted = web(&balanced)?;
    let connections: Vec<u64> =
        counted.destinations.iter().map(|destination| destination.traffic.connections).collect();
    ensure!(counted.traffic.connections == 60 && connections == [20, 40], "{counted:?}");
    // SYN, ACK, request, FIN, last ACK; and the server's.
    ensure!(counted.traffic.packets_in >= 60 * 4 && counted.traffic.packets_out >= 60 * 4, "{counted:?}");
    ensure!(counted.traffic.bytes_out > counted.traffic.packets_out * 40, "{counted:?}");

    // Counters are the kernel's: an agent that dies takes nothing with it.
    balanced.agent.kill()?;
    balanced.agent.start_again()?;
    ensure!(web(&balanced)?.traffic == counted.traffic, "the counters did not survive the agent");
    Ok(())
}

#[test]
fn open_connections_are_listed_and_counted() -> Result<()> {
    let balanced = start()?;
    let control = balanced.agent.control();
    let flows = balanced
        .network
        .client
        .enter(|| (0..4).map(|_| TcpFlow::open(dialled(FAMILY, ECHO_PORT))).collect::<Result<Vec<_>>>())?;
    let active = || -> Result<Vec<u32>> {
        let services: Services = control.json(&["services"])?;
        let echo = services.services.iter().find(|service| service.port == ECHO_PORT);
        let destinations = &echo.context("the echo is not listed")?.destinations;
        Ok(destinations.iter().map(|destination| destination.active).collect())
    };
    // The least connections in turn.
    ensure!(active()? == [2, 2], "{:?}", active()?);

    let listed: Connections = control.json(&["connections"])?;
    for server in &balanced.network.servers {
        let address = server.address(FAMILY);
        let count = listed
            .connections
            .iter()
            .filter(|connection| connection.state.eq_ignore_ascii_case("established"))
            .filter(|connection| connection.destination.is_some_and(|end| end.address == address))
            .count();
        let expected = flows.iter().filter(|flow| flow.server == server.name).count();
        ensure!(count == expected, "{count} of {expected} connections to {address} in {listed:?}");
    }
    drop(flows);
    wait_until("closed connections to be inactive", PATIENCE, || {
        active().is_ok_and(|active| active == [0, 0])
    })
}
