//! Two directors without a voter that do not hear each other, and both ask for what neither has.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::pair::Pair;
use lvs_tests::lab::realserver::HTTP_PORT;
use lvs_tests::lab::wait::wait_until;

use crate::setup::{real_servers, service};

const PATIENCE: Duration = Duration::from_secs(20);
/// Of rounds in which both begin to ask at once, more or less.
const ROUNDS: usize = 30;

/// How often the two have said something.
fn said(pair: &Pair, words: &str) -> usize {
    pair.agents.iter().flatten().map(|agent| agent.log().matches(words).count()).sum()
}

/// Gives the same order to both, at the same time.
fn order(pair: &Pair, wish: &str) -> Result<()> {
    let controls = [pair.agent(0)?.control(), pair.agent(1)?.control()];
    thread::scope(|scope| {
        let orders = controls.map(|control| scope.spawn(|| control.run(&["cluster", wish])));
        for order in orders {
            order.join().unwrap_or_else(|_| bail!("the order panicked"))?;
        }
        Ok(())
    })
}

#[test]
fn of_two_that_ask_at_once_one_serves() -> Result<()> {
    let mut pair = Pair::build(Shape { real_servers: 1, ..Shape::default() })?;
    let services = Family::BOTH
        .map(|family| service(family, HTTP_PORT, "tcp", "mh", "nat", real_servers(&pair.network, family)));
    let configuration = Configuration::new(&pair.network, services.to_vec());
    pair.start(configuration.to_string())?;
    pair.set_heartbeat_links(false)?;
    for round in 1..=ROUNDS {
        order(&pair, "release")?;
        wait_until("nobody to serve", PATIENCE, || {
            [0, 1].iter().all(|index| pair.role(*index) == "released")
        })
        .with_context(|| pair.explain())?;
        let (held, crossed) = (said(&pair, "holds group www"), said(&pair, "somebody else asks, too"));
        order(&pair, "takeover")?;
        wait_until("one to serve", PATIENCE, || said(&pair, "holds group www") > held)
            .with_context(|| pair.explain())?;
        // The other one asks once more, and is answered.
        let answered = said(&pair, "somebody answers for an address");
        wait_until("the other one to be answered", PATIENCE, || {
            said(&pair, "somebody answers for an address") > answered
        })
        .with_context(|| pair.explain())?;
        let active = [0, 1].map(|index| pair.is_active(index));
        ensure!(active[0] != active[1], "round {round}: {active:?}\n{}", pair.explain());
        ensure!(
            said(&pair, "holds group www") == held + 1,
            "round {round}: both took it\n{}",
            pair.explain()
        );
        if said(&pair, "somebody else asks, too") > crossed {
            println!("questions have crossed in round {round}");
            return Ok(());
        }
    }
    bail!("in {ROUNDS} rounds no questions have crossed\n{}", pair.explain())
}
