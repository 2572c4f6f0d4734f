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
use lvs_tests::lab::pair::{DEADTIME, NODES, Pair};
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
const ENOUGH: u64 = 8;

/// Two directors with clients that are served, and a watch on who says to have the VIPs.
struct Scene {
    stage: Stage,
    flows: Flows,
    watch: ArpWatch,
    /// The director that serves, or should.
    active: usize,
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
        Ok(Self { stage, flows, watch, active: 0, moves: 0 })
    }

    fn pair(&self) -> &Pair {
        &self.stage.pair
    }

    fn standby(&self) -> usize {
        1 - self.active
    }

    /// The other director has it now.
    fn moved(&mut self) {
        self.active = 1 - self.active;
        self.moves += 1;
    }

    fn wait(&self, what: &str, condition: impl Fn(&Pair) -> bool) -> Result<()> {
        wait_until(what, PATIENCE, || condition(self.pair())).with_context(|| self.pair().explain())
    }

    /// One director serves and the other does not, no connection has broken, and all are in use.
    fn expect_service(&self) -> Result<()> {
        let before = self.flows.exchanges();
        wait_until("every connection to be used", PATIENCE, || {
            self.flows.exchanges() > before + 2 * FLOWS as u64 || self.flows.broken() > 0
        })?;
        ensure!(self.flows.broken() == 0, "{:?}\n{}", self.flows.examples(), self.pair().explain());
        self.stage.answers()?;
        let roles = [0, 1].map(|index| self.pair().role(index));
        ensure!(
            roles[self.active] == "active" && roles[self.standby()] != "active",
            "{roles:?}, and {} should serve\n{}",
            NODES[self.active],
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

    /// Waits until neither has heard the other for so long that whoever wanted to take over has tried more than once.
    fn wait_for_long_silence(&self) -> Result<()> {
        let long = u128::from(4_u8) * DEADTIME.as_millis();
        let is_long = |pair: &Pair, index: usize| {
            pair.status(index).is_ok_and(|status| {
                let mut others = status.peers.iter().filter(|peer| peer.name == NODES[1 - index]);
                others.all(|peer| peer.heard.iter().all(|heard| u128::from(heard.ago) > long))
            })
        };
        self.wait("four dead times of silence", |pair| is_long(pair, 0) && is_long(pair, 1))
    }

    /// Waits until one has said, since it was started, that it does not take the group for this reason.
    fn wait_for_standing_back(&self, index: usize, why: &str) -> Result<()> {
        let words = format!("does not take group www: {why}");
        self.wait(&words, |pair| pair.agent(index).is_ok_and(|agent| agent.log().contains(&words)))
    }

    /// Both heartbeat networks are there again, and what was left of their absence is over.
    fn bring_heartbeat_back(&self) -> Result<()> {
        self.pair().set_heartbeat_links(true)?;
        self.pair().wait_until_settled(self.standby())
    }

    /// Of a hundred beats some are lost, at both directors.
    fn lose_some(&self, paths: &[&str]) -> Result<Vec<Loss>> {
        let directors = self.pair().directors.iter();
        directors.map(|director| Loss::of_arrivals(director, paths, SOME)).collect()
    }

    fn deafen(&self, director: usize) -> Result<Loss> {
        Loss::of_arrivals(&self.pair().directors[director], &BEATS, ALL)
    }

    /// The VIPs have moved as often as they should have, and were never at two directors.
    fn expect_turns(&self) -> Result<()> {
        self.stage.expect_turns(&self.watch.claims(), self.moves)
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
    // A question for the server's link address gets lost as well, and is asked once a second only: all that is sent
    // until then would count as lost.
    let before = probe()?;
    wait_until("the way to be known", PATIENCE, || before.answers() > 0)?;
    before.stop();
    let some = Loss::of_arrivals(&network.servers[0].namespace, &["eth0"], SOME)?;
    let lossy = probe()?;
    wait_until("answers to some", PATIENCE, || lossy.answers() >= 300)?;
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

#[test]
fn without_a_voter_what_is_lost_moves_the_group_no_more_than_it_must() -> Result<()> {
    let mut scene = Scene::start(false, |_| Ok(()))?;
    some_beats_are_lost(&scene)?;

    // The other one hears the holder, and keeps its vote where it is.
    let deaf = scene.deafen(scene.active)?;
    scene.wait_for_hearing(scene.active, false)?;
    scene.expect_service()?;
    deaf.heal();
    scene.wait_for_hearing(scene.active, true)?;
    scene.expect_service()?;

    // The holder hears that its beats do not arrive: its lease ends before the other one misses it.
    let deaf = scene.deafen(scene.standby())?;
    scene.pair().wait_for_active(scene.standby())?;
    scene.moved();
    scene.pair().wait_for_standby(scene.standby())?;
    scene.expect_service()?;
    deaf.heal();
    scene.pair().wait_until_settled(scene.standby())?;
    scene.expect_service()?;

    all_paths_are_cut(&mut scene)?;
    scene.expect_turns()?;
    parted_directors_both_serve_until_they_meet(&mut scene)?;
    the_holder_dies_while_beats_are_lost(&mut scene)
}

#[test]
fn with_a_voter_what_is_lost_moves_the_group_no_more_than_it_must() -> Result<()> {
    let mut scene = Scene::start(true, |_| Ok(()))?;
    some_beats_are_lost(&scene)?;

    for index in [0, 1] {
        let deaf = scene.deafen(index)?;
        scene.wait_for_hearing(index, false)?;
        scene.expect_service()?;
        deaf.heal();
        scene.pair().wait_until_settled(scene.standby())?;
        scene.expect_service()?;
    }

    all_paths_are_cut(&mut scene)?;
    parted_directors_are_no_two_holders(&scene)?;
    the_holder_dies_while_beats_are_lost(&mut scene)?;
    scene.expect_turns()
}

/// Three of ten, on one path and then on both.
fn some_beats_are_lost(scene: &Scene) -> Result<()> {
    let one = scene.lose_some(&BEATS[..1])?;
    scene.wait_for_missing(&[0])?;
    scene.expect_service()?;
    drop(one);
    let both = scene.lose_some(&BEATS)?;
    scene.wait_for_missing(&[0, 1])?;
    scene.expect_service()?;
    drop(both);
    scene.pair().wait_until_settled(scene.standby())
}

fn the_holder_dies_while_beats_are_lost(scene: &mut Scene) -> Result<()> {
    let _both = scene.lose_some(&BEATS)?;
    scene.wait_for_missing(&[0, 1])?;
    let holder = scene.active;
    scene.stage.pair.agents[holder].as_mut().context("it runs")?.kill()?;
    scene.pair().wait_for_active(scene.standby())?;
    scene.moved();
    scene.stage.answers()?;
    let before = scene.flows.exchanges();
    wait_until("connections to go on", PATIENCE, || scene.flows.exchanges() > before + 3 * FLOWS as u64)?;
    ensure!(scene.flows.broken() == 0, "{:?}\n{}", scene.flows.examples(), scene.pair().explain());
    Ok(())
}

/// The heartbeat networks are cut while clients are served; then everything of the director that serves.
fn all_paths_are_cut(scene: &mut Scene) -> Result<()> {
    scene.pair().set_heartbeat_links(false)?;
    // The one that serves goes on, and the other asks and stands back.
    scene.wait_for_long_silence()?;
    scene.wait_for_standing_back(scene.standby(), "somebody answers for its addresses")?;
    scene.expect_service()?;
    scene.bring_heartbeat_back()?;
    scene.expect_service()?;

    // Alone with its lease, it is replaced, and stands by when it is back.
    let alone = scene.active;
    Prepared::go_together(scene.pair().prepare_isolation(alone)?)?;
    scene.pair().wait_for_active(scene.standby())?;
    scene.moved();
    scene.wait("the lease of the one that is cut off to end", |pair| pair.role(alone) != "active")?;
    scene.expect_service()?;
    scene.pair().set_service_link(alone, true)?;
    scene.bring_heartbeat_back()?;
    scene.expect_service()
}

/// Neither by the heartbeat nor on the clients' wire do the directors hear each other; clients and the voter hear both.
fn parted_directors_are_no_two_holders(scene: &Scene) -> Result<()> {
    let parted = Loss::between(&scene.pair().network.switch, "director", "director2")?;
    scene.pair().set_heartbeat_links(false)?;
    scene.wait_for_long_silence()?;
    scene.wait_for_standing_back(scene.standby(), "no majority votes for it")?;
    scene.expect_service()?;
    parted.heal();
    scene.bring_heartbeat_back()?;
    scene.expect_service()
}

/// What the manual says of two directors without a voter, and of their coming together.
fn parted_directors_both_serve_until_they_meet(scene: &mut Scene) -> Result<()> {
    let parted = Loss::between(&scene.pair().network.switch, "director", "director2")?;
    scene.pair().set_heartbeat_links(false)?;
    scene.pair().wait_for_active(scene.standby())?;
    ensure!(scene.pair().is_active(scene.active), "{}", scene.pair().explain());
    scene.moved();
    parted.heal();
    scene.pair().set_heartbeat_links(true)?;
    // The later term stays.
    scene.pair().wait_for_standby(scene.standby())?;
    let (client, vips) = (&scene.pair().network.client, scene.pair().network.vips());
    let vips: Vec<_> = vips.collect();
    let watch = ArpWatch::start(client, "eth0", &vips)?;
    scene.pair().wait_until_settled(scene.standby())?;
    for vip in &vips {
        client.run("ip", &["neighbour", "flush", "to", &vip.to_string(), "dev", "eth0"])?;
    }
    scene.expect_service()?;
    wait_until("somebody to answer for the VIPs", PATIENCE, || {
        vips.iter().all(|vip| !who_answers(&watch.claims(), *vip).is_empty())
    })?;
    let holder = mac(&scene.pair().directors[scene.active], "eth0")?;
    let claims = watch.stop()?;
    ensure!(claims.iter().all(|claim| claim.mac == holder), "{claims:?}");
    Ok(())
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
    scene.expect_service()?;

    // Nothing else is left: as where the heartbeat is cut and the wire is not.
    scene.stage.pair.cable = None;
    scene.wait_for_long_silence()?;
    scene.wait_for_standing_back(1, "somebody answers for its addresses")?;
    ensure!(line(scene.pair(), 0)?.1, "it has no fault\n{}", scene.pair().explain());
    scene.expect_service()?;
    scene.stage.pair.plug_cable()?;
    carries(&scene)?;
    scene.pair().wait_until_settled(1)?;
    scene.expect_service()?;

    // It is enough to tell the dead from the cut off.
    scene.stage.pair.agents[0].as_mut().context("it runs")?.kill()?;
    scene.pair().wait_for_active(1)?;
    scene.moved();
    scene.stage.answers()?;
    scene.expect_turns()
}
