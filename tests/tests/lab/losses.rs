//! Beats that get lost between two directors, in one direction, by chance or on all paths; and a serial line that is
//! left when all else is gone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::arp::{ArpWatch, mac, who_answers};
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::gap::GapProbe;
use lvs_tests::lab::loss::{ALL, Loss};
use lvs_tests::lab::namespace::Prepared;
use lvs_tests::lab::network::{Network, Shape};
use lvs_tests::lab::pair::{NODES, Pair};
use lvs_tests::lab::realserver;
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::cluster::pulse::Status;

use crate::setup::dialled;

const PATIENCE: Duration = Duration::from_secs(30);
const FLOWS: usize = 100;
const BEATS: [&str; 2] = ["hb0", "hb1"];
/// Of a hundred.
const SOME: u32 = 30;
/// Lost beats on a path that are enough to say that nothing comes of them.
const ENOUGH: u64 = 15;

/// Two directors with clients that are served, and a watch on who says to have the VIPs.
struct Scene {
    stage: Stage,
    flows: Flows,
    watch: ArpWatch,
    /// How often the VIPs have moved, or should have.
    moves: usize,
}

impl Scene {
    fn start(has_voter: bool, change: impl FnOnce(&mut Pair) -> Result<()>) -> Result<Self> {
        let stage = Stage::start("wlc", "dr", |pair| {
            change(pair)?;
            if has_voter { pair.start_witness() } else { Ok(()) }
        })?;
        let client = &stage.pair.network.client;
        let watch = ArpWatch::start(client, "eth0", &stage.pair.network.vips().collect::<Vec<_>>())?;
        let flows = Flows::open(client, &Family::BOTH.map(|family| dialled(family, ECHO_PORT)), FLOWS)?;
        stage.pair.wait_until_settled(1)?;
        Ok(Self { stage, flows, watch, moves: 0 })
    }

    fn pair(&self) -> &Pair {
        &self.stage.pair
    }

    fn wait(&self, what: &str, condition: impl Fn(&Pair) -> bool) -> Result<()> {
        wait_until(what, PATIENCE, || condition(self.pair())).with_context(|| self.pair().explain())
    }

    /// One director serves and the other does not, no connection has broken, and all are in use.
    fn expect_service_by(&self, active: usize) -> Result<()> {
        let before = self.flows.exchanges();
        wait_until("every connection to be used", PATIENCE, || {
            self.flows.exchanges() > before + 2 * FLOWS as u64 || self.flows.broken() > 0
        })?;
        ensure!(self.flows.broken() == 0, "{:?}\n{}", self.flows.examples(), self.pair().explain());
        self.stage.answers()?;
        let roles = [0, 1].map(|index| self.pair().role(index));
        ensure!(
            roles[active] == "active" && roles[1 - active] != "active",
            "{roles:?}, and {} should serve\n{}",
            NODES[active],
            self.pair().explain()
        );
        // The first director has begun once before there was anything to move.
        let times = self.pair().times_held(0) + self.pair().times_held(1) - 1;
        ensure!(times == self.moves, "{times} moves, not {}\n{}", self.moves, self.pair().explain());
        Ok(())
    }

    /// Waits until a director has fallen silent for the other, or is heard again.
    fn wait_for_hearing(&self, listener: usize, hears: bool) -> Result<()> {
        let what = format!("{} to {}", NODES[listener], if hears { "hear" } else { "hear nothing" });
        self.wait(&what, |pair| {
            pair.status(listener).is_ok_and(|status| hears_other(&status, listener) == hears)
        })
    }

    /// Waits until so many more beats are missing at both directors on each of these paths.
    fn wait_for_missing(&self, paths: &[usize]) -> Result<()> {
        let missing = |pair: &Pair| [0, 1].map(|index| missing(pair, index, paths));
        let before = missing(self.pair());
        let is_enough = |pair: &Pair| {
            let now = missing(pair);
            now.iter().flatten().zip(before.iter().flatten()).all(|(now, before)| *now >= before + ENOUGH)
        };
        self.wait("beats to be missing", is_enough)
    }

