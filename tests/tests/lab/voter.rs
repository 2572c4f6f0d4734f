//! Two directors whose voter is one of their real servers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::agent::start_realserver;
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::network::Shape;
use lvs_tests::lab::pair::Pair;
use lvs_tests::lab::process::Process;
use lvs_tests::lab::realserver::{self, HTTP_PORT};
use lvs_tests::lab::wait::wait_until;

use crate::setup::{dialled, real_servers, service};

const PATIENCE: Duration = Duration::from_secs(20);
/// As `lvsctl cluster` lists them: the other director, then the voter.
const OTHER: usize = 0;
const VOTER: usize = 1;

/// `lvsd realserver` with its voter, on the first of the real servers.
fn start_voter(pair: &Pair) -> Result<Process> {
    let server = &pair.network.servers[0];
    let listen = format!("{}:694", server.address(Family::V4));
    let key = pair.network.identity.directory().join("cluster.key");
    let key = key.to_string_lossy();
    let vips: Vec<String> = pair.network.vips().map(|vip| vip.to_string()).collect();
    let mut arguments =
        vec!["--voter", "rs1", "--silence", "1", "--listen", &listen, "--key-file", &key, "--vip"];
    arguments.extend(vips.iter().map(String::as_str));
    start_realserver(&pair.network, server, &arguments)
}

/// Until both directors hear a member, or miss it.
fn wait_until_heard(pair: &Pair, member: usize, is_heard: bool) -> Result<()> {
    let says = |index: usize| -> Result<bool> {
        let status: serde_json::Value = pair.agent(index)?.control().json(&["cluster"])?;
        Ok(status["peers"][member]["is_alive"] == is_heard)
    };
    let what = format!("both directors to hear member {member}: {is_heard}");
    wait_until(&what, PATIENCE, || [0, 1].iter().all(|index| says(*index).unwrap_or(false)))
        .with_context(|| pair.explain())
}

/// The directors do not hear each other: the first one goes on, the other asks, for a term of its own, and gets no
/// majority.
fn cut_off(pair: &Pair) -> Result<()> {
    let before = pair.takeovers()?;
    pair.set_heartbeat_links(false)?;
    wait_until_heard(pair, OTHER, false)?;
    wait_until("the standby to ask", PATIENCE, || pair.takeovers().is_ok_and(|latest| latest > before))
        .with_context(|| pair.explain())?;
    ensure!(pair.is_active(0) && !pair.is_active(1), "{}", pair.explain());
    Ok(())
}

fn rejoin(pair: &Pair) -> Result<()> {
    pair.set_heartbeat_links(true)?;
    wait_until_heard(pair, OTHER, true)?;
    wait_until("roles as before", PATIENCE, || pair.is_active(0) && pair.role(1) == "standby")
        .with_context(|| pair.explain())
}

#[test]
fn a_real_server_decides_between_directors_that_do_not_hear_each_other() -> Result<()> {
    let mut pair = Pair::build(Shape::default())?;
    let _programs = realserver::start_all(&pair.network)?;
    let mut voter = start_voter(&pair)?;
    for server in &pair.network.servers[1..] {
        realserver::prepare_by_hand(server, pair.network.vips())?;
    }
    let address = pair.network.servers[0].address(Family::V4);
    pair.options += &format!("  voter: {{name: rs1, address: {address}}}\n");
    let services = Family::BOTH.into_iter().flat_map(|family| {
        [(HTTP_PORT, "tcp"), (ECHO_PORT, "tcp")].map(|(port, protocol)| {
            service(family, port, protocol, "mh", "dr", real_servers(&pair.network, family))
        })
    });
    let configuration = Configuration::new(&pair.network, services.collect());
    pair.start(configuration.to_string())?;
    wait_until_heard(&pair, VOTER, true)?;

    let client = pair.network.client.clone();
    let flows = Flows::open(&client, &Family::BOTH.map(|family| dialled(family, ECHO_PORT)), 60)?;
    cut_off(&pair)?;
    rejoin(&pair)?;
    flows.stop()?.expect_none_broken()?;
    let terms = pair.takeovers()?;
    for index in [0, 1] {
        let heard = pair.status(index)?.peers.swap_remove(VOTER).heard;
        let is_whole = heard.iter().all(|path| path.received > 10 && path.missing == 0);
        ensure!(is_whole && !heard.is_empty(), "nothing was lost on the way to the voter: {heard:?}");
    }

    // The real server's machine dies, and the directors hear each other.
    voter.kill()?;
    pair.network.switch.links("link set rs1 down")?;
    wait_until_heard(&pair, VOTER, false)?;
    ensure!(pair.is_active(0) && pair.role(1) == "standby", "{}", pair.explain());
    // A client of one of the other servers is served as ever.
    wait_until("an answer", PATIENCE, || {
        client.enter(|| Exchange::Http.once(dialled(Family::V4, HTTP_PORT))).is_ok()
    })
    .with_context(|| pair.explain())?;
    ensure!(pair.takeovers()? == terms, "{}", pair.explain());

    // It comes back, is silent for as long as it may have promised something, and then votes as before.
    pair.network.switch.links("link set rs1 up")?;
    let mut voter = start_voter(&pair)?;
    wait_until_heard(&pair, VOTER, true)?;
    voter.wait_for_words("has the vote", PATIENCE)?;
    cut_off(&pair)?;
    pair.agents[0].as_mut().context("it runs")?.kill()?;
    pair.wait_for_active(1).context("with the vote of the real server alone")?;

    // Both of its works end in order.
    ensure!(voter.terminate()?.success(), "it said: {}", voter.log());
    ensure!(voter.log().contains("undone"), "it said: {}", voter.log());
    Ok(())
}
