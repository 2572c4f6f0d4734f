//! What is not served.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lvs_tests::lab::address::{self, Family, Net};
use lvs_tests::lab::client::{self, Exchange};
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::realserver::HTTP_PORT;

use crate::setup::{Balanced, Preparation, dialled, real_servers, service};

/// An ICMP error that is quicker than the client's own system call only makes a note there; the SYN is sent
/// again after one second, and if need be after two more, and then the call fails. A dropped SYN takes
/// minutes.
const AT_ONCE: Duration = Duration::from_secs(4);

/// A service without real servers refuses at once, as a closed port does; nobody waits for a timeout.
#[test]
fn a_service_without_real_servers_refuses_at_once() -> Result<()> {
    let balanced =
        Balanced::start(Shape { real_servers: 1, ..Shape::default() }, Preparation::ByHand, |network| {
            let services = Family::BOTH.into_iter().flat_map(|family| {
                [(HTTP_PORT, "tcp"), (ECHO_PORT, "udp")]
                    .map(|(port, protocol)| service(family, port, protocol, "rr", "dr", vec![]))
            });
            Configuration::new(network, services.collect())
        })?;
    for family in Family::BOTH {
        for (exchange, port) in [(Exchange::Http, HTTP_PORT), (Exchange::UdpEcho, ECHO_PORT)] {
            let begin = Instant::now();
            let result = balanced.network.client.enter(|| exchange.once(dialled(family, port)));
            let error = format!("{:#}", result.expect_err("nobody serves"));
            ensure!(error.contains("refused"), "{exchange:?} {family}: {error}");
            ensure!(begin.elapsed() < AT_ONCE, "{exchange:?} {family}: {:?}", begin.elapsed());
        }
    }
    Ok(())
}

/// The program takes nothing that is not for a service: the director stays reachable and routes on.
#[test]
fn other_traffic_passes_untouched() -> Result<()> {
    let balanced =
        Balanced::start(Shape { real_servers: 1, ..Shape::default() }, Preparation::ByHand, |network| {
            let services = Family::BOTH
                .map(|family| service(family, HTTP_PORT, "tcp", "rr", "dr", real_servers(network, family)));
            Configuration::new(network, services.to_vec())
        })?;
    let network = &balanced.network;
    for family in Family::BOTH {
        network.client.enter(|| client::ping(address::director(Net::Clients, family), 1000))?;
        network.client.enter(|| client::ping(address::vip(family, 0), 1000))?;
        // The director's own web server, by its own address, and a server by its own.
        for (address, name) in [
            (address::director(Net::Clients, family), "director"),
            (network.servers[0].address(family), "rs1"),
        ] {
            let answer = network.client.enter(|| Exchange::Http.once((address, HTTP_PORT).into()))?;
            ensure!(answer == name, "{address} is answered by {answer}");
        }
        // Another port of the VIP is not a service: the director's own stack answers.
        let answer = network.client.enter(|| Exchange::TcpEcho.once(dialled(family, ECHO_PORT)))?;
        ensure!(answer == "director", "port {ECHO_PORT} of the VIP is answered by {answer}");
    }
    Ok(())
}
