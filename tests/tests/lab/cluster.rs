//! Two directors: one dies, and nobody notices.

use std::time::Duration;

use anyhow::{Context, Result};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::pair::Pair;
use lvs_tests::lab::realserver::{self, HTTP_PORT, Programs};
use lvs_tests::lab::wait::wait_until;

use crate::setup::{dialled, real_servers, service};

struct Cluster {
    pair: Pair,
    _programs: Vec<Programs>,
}

fn start(scheduler: &'static str, forward: &'static str) -> Result<Cluster> {
    let mut pair = Pair::build(Shape::default())?;
    let programs = realserver::start_all(&pair.network)?;
    for server in &pair.network.servers {
        realserver::prepare_by_hand(server, pair.network.vips())?;
    }
    let services = Family::BOTH.map(|family| {
        service(family, HTTP_PORT, "tcp", scheduler, forward, real_servers(&pair.network, family))
    });
    let configuration = Configuration::new(&pair.network, services.to_vec());
    pair.start(configuration.to_string())?;
    Ok(Cluster { pair, _programs: programs })
}

impl Cluster {
    fn answers(&self) -> Result<()> {
        for family in Family::BOTH {
            wait_until(&format!("an answer over {family}"), Duration::from_secs(10), || {
                self.pair.network.client.enter(|| Exchange::Http.once(dialled(family, HTTP_PORT))).is_ok()
            })
            .with_context(|| self.pair.explain())?;
        }
        Ok(())
    }
}

#[test]
fn a_killed_director_is_replaced_and_comes_back() -> Result<()> {
    let mut cluster = start("mh", "dr")?;
    cluster.answers()?;
    cluster.pair.agents[0].as_mut().context("it runs")?.kill()?;
    cluster.pair.wait_for_active(1)?;
    cluster.answers()?;
    cluster.pair.agents[0].as_mut().context("it was there")?.start_again()?;
    cluster.answers()?;
    assert!(!cluster.pair.is_active(0), "failback is off\n{}", cluster.pair.explain());
    Ok(())
}
