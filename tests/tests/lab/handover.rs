//! A director that hands over in order loses nothing, nor what has only just begun.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);
/// Connections that begin together, again and again.
const BATCH: usize = 50;
/// At the most, in each handover.
const BATCHES: usize = 60;
/// Each time to the other director.
const HANDOVERS: usize = 4;

#[test]
fn connections_that_begin_while_a_director_hands_over_go_on() -> Result<()> {
    let stage = Stage::start("wlc", "nat", |_| Ok(()))?;
    let (pair, client) = (&stage.pair, &stage.pair.network.client);
    stage.answers()?;
    let targets = Family::BOTH.map(|family| (address::vip(family, 0), ECHO_PORT).into());
    for handover in 0..HANDOVERS {
        let to = 1 - handover % 2;
        pair.wait_until_settled(to)?;
        let is_over = AtomicBool::new(false);
        let begun = std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                let mut begun = Vec::new();
                while !is_over.load(Ordering::Relaxed) && begun.len() < BATCHES {
                    begun.push(Flows::open(client, &targets, BATCH)?);
                }
                Ok(begun)
            });
            let handed_over = pair
                .agent(to)
                .and_then(|agent| agent.control().run(&["cluster", "takeover"]))
                .and_then(|_| pair.wait_for_active(to));
            is_over.store(true, Ordering::Relaxed);
            handed_over?;
            opening.join().unwrap_or_else(|_| bail!("the thread that opens them has panicked"))
        })
        .with_context(|| pair.explain())?;
        for flows in begun {
            wait_until("each connection to be used", PATIENCE, || {
                flows.exchanges() > 3 * BATCH as u64 || flows.broken() > 0
            })?;
            ensure!(flows.broken() == 0, "{}: {:?}\n{}", flows.broken(), flows.examples(), pair.explain());
            flows.stop()?;
        }
    }
    Ok(())
}
