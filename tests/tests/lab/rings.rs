//! A director that was away has the rings of the one that has served meanwhile, though its file alone says otherwise.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::configuration::{Configuration, dialled, real_servers, service};
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::fault::Fault;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::Services;

const PATIENCE: Duration = Duration::from_secs(20);
const CONNECTIONS: usize = 600;

/// The ring is larger than a director would make it for the weights of now, and most connections have no entry.
#[test]
fn connections_find_their_servers_at_a_director_that_has_just_been_installed() -> Result<()> {
    let mut stage = Stage::start("mh", "dr", |_| Ok(()))?;
    let file = |stage: &Stage, weight: u32| {
        let services = Family::BOTH.map(|family| {
            let servers = real_servers(&stage.pair.network, family);
            service(family, ECHO_PORT, "tcp", "mh", "dr", servers)
        });
        let mut configuration = Configuration::new(&stage.pair.network, services.to_vec());
        configuration.set_weight(&stage.pair.network.servers[0], weight);
        configuration.to_string()
    };
    let slots = |stage: &Stage, director: usize| -> Result<Vec<u32>> {
        let services: Services = stage.pair.agent(director)?.control().json(&["services"])?;
        Ok(services.services.iter().map(|service| service.ring_slots).collect())
    };
    // Other services, so that their rings begin with these weights: one in ten thousand and more for the others.
    let small = slots(&stage, 0)?;
    let nothing = Configuration::new(&stage.pair.network, Vec::new()).to_string();
    for (services, weight) in [(nothing, 0), (file(&stage, 250), 250), (file(&stage, 1), 1)] {
        for director in [0, 1] {
            stage.pair.reload(director, &services).with_context(|| format!("weight {weight}"))?;
        }
    }
    let large = slots(&stage, 0)?;
    ensure!(large.iter().min() > small.iter().max(), "{large:?} is not larger than {small:?}");

    let targets = Family::BOTH.map(|family| dialled(family, ECHO_PORT));
    let flows = Flows::open(&stage.pair.network.client, &targets, CONNECTIONS)?;
    let second = stage.pair.agents[1].as_mut().context("it runs")?;
    second.terminate()?;
    second.start_again()?;
    stage.pair.wait_until_settled(1)?;
    ensure!(slots(&stage, 1)? == large, "{:?}", slots(&stage, 1)?);

    Fault::Kill.prepare(&stage.pair, 0)?.strike(&mut stage.pair)?;
    stage.pair.wait_for_active(1)?;
    let before = flows.exchanges();
    wait_until("each connection to be used", PATIENCE, || {
        flows.exchanges() > before + 3 * CONNECTIONS as u64 || flows.broken() > 0
    })?;
    ensure!(flows.broken() == 0, "{} broke: {:?}", flows.broken(), flows.examples());
    flows.stop()?.expect_none_broken()
}
