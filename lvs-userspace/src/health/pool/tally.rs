//! How much of some services a director could serve, by standings that it believes in. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::key::ServerKey;
use super::{Pool, group, verdict};
use crate::config::model::{Check, RealServer, Service};
use crate::health::threshold::Standing;

/// More than this makes no difference.
const MOST: usize = 999;

/// Of some services together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Real servers that pass their checks, once for each service.
    pub up: usize,
    /// Services with their quorum of them.
    pub complete: usize,
    /// Services without.
    pub short: usize,
}

impl Tally {
    /// From 0 to 999; more is better. Services with their quorum where one lacks it, else real servers: since each
    /// quorum is one of them at least, a lost quorum is worse than any number of real servers.
    pub fn score(self) -> u16 {
        let score = match self.short {
            0 => self.up.min(MOST),
            _ => self.complete.min(MOST - 1),
        };
        u16::try_from(score).unwrap_or(u16::MAX)
    }
}

impl Pool {
    /// Counts the services at these addresses. Of each real server with a weight and not under maintenance
    /// `believed` has the last word on its checks, and is told the standing in force; one without checks is up. A
    /// fallback is none.
    pub fn tally(
        &self,
        vips: &BTreeSet<IpAddr>,
        believed: impl Fn(&Arc<Check>, Standing) -> Standing,
    ) -> Tally {
        let is_up = |service: &Service, real_server: &RealServer| {
            let checks = real_server.checks.iter().filter_map(|check| {
                let known = self.checks.get(check)?;
                Some((believed(check, known.standing), ""))
            });
            verdict::of(service.health.require, checks).0.serves()
        };
        let mut tally = Tally::default();
        for service in self.config.services.iter().filter(|service| vips.contains(&service.vip)) {
            let eligible: BTreeSet<ServerKey> = group::eligible(service, &self.members).collect();
            let meant = service
                .real_servers
                .iter()
                .filter(|real_server| eligible.contains(&ServerKey::new(service, real_server)));
            let up = meant.filter(|real_server| is_up(service, real_server)).count();
            tally.up += up;
            match up < service.health.quorum as usize {
                true => tally.short += 1,
                false => tally.complete += 1,
            }
        }
        tally
    }
}
