//! The lab itself, without a balancer: what the other tests rest on.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::capture::{Capture, expect_good_checksums};
use lvs_tests::lab::client::{self, Exchange};
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::network::{Arms, Network, Replies, Shape};
use lvs_tests::lab::realserver;

/// Every machine reaches every other one that it should, with both protocols of both families.
#[test]
fn servers_answer_clients_without_a_balancer() -> Result<()> {
    for (arms, replies) in [
        (Arms::One, Replies::Direct),
        (Arms::One, Replies::ThroughDirector),
        (Arms::Two, Replies::ThroughDirector),
    ] {
        let shape = Shape { arms, replies, real_servers: 1, behind_router: 1, ..Shape::default() };
        let network = Network::build(shape)?;
        let _programs = realserver::start_all(&network)?;
        for server in &network.servers {
            for family in Family::BOTH {
                for (exchange, port) in [(Exchange::Http, 80), (Exchange::TcpEcho, 7), (Exchange::UdpEcho, 7)]
                {
                    let target = SocketAddr::new(server.address(family), port);
                    let name = network.client.enter(|| exchange.once(target));
                    assert_eq!(
                        name.as_deref().ok(),
                        Some(server.name.as_str()),
                        "{shape:?} {target}: {name:?}"
                    );
                }
                let dns = SocketAddr::new(server.address(family), 53);
                assert_eq!(client::dig(&network.client, dns)?, server.name);
            }
        }
    }
    Ok(())
}

#[test]
fn large_files_come_over_whole_and_with_good_checksums() -> Result<()> {
    let network = Network::build(Shape { arms: Arms::Two, real_servers: 1, ..Shape::default() })?;
    let _programs = realserver::start_all(&network)?;
    let large = realserver::large_file(&network.identity.directory())?;
    for family in Family::BOTH {
        let target = SocketAddr::new(network.servers[0].address(family), 80);
        let capture = Capture::start(&network.client, "eth0", &network.identity.directory())?;
        client::download(&network.client, target, "/large", &large)?;
        assert_eq!(client::upload(&network.client, target, &large, "copy")?, "rs1");
        client::same(&realserver::uploaded(&network, "rs1", "copy"), &large)?;
        let frames = capture.finish()?;
        assert!(frames.len() > 20_000, "only {} frames for 40 MB", frames.len());
        expect_good_checksums(&frames)?;
        assert!(client::iperf3(&network.client, SocketAddr::new(target.ip(), 5201), false)? > 1.0);
    }
    Ok(())
}

/// The checker must be able to fail: a packet whose checksum is left to a card that does not exist.
#[test]
fn a_bad_checksum_on_the_wire_is_found() -> Result<()> {
    let network = Network::build(Shape { real_servers: 1, ..Shape::default() })?;
    network.client.run("ethtool", &["-K", "eth0", "tx", "on"])?;
    let capture = Capture::start(&network.client, "eth0", &network.identity.directory())?;
    let target = SocketAddr::new(network.servers[0].address(Family::V4), 80);
    // Refused, since nothing listens; the SYN has been captured by then.
    assert!(network.client.enter(|| Exchange::Http.once(target)).is_err());
    let error = expect_good_checksums(&capture.finish()?).expect_err("the SYN's checksum is unfinished");
    assert!(format!("{error:#}").contains("TCP checksum"), "{error:#}");
    Ok(())
}

/// The narrow path to a distant client is found out by errors alone.
#[test]
fn a_distant_client_downloads_over_a_narrow_path() -> Result<()> {
    let network = Network::build(Shape { arms: Arms::Two, real_servers: 1, ..Shape::default() })?;
    let _programs = realserver::start_all(&network)?;
    let distant = network.add_distant_client(1300)?;
    let large = realserver::large_file(&network.identity.directory())?;
    for family in Family::BOTH {
        let server = &network.servers[0];
        let capture = Capture::start(&server.namespace, "eth0", &network.identity.directory())?;
        client::download(&distant, SocketAddr::new(server.address(family), 80), "/large", &large)?;
        let frames = capture.finish()?;
        let longest = frames.iter().map(Vec::len).max();
        assert_eq!(longest, Some(1514), "{family}: the server never tried the full size");
    }
    Ok(())
}

#[test]
fn load_counts_answers_and_failures() -> Result<()> {
    let network = Network::build(Shape { real_servers: 1, ..Shape::default() })?;
    let _programs = realserver::start_all(&network)?;
    let server = network.servers[0].address(Family::V4);

    let good = Plan::count(Exchange::Http, SocketAddr::new(server, 80), 500);
    let report = Load::start(&network.client, good).finish()?;
    report.expect_no_failure()?;
    assert_eq!((report.answers(), report.share("rs1")), (500, 1.0));
    assert!(report.expect_shares(&[("rs1", 1), ("rs2", 1)], 0.1).is_err());

    let refused = Plan::count(Exchange::Http, SocketAddr::new(server, 81), 10);
    let report = Load::start(&network.client, refused).finish()?;
    assert_eq!((report.answers(), report.failures), (0, 10));
    assert!(report.expect_no_failure().is_err());
    Ok(())
}

/// Only the director answers for a VIP; the servers have it, but keep quiet.
#[test]
fn prepared_servers_do_not_answer_for_the_vip() -> Result<()> {
    let network = Network::build(Shape::default())?;
    for server in &network.servers {
        realserver::prepare_by_hand(server, network.vips())?;
    }
    for family in Family::BOTH {
        let vip = address::vip(family, 0);
        network.client.enter(|| client::ping(vip, 56))?;
        let neighbours = network.client.run("ip", &["-j", "neighbour", "show", &vip.to_string()])?;
        let director: serde_json::Value =
            serde_json::from_str(&network.director.run("ip", &["-j", "link", "show", "eth0"])?)?;
        let mac = director[0]["address"].as_str().expect("an interface has a MAC");
        assert!(neighbours.contains(mac), "{vip} is at {neighbours}, the director at {mac}");
    }
    Ok(())
}

#[test]
fn nothing_is_left_when_a_lab_is_dropped() -> Result<()> {
    let network = Network::build(Shape::default())?;
    let programs = realserver::start_all(&network)?;
    let (name, directory) = (network.identity.name(), network.identity.directory());
    let namespaces = || -> Result<Vec<String>> {
        let all = fs::read_dir("/run/netns")?;
        let names = all.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.filter(|entry| entry.as_ref().map_or(true, |entry| entry.starts_with(&name))).collect()
    };
    let pid = programs[0].web.pid();
    assert_eq!(namespaces()?.len(), 6);
    // In this order, processes are still there when the namespaces go.
    drop(network);
    drop(programs);
    assert_eq!(namespaces()?, Vec::<String>::new());
    assert!(!directory.exists());
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
    Ok(())
}
