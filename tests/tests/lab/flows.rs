//! What tests of a takeover rest on, without a balancer: flows, gaps and claims of addresses.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use lvs_tests::lab::address::Family;
use lvs_tests::lab::arp::{self, ArpWatch, who_answers};
use lvs_tests::lab::client;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::gap::GapProbe;
use lvs_tests::lab::network::{Network, Shape};
use lvs_tests::lab::realserver;
use lvs_tests::lab::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(10);
const PACE: Duration = Duration::from_millis(10);

fn network(real_servers: usize) -> Result<Network> {
    Network::build(Shape { real_servers, ..Shape::default() })
}

/// The echo of every server in both families; each server's two stand together.
fn echoes(network: &Network) -> Vec<SocketAddr> {
    let servers = network.servers.iter();
    servers
        .flat_map(|server| Family::BOTH.map(|family| SocketAddr::new(server.address(family), ECHO_PORT)))
        .collect()
}

#[test]
fn flows_last_while_their_servers_do_and_break_with_them() -> Result<()> {
    const COUNT: usize = 400;
    let network = network(2)?;
    let mut programs = realserver::start_all(&network)?;

    let flows = Flows::open(&network.client, &echoes(&network), COUNT)?;
    wait_until("every flow to be used five times", PATIENCE, || flows.exchanges() >= 5 * COUNT as u64)?;
    assert_eq!(flows.broken(), 0);

    programs[0].echo.kill()?;
    wait_until("the flows of one server to break", PATIENCE, || flows.broken() == COUNT / 2)?;
    let before = flows.exchanges();
    wait_until("the others to go on", PATIENCE, || flows.exchanges() >= before + COUNT as u64)?;

    let report = flows.stop()?;
    assert_eq!((report.opened, report.broken), (COUNT, COUNT / 2), "{report:?}");
    assert!(report.longest_stall > Duration::ZERO);
    let dead = network.servers[0].address(Family::V4).to_string();
    assert!(report.examples.iter().any(|example| example.contains(&dead)), "{report:?}");
    assert!(report.expect_none_broken().is_err());

    // And to a server that is gone none opens.
    assert!(Flows::open(&network.client, &echoes(&network), 2).is_err());
    Ok(())
}

#[test]
fn a_flow_whose_wire_is_cut_stalls_and_in_the_end_breaks() -> Result<()> {
    let network = network(1)?;
    let _programs = realserver::start_all(&network)?;
    let flows = Flows::open(&network.client, &echoes(&network), 20)?;
    let probe = GapProbe::start(&network.client, echoes(&network)[0], PACE)?;
    wait_until("the flows to be used", PATIENCE, || flows.exchanges() >= 100)?;

    network.switch.links("link set rs1 down")?;
    let silent = || probe.longest_gap() >= Duration::from_millis(500);
    wait_until("a gap of 500 ms", PATIENCE, silent)?;
    network.switch.links("link set rs1 up")?;
    let before = flows.exchanges();
    wait_until("the flows to go on", PATIENCE, || flows.exchanges() >= before + 100)?;
    assert_eq!(flows.broken(), 0);

    network.switch.links("link set rs1 down")?;
    // The messages under way have their full patience.
    wait_until("all flows to break", 3 * PATIENCE, || flows.broken() == 20)?;
    let report = flows.stop()?;
    assert!(report.examples.iter().all(|example| example.contains("no answer for 20s")), "{report:?}");
    assert!(report.longest_stall >= Duration::from_secs(20), "{report:?}");
    Ok(())
}

#[test]
fn a_probe_finds_the_gap_of_a_cut_wire() -> Result<()> {
    let network = network(1)?;
    let _programs = realserver::start_all(&network)?;
    for target in echoes(&network) {
        let start = Instant::now();
        let probe = GapProbe::start(&network.client, target, PACE)?;
        wait_until("answers", PATIENCE, || probe.answers() >= 50)?;

        network.switch.links("link set rs1 down")?;
        wait_until("a gap", PATIENCE, || probe.longest_gap() >= Duration::from_millis(300))?;
        let up = start.elapsed();
        network.switch.links("link set rs1 up")?;
        let answers = probe.answers();
        wait_until("answers after the gap", PATIENCE, || probe.answers() >= answers + 50)?;

        let report = probe.stop();
        assert!(report.longest_gap >= Duration::from_millis(300), "{target}: {report:?}");
        assert!(report.begins + report.longest_gap <= start.elapsed(), "{target}: {report:?}");
        assert!(report.begins > Duration::ZERO && report.begins < up, "{target}: {report:?}");
        assert!(report.answered >= answers + 50 && report.answered < report.sent, "{target}: {report:?}");
    }
    Ok(())
}

#[test]
fn a_refused_probe_goes_on() -> Result<()> {
    let network = network(1)?;
    let target = echoes(&network)[0];
    // Nobody listens yet: each datagram is answered with an error.
    let probe = GapProbe::start(&network.client, target, PACE)?;
    wait_until("half a second of refusals", PATIENCE, || probe.longest_gap() >= Duration::from_millis(500))?;
    assert_eq!(probe.answers(), 0);
    let _programs = realserver::start_all(&network)?;
    wait_until("answers", PATIENCE, || probe.answers() >= 10)?;
    let report = probe.stop();
    assert_eq!(report.begins, Duration::ZERO, "{report:?}");
    assert!(report.answered < report.sent, "{report:?}");
    Ok(())
}

#[test]
fn a_watch_sees_answers_and_announcements() -> Result<()> {
    let network = network(1)?;
    let director = arp::mac(&network.director, "eth0")?;
    let vips: Vec<IpAddr> = network.vips().collect();
    let watch = ArpWatch::start(&network.client, "eth0", &vips)?;
    // Others' answers are none of the watch's business.
    network.client.enter(|| client::ping(network.servers[0].address(Family::V4), 56))?;
    for vip in &vips {
        network.client.enter(|| client::ping(*vip, 56))?;
    }
    wait_until("an answer for each", PATIENCE, || {
        vips.iter().all(|vip| !who_answers(&watch.claims(), *vip).is_empty())
    })?;
    assert!(watch.claims().iter().all(|claim| !claim.gratuitous), "{:?}", watch.claims());

    // The kernel announces the addresses of an interface whose MAC changes, if it is told to.
    let moved = [2, 0, 0, 0, 0, 0x99];
    network.director.sysctl(&[("ipv4.conf.eth0.arp_notify", "1"), ("ipv6.conf.eth0.ndisc_notify", "1")])?;
    network.director.links("link set eth0 address 02:00:00:00:00:99")?;
    wait_until("the announcements", PATIENCE, || {
        vips.iter().all(|vip| who_answers(&watch.claims(), *vip).len() == 2)
    })?;
    let claims = watch.stop()?;
    for vip in &vips {
        let macs: Vec<_> = who_answers(&claims, *vip).into_iter().map(|(_, mac)| mac).collect();
        assert_eq!(macs, [director, moved], "{vip}: {claims:?}");
        let announced =
            claims.iter().any(|claim| claim.address == *vip && claim.mac == moved && claim.gratuitous);
        assert!(announced, "{vip}: {claims:?}");
    }
    assert!(claims.iter().all(|claim| vips.contains(&claim.address)), "{claims:?}");
    Ok(())
}
