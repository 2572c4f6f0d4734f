//! A program that makes sure that a director is off (`fence`), of two directors without a voter: it is run for one that is
//! dead, until it succeeds, and not for one that lives.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::pair::{NODES, Pair};
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);

/// Two directors with a group for each of two VIPs; each group's program notes whom it is to shoot, and succeeds when the
/// test has put the power `off`.
struct Scene {
    stage: Stage,
    shots: PathBuf,
    off: PathBuf,
}

impl Scene {
    fn start() -> Result<Self> {
        let mut files = None;
        let shape = Shape { vips: 2, ..Shape::default() };
        let stage = Stage::start_with(shape, "wlc", "dr", |pair| {
            let [shots, off] = ["shots", "off"].map(|name| pair.network.identity.directory().join(name));
            let script = format!("echo \"$1\" >>{}; test -e {}", shots.display(), off.display());
            pair.has_group_for_each_vip = true;
            pair.group_options = format!("      fence: {{command: [sh, -c, '{script}', fence]}}\n");
            files = Some((shots, off));
            Ok(())
        })?;
        let (shots, off) = files.context("the stage has not asked for changes")?;
        let scene = Self { stage, shots, off };
        scene.wait_for_roles(0, ["active"; 2])?;
        scene.stage.pair.wait_until_settled(1)?;
        Ok(scene)
    }

    fn pair(&self) -> &Pair {
        &self.stage.pair
    }

    /// Whom the programs were to shoot.
    fn shot(&self) -> Vec<String> {
        fs::read_to_string(&self.shots).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn wait(&self, what: &str, condition: impl Fn() -> bool) -> Result<()> {
        wait_until(what, PATIENCE, condition).with_context(|| self.pair().explain())
    }

    fn wait_for_roles(&self, index: usize, expected: [&str; 2]) -> Result<()> {
        let what = format!("{} to be {expected:?}", NODES[index]);
        self.wait(&what, || [0, 1].map(|group| self.pair().role_for(index, group)) == expected)
    }

    /// A line that a director has written.
    fn wait_for_words(&self, index: usize, words: &str) -> Result<()> {
        self.wait(words, || self.pair().agent(index).is_ok_and(|agent| agent.log().contains(words)))
    }
}

#[test]
fn a_dead_director_is_replaced_when_its_program_has_succeeded_and_not_before() -> Result<()> {
    let mut scene = Scene::start()?;
    ensure!(scene.shot().is_empty(), "{:?}", scene.shot());
    let mut dead = scene.stage.pair.agents[0].take().context("it does not run")?;
    dead.kill()?;
    scene.wait("each group's program to fail twice", || scene.shot().len() >= 4)?;
    let roles = [0, 1].map(|group| scene.pair().role_for(1, group));
    ensure!(roles == ["standby"; 2], "{roles:?}\n{}", scene.pair().explain());
    ensure!(scene.stage.answers().is_err(), "somebody serves");

    fs::write(&scene.off, "")?;
    scene.wait_for_roles(1, ["active"; 2])?;
    scene.stage.answers()?;
    ensure!(scene.shot().iter().all(|name| name == NODES[0]), "{:?}", scene.shot());
    Ok(())
}

/// The heartbeat is cut, and the group that may be taken is at nobody.
#[test]
fn a_director_that_answers_for_another_group_is_not_shot() -> Result<()> {
    let scene = Scene::start()?;
    fs::write(&scene.off, "")?;
    scene.pair().set_heartbeat_links(false)?;
    for group in ["www0", "www1"] {
        scene
            .wait_for_words(1, &format!("does not take group {group}: somebody answers for its addresses"))?;
    }
    scene.pair().agent(0)?.control().run(&["cluster", "release", "www1"])?;
    scene.wait_for_words(
        1,
        &format!(
            "does not take group www1: somebody answers for another group, so that {} may live",
            NODES[0]
        ),
    )?;
    ensure!(scene.shot().is_empty(), "{:?}\n{}", scene.shot(), scene.pair().explain());

    scene.pair().set_heartbeat_links(true)?;
    scene.wait_for_roles(1, ["standby", "active"])?;
    scene.wait_for_roles(0, ["active", "released"])?;
    scene.stage.answers()?;
    ensure!(scene.shot().is_empty(), "{:?}\n{}", scene.shot(), scene.pair().explain());
    Ok(())
}
