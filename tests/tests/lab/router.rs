//! Real servers behind a router: the director's next hop is not the server.

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::capture::{Capture, expect_good_checksums};
use lvs_tests::lab::client;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::network::{Arms, Replies, Shape};
use lvs_tests::lab::realserver::{self, HTTP_PORT, OTHER_HTTP_PORT};

use crate::setup::{Balanced, Preparation, dialled, real_servers, service};

#[test]
fn ipip_reaches_servers_behind_a_router() -> Result<()> {
    serves("ipip", Arms::One)?;
    serves("ipip", Arms::Two)
}

/// Two-armed only: on one wire the answers would find a way past the director.
#[test]
fn nat_reaches_servers_behind_a_router() -> Result<()> {
    serves("nat", Arms::Two)
}

fn serves(forward: &'static str, arms: Arms) -> Result<()> {
    let shape = Shape { arms, replies: Replies::ThroughDirector, real_servers: 1, behind_router: 1, vips: 1 };
    let balanced = Balanced::start(shape, Preparation::of(forward), |network| {
        let services = Family::BOTH.map(|family| {
            let mut servers = real_servers(network, family);
            if forward == "nat" {
                servers.iter_mut().for_each(|server| server.port = Some(OTHER_HTTP_PORT));
            }
            service(family, HTTP_PORT, "tcp", "rr", forward, servers)
        });
        Configuration::new(network, services.to_vec())
    })?;
    let network = &balanced.network;
    let large = realserver::large_file(&network.identity.directory())?;
    for family in Family::BOTH {
        let capture = Capture::start(&network.client, "eth0", &network.identity.directory())?;
        let web = dialled(family, HTTP_PORT);
        let mut met = Vec::new();
        let mut use_everything = || -> Result<()> {
            met.push(client::curl(&network.client, web, "/").context("curl")?.trim().to_owned());
            client::download(&network.client, web, "/large", &large).context("download")?;
            let server = client::upload(&network.client, web, &large, "copy").context("upload")?;
            client::same(&realserver::uploaded(network, &server, "copy"), &large)
        };
        // Three connections each, in turn: every server gets every kind.
        for _ in 0..2 {
            use_everything().with_context(|| format!("{forward} {family}; {}", balanced.explain()))?;
        }
        met.sort();
        met.dedup();
        ensure!(met == ["rs1", "rs2"], "{forward} {family}: met {met:?}");
        expect_good_checksums(&capture.finish()?)?;
    }
    Ok(())
}
