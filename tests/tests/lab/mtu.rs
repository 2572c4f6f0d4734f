//! Packets that do not fit: inside a tunnel, or on the client's side of the path.

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::capture::{Capture, expect_good_checksums};
use lvs_tests::lab::client;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::network::{Arms, Replies, Shape};
use lvs_tests::lab::realserver::{self, HTTP_PORT};

use crate::setup::{Balanced, Preparation, dialled, real_servers, service};

/// On a path of 1500 bytes the director tells the client the size that fits, and the upload goes on.
#[test]
fn uploads_through_a_tunnel_learn_the_size_that_fits() -> Result<()> {
    let balanced =
        Balanced::start(Shape { real_servers: 1, ..Shape::default() }, Preparation::Ipip, |network| {
            let services = Family::BOTH
                .map(|family| service(family, HTTP_PORT, "tcp", "rr", "ipip", real_servers(network, family)));
            Configuration::new(network, services.to_vec())
        })?;
    let network = &balanced.network;
    // The servers announce segments that fit. Without that, the client finds out the hard way.
    ignore_announced_size(&balanced)?;
    let large = realserver::large_file(&network.identity.directory())?;
    for (family, largest) in [(Family::V4, 1480), (Family::V6, 1460)] {
        let capture = Capture::start(&network.client, "eth0", &network.identity.directory())?;
        let server = client::upload(&network.client, dialled(family, HTTP_PORT), &large, "copy")
            .with_context(|| format!("{family}; {}", balanced.explain()))?;
        client::same(&realserver::uploaded(network, &server, "copy"), &large)?;
        let frames = capture.finish()?;
        expect_good_checksums(&frames)?;
        let told = frames.iter().filter_map(|frame| told_size(frame)).min();
        ensure!(told == Some(largest), "{family}: the client was told {told:?} instead of {largest}");
    }
    Ok(())
}

/// A router near the client tells the VIP that a packet was too big. Unless the director hands that on to
/// the very server that sent it, the download never ends.
#[test]
fn servers_learn_of_a_narrow_path_to_the_client() -> Result<()> {
    for forward in ["dr", "nat", "ipip"] {
        let shape =
            Shape { arms: Arms::Two, replies: Replies::ThroughDirector, real_servers: 2, ..Shape::default() };
        let balanced = Balanced::start(shape, Preparation::of(forward), |network| {
            let services = Family::BOTH.map(|family| {
                service(family, HTTP_PORT, "tcp", "rr", forward, real_servers(network, family))
            });
            Configuration::new(network, services.to_vec())
        })?;
        let distant = balanced.network.add_distant_client(1300)?;
        let large = realserver::large_file(&balanced.network.identity.directory())?;
        for family in Family::BOTH {
            // Once for each server.
            for _ in 0..balanced.network.servers.len() {
                client::download(&distant, dialled(family, HTTP_PORT), "/large", &large)
                    .with_context(|| format!("{forward} {family}; {}", balanced.explain()))?;
            }
        }
    }
    Ok(())
}

/// Takes the routes' advertised segment size away again, which `lvsd realserver` may have set.
fn ignore_announced_size(balanced: &Balanced) -> Result<()> {
    for family in Family::BOTH {
        for server in &balanced.network.servers {
            let routes = server.namespace.run("ip", &[family.flag(), "route"])?;
            for route in routes.lines().filter(|route| route.contains("advmss")) {
                let words: Vec<&str> = route.split_whitespace().collect();
                let kept = words
                    .iter()
                    .enumerate()
                    .filter(|(index, word)| {
                        **word != "advmss" && (*index == 0 || words[index - 1] != "advmss")
                    })
                    .map(|(_, word)| *word);
                let arguments: Vec<&str> =
                    [family.flag(), "route", "replace"].into_iter().chain(kept).collect();
                server.namespace.run("ip", &arguments)?;
            }
        }
    }
    Ok(())
}

/// The size that an ICMP "fragmentation needed" (RFC 1191 4) or "packet too big" (RFC 4443 3.2) tells.
fn told_size(frame: &[u8]) -> Option<u32> {
    let packet = frame.get(14..)?;
    match (u16::from_be_bytes([frame[12], frame[13]]), packet.get(6)?, packet.get(9)?) {
        (0x0800, _, 1) => {
            let icmp = packet.get(usize::from(packet[0] & 0xf) * 4..)?;
            (icmp.get(..2)? == [3, 4]).then(|| u32::from(u16::from_be_bytes([icmp[6], icmp[7]])))
        }
        (0x86dd, 58, _) => {
            let icmp = packet.get(40..)?;
            (icmp.get(..2)? == [2, 0]).then(|| u32::from_be_bytes([icmp[4], icmp[5], icmp[6], icmp[7]]))
        }
        _ => None,
    }
}
