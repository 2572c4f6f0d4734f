//! Connections against weights.

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::network::{Network, Shape};
use lvs_tests::lab::realserver::HTTP_PORT;

use crate::setup::{Balanced, Preparation, dialled, real_servers, service};

const CONNECTIONS: u64 = 10_000;

/// One service on port 80 of the IPv4 VIP, with weights 1, 2 and 3.
fn weighted(network: &Network, scheduler: &'static str) -> Configuration {
    let mut servers = real_servers(network, Family::V4);
    for (server, weight) in servers.iter_mut().zip([1, 2, 3]) {
        server.weight = weight;
    }
    Configuration::new(network, vec![service(Family::V4, HTTP_PORT, "tcp", scheduler, "dr", servers)])
}

#[test]
fn ten_thousand_connections_follow_the_weights() -> Result<()> {
    let balanced =
        Balanced::start(Shape::default(), Preparation::ByHand, |network| weighted(network, "wrr"))?;
    let (equal, by_weight) = ([("rs1", 1), ("rs2", 1), ("rs3", 1)], [("rs1", 1), ("rs2", 2), ("rs3", 3)]);
    // Sequences are exact, but for a SYN that was sent twice; of hashes, 3 standard deviations are 1.5 %.
    for (scheduler, weights, tolerance) in
        [("wrr", by_weight, 0.005), ("rr", equal, 0.005), ("mh", by_weight, 0.02)]
    {
        balanced.agent.reload(&weighted(&balanced.network, scheduler).to_string())?;
        let plan = Plan::count(Exchange::Http, dialled(Family::V4, HTTP_PORT), CONNECTIONS);
        let report = Load::start(&balanced.network.client, plan).finish()?;
        report.expect_no_failure().context(scheduler)?;
        report.expect_shares(&weights, tolerance).context(scheduler)?;
        ensure!(report.answers() == CONNECTIONS);
    }
    Ok(())
}

/// One client address, one server: source hashing.
#[test]
fn a_source_address_stays_with_its_server() -> Result<()> {
    let balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| weighted(network, "sh"))?;
    let plan = Plan::count(Exchange::Http, dialled(Family::V4, HTTP_PORT), 200);
    let report = Load::start(&balanced.network.client, plan).finish()?;
    report.expect_no_failure()?;
    ensure!(report.servers.len() == 1, "{:?}", report.servers);
    Ok(())
}