    /// The VIPs have moved as often as they should have, and were never at two directors.
    fn end(self) -> Result<()> {
        self.flows.stop()?.expect_none_broken()?;
        self.stage.expect_turns(&self.watch.stop()?, self.moves)
    }
}

fn hears_other(status: &Status, listener: usize) -> bool {
    status.peers.iter().any(|peer| peer.name == NODES[1 - listener] && peer.is_alive)
}

/// Beats of the other director that a director misses, by path.
fn missing(pair: &Pair, index: usize, paths: &[usize]) -> Vec<u64> {
    let status = pair.status(index).unwrap_or_default();
    let name = |path: &usize| Some(status.paths.get(*path)?.name.clone());
    let heard = status.peers.iter().filter(|peer| peer.name == NODES[1 - index]).flat_map(|peer| &peer.heard);
    let heard: Vec<_> = heard.collect();
    let of = |path: &usize| {
        let name = name(path);
        heard.iter().find(|heard| Some(&heard.path) == name.as_ref()).map_or(0, |heard| heard.missing)
    };
    paths.iter().map(of).collect()
}

#[test]
fn losses_are_what_they_are_said_to_be() -> Result<()> {
    let network = Network::build(Shape { real_servers: 1, ..Shape::default() })?;
    let _programs = realserver::start_all(&network)?;
    let echo = (network.servers[0].address(Family::V4), ECHO_PORT).into();
    let probe = || GapProbe::start(&network.client, echo, Duration::from_millis(2));
    let some = Loss::of_arrivals(&network.servers[0].namespace, &["eth0"], SOME)?;
    let lossy = probe()?;
    wait_until("answers to some", PATIENCE, || lossy.answers() >= 500)?;
    let report = lossy.stop();
    let share = report.answered as f64 / report.sent as f64;
    ensure!((0.6..0.8).contains(&share), "{report:?}");
    some.heal();

    let parted = Loss::between(&network.switch, "client", "rs1")?;
    let silent = probe()?;
    wait_until("a gap", PATIENCE, || silent.longest_gap() > Duration::from_millis(300))?;
    parted.heal();
    wait_until("answers again", PATIENCE, || silent.answers() > 50)?;
    Ok(())
}

/// Three of ten beats are lost on one path, and then on both; and the active director dies meanwhile.
fn three_of_ten(has_voter: bool) -> Result<()> {
    let mut scene = Scene::start(has_voter, |_| Ok(()))?;
    let directors = scene.pair().directors.clone();
    let lose = |paths: &[&str]| -> Result<Vec<Loss>> {
        directors.iter().map(|director| Loss::of_arrivals(director, paths, SOME)).collect()
    };
    let one = lose(&BEATS[..1])?;
    scene.wait_for_missing(&[0])?;
    scene.expect_service_by(0)?;
    drop(one);
    let _both = lose(&BEATS)?;
    scene.wait_for_missing(&[0, 1])?;
    scene.expect_service_by(0)?;

    scene.stage.pair.agents[0].as_mut().context("it runs")?.kill()?;
    scene.pair().wait_for_active(1)?;
    scene.stage.pair.agents[0].as_mut().context("it was there")?.start_again()?;
    scene.pair().wait_for_standby(0)?;
    // The log of the first director has begun anew, without its first term.
    scene.wait_for_missing(&[0, 1])?;
    scene.moves = 1;
    let held = [0, 1].map(|index| scene.pair().times_held(index));
    ensure!(held == [0, 1], "{held:?}\n{}", scene.pair().explain());
    scene.end()
}

#[test]
fn three_of_ten_beats_may_be_lost() -> Result<()> {
    three_of_ten(false)
}

#[test]
fn three_of_ten_beats_may_be_lost_with_a_voter() -> Result<()> {
    three_of_ten(true)
}

