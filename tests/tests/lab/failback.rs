//! The preferred director takes its group back, where the file says so; and the times of the classic file.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);

/// Two directors with these options, and connections through the first one.
struct Scene {
    stage: Stage,
    flows: Flows,
}

impl Scene {
    fn start(forward: &'static str, options: &str) -> Result<Self> {
        let stage = Stage::start("wlc", forward, |pair| {
            pair.options = options.to_owned();
            Ok(())
        })?;
        let targets = Family::BOTH.map(|family| (address::vip(family, 0), ECHO_PORT).into());
        let flows = Flows::open(&stage.pair.network.client, &targets, 100)?;
        let scene = Self { stage, flows };
        scene.go_on("at first")?;
        Ok(scene)
    }

    fn go_on(&self, when: &str) -> Result<()> {
        let before = self.flows.exchanges();
        let words = format!("the connections to be used {when}");
        wait_until(&words, PATIENCE, || self.flows.exchanges() > before + 300 || self.flows.broken() > 0)
            .with_context(|| self.stage.pair.explain())?;
        ensure!(
            self.flows.broken() == 0,
            "{} broke {when}\n{}",
            self.flows.broken(),
            self.stage.pair.explain()
        );
        Ok(())
    }

    /// The first director dies, and the second one takes its place.
    fn lose_the_first(&mut self) -> Result<()> {
        self.stage.pair.agents[0].as_mut().context("it runs")?.kill()?;
        self.stage.pair.wait_for_active(1)?;
        self.go_on("after the takeover")
    }
}

#[test]
fn a_director_that_was_preferred_takes_its_group_back() -> Result<()> {
    let mut scene = Scene::start("nat", "  auto_failback: 1s\n")?;
    scene.lose_the_first()?;
    scene.stage.pair.agents[0].as_mut().context("it was there")?.start_again()?;
    scene.stage.pair.wait_for_active(0)?;
    scene.go_on("after the failback")?;
    let pair = &scene.stage.pair;
    let said = pair.agent(1)?.log();
    ensure!(said.contains("has given up group www: director-1 asks for it"), "{said}");
    ensure!(pair.takeovers()? == 3, "{}", pair.explain());
    scene.flows.stop()?.expect_none_broken()
}

/// `keepalive 2`, `deadtime 10`; `initdead` is not waited for so long. The last beat was sent two seconds before the death, at
/// the most.
#[test]
fn the_times_of_the_classic_file_are_kept() -> Result<()> {
    let mut scene = Scene::start("dr", "  keepalive: 2s\n  deadtime: 10s\n  initdead: 10s\n")?;
    // Before its first beat has come the holder counts as alone, and holds on for longer than the other one has heard of it.
    scene.stage.pair.wait_until_settled(1)?;
    let begun = Instant::now();
    scene.lose_the_first()?;
    let waited = begun.elapsed();
    ensure!(
        waited > Duration::from_secs(10 - 2),
        "replaced after {waited:?}\n{}",
        scene.stage.pair.explain()
    );
    scene.flows.stop()?.expect_none_broken()
}