/// Who does not hear the other director, though the other hears it.
#[test]
fn a_deaf_holder_goes_on_and_a_deaf_standby_takes_over_once() -> Result<()> {
    let mut scene = Scene::start(false, |_| Ok(()))?;
    let directors = scene.pair().directors.clone();
    // The other one hears it, and keeps its vote where it is.
    let deaf = Loss::of_arrivals(&directors[0], &BEATS, ALL)?;
    scene.wait_for_hearing(0, false)?;
    scene.expect_service_by(0)?;
    deaf.heal();
    scene.wait_for_hearing(0, true)?;
    scene.expect_service_by(0)?;

    // The holder hears that its beats do not arrive: its lease ends before the other one misses it.
    for (active, standby) in [(0, 1), (1, 0)] {
        let deaf = Loss::of_arrivals(&directors[standby], &BEATS, ALL)?;
        scene.moves += 1;
        scene.pair().wait_for_active(standby)?;
        scene.wait("the former holder to stand by", |pair| pair.role(active) == "standby")?;
        scene.expect_service_by(standby)?;
        deaf.heal();
        scene.wait_for_hearing(standby, true)?;
        scene.pair().wait_until_settled(active)?;
        scene.expect_service_by(standby)?;
    }
    scene.end()
}

#[test]
fn with_a_voter_nobody_takes_over_because_one_is_deaf() -> Result<()> {
    let scene = Scene::start(true, |_| Ok(()))?;
    let directors = scene.pair().directors.clone();
    for index in [0, 1] {
        let deaf = Loss::of_arrivals(&directors[index], &BEATS, ALL)?;
        scene.wait_for_hearing(index, false)?;
        scene.expect_service_by(0)?;
        deaf.heal();
        scene.wait_for_hearing(index, true)?;
        scene.pair().wait_until_settled(1)?;
        scene.expect_service_by(0)?;
    }
    scene.end()
}

/// The heartbeat networks are cut while clients are served; then everything of the director that serves.
fn cut_off(has_voter: bool) -> Result<()> {
    let mut scene = Scene::start(has_voter, |_| Ok(()))?;
    scene.pair().set_heartbeat_links(false)?;
    scene.wait_for_hearing(0, false)?;
    scene.wait_for_hearing(1, false)?;
    // Several dead times long, the one that serves goes on, and the other asks and stands back.
    scene.wait("the standby to have stood back", |pair| {
        pair.agent(1).is_ok_and(|agent| agent.log().contains("does not take group www"))
    })?;
    scene.expect_service_by(0)?;
    scene.pair().set_heartbeat_links(true)?;
    scene.pair().wait_until_settled(1)?;
    scene.expect_service_by(0)?;

    // Alone with its lease, it is replaced, and stands by when it is back.
    Prepared::go_together(scene.pair().prepare_isolation(0)?)?;
    scene.moves = 1;
    scene.pair().wait_for_active(1)?;
    scene.wait("the lease of the one that is cut off to end", |pair| pair.role(0) != "active")?;
    scene.expect_service_by(1)?;
    scene.pair().set_service_link(0, true)?;
    scene.pair().set_heartbeat_links(true)?;
    scene.pair().wait_until_settled(0)?;
    scene.expect_service_by(1)?;
    // What is left behind is nothing.
    let ended = scene.stage.pair.agents[0].as_mut().context("it runs")?.terminate()?;
    ensure!(ended.success(), "{ended}\n{}", scene.pair().explain());
    scene.end()
}

#[test]
fn two_directors_that_are_cut_off_and_come_together() -> Result<()> {
    cut_off(false)
}

#[test]
fn two_directors_with_a_voter_that_are_cut_off_and_come_together() -> Result<()> {
    cut_off(true)
}

/// Neither by the heartbeat nor on the clients' wire do the directors hear each other; clients and the voter hear both.
#[test]
fn with_a_voter_directors_that_are_parted_altogether_are_no_two_holders() -> Result<()> {
    let scene = Scene::start(true, |_| Ok(()))?;
    let parted = Loss::between(&scene.pair().network.switch, "director", "director2")?;
    scene.pair().set_heartbeat_links(false)?;
    scene.wait_for_hearing(1, false)?;
    scene.wait("the standby to find no majority", |pair| {
        pair.agent(1).is_ok_and(|agent| agent.log().contains("no majority votes for it"))
    })?;
    scene.expect_service_by(0)?;
    parted.heal();
    scene.pair().set_heartbeat_links(true)?;
    scene.pair().wait_until_settled(1)?;
    scene.expect_service_by(0)?;
    scene.end()
}

/// What the manual says of two directors without a voter, and of their coming together.
#[test]
fn without_a_voter_directors_that_are_parted_altogether_both_serve_until_they_meet() -> Result<()> {
    let scene = Scene::start(false, |_| Ok(()))?;
    let vips: Vec<_> = scene.pair().network.vips().collect();
    let parted = Loss::between(&scene.pair().network.switch, "director", "director2")?;
    scene.pair().set_heartbeat_links(false)?;
    scene.pair().wait_for_active(1)?;
    ensure!(scene.pair().is_active(0), "{}", scene.pair().explain());
    parted.heal();
    scene.pair().set_heartbeat_links(true)?;
    // The later term stays.
    scene.wait("one of the two to stand by", |pair| pair.role(0) == "standby")?;
    let client = &scene.pair().network.client;
    let watch = ArpWatch::start(client, "eth0", &vips)?;
    scene.pair().wait_until_settled(0)?;
    for vip in &vips {
        client.run("ip", &["neighbour", "flush", "to", &vip.to_string(), "dev", "eth0"])?;
    }
    scene.stage.answers()?;
    let second = mac(&scene.pair().directors[1], "eth0")?;
    wait_until("the second director to answer for the VIPs", PATIENCE, || {
        vips.iter().all(|vip| !who_answers(&watch.claims(), *vip).is_empty())
    })?;
    let claims = watch.stop()?;
    ensure!(claims.iter().all(|claim| claim.mac == second), "{claims:?}");
    ensure!(scene.flows.broken() == 0, "{:?}\n{}", scene.flows.examples(), scene.pair().explain());
    scene.flows.stop()?.expect_none_broken()
}

/// Both heartbeat networks are cut, and the cable between the serial ports is left; then it is pulled too.
#[test]
fn a_serial_line_keeps_the_roles_and_brings_a_takeover() -> Result<()> {
    let mut scene = Scene::start(false, Pair::plug_cable)?;
    let line = |pair: &Pair, index: usize| -> Result<(u64, bool)> {
        let status = pair.status(index)?;
        let path = status.paths.iter().find(|path| path.name.starts_with("serial "));
        let path = path.context("there is no serial path")?;
        Ok((path.received, path.fault.is_some()))
    };
    let carries = |scene: &Scene| -> Result<()> {
        for index in [0, 1] {
            let (before, _) = line(scene.pair(), index)?;
            scene.wait("beats to come by the serial line", |pair| {
                line(pair, index).is_ok_and(|(now, has_fault)| now > before + 10 && !has_fault)
            })?;
        }
        Ok(())
    };
    carries(&scene)?;
    for index in [0, 1] {
        let shown = scene.pair().agent(index)?.control().run(&["cluster"])?;
        let port = format!("ttyS{index}");
        ensure!(shown.matches(&port).count() == 2, "a row of the other and one of this:\n{shown}");
    }
    scene.pair().set_heartbeat_links(false)?;
    carries(&scene)?;
    scene.expect_service_by(0)?;

    // Nothing else is left: as where the heartbeat is cut and the wire is not.
    scene.stage.pair.cable = None;
    scene.wait_for_hearing(0, false)?;
    scene.wait("the standby to have stood back", |pair| {
        pair.agent(1).is_ok_and(|agent| agent.log().contains("does not take group www"))
    })?;
    ensure!(line(scene.pair(), 0)?.1, "it has no fault\n{}", scene.pair().explain());
    scene.expect_service_by(0)?;
    scene.stage.pair.plug_cable()?;
    carries(&scene)?;
    scene.pair().wait_until_settled(1)?;
    scene.expect_service_by(0)?;

    // It is enough to tell the dead from the cut off.
    scene.stage.pair.agents[0].as_mut().context("it runs")?.kill()?;
    scene.moves = 1;
    scene.pair().wait_for_active(1)?;
    scene.stage.answers()?;
    scene.end()
}
