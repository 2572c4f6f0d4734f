//! Where real servers are, as told by [`crate::network`] and as understood by [`crate::control`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::config::Config;
use crate::config::model::Forward;
use crate::control;
use crate::network::{NextHop, NextHopChanged, Resolver, Unreachable};

/// How long services wait to be published until the MACs of their real servers are known.
const PATIENCE: Duration = Duration::from_secs(1);

/// The latest reports, and where more come from.
pub(super) struct NextHops {
    resolver: Resolver,
    reports: mpsc::Receiver<NextHopChanged>,
    known: BTreeMap<IpAddr, Option<control::NextHop>>,
}

impl NextHops {
    pub(super) const fn new(resolver: Resolver, reports: mpsc::Receiver<NextHopChanged>) -> Self {
        Self { resolver, reports, known: BTreeMap::new() }
    }

    /// The next change; `None` when the network is no longer watched.
    pub(super) async fn changed(&mut self) -> Option<(IpAddr, Option<control::NextHop>)> {
        let report = self.reports.recv().await?;
        let address = report.address;
        Some((address, self.learn(report)))
    }

    /// Has the real servers of `config` watched beside those that are, and waits a while for their MACs:
    /// a service should not begin with packets that nobody knows the way for. The changes meanwhile.
    pub(super) async fn prepare(&mut self, config: &Config) -> BTreeSet<IpAddr> {
        let wanted = real_servers(config);
        self.resolver.set_addresses(self.known.keys().copied().chain(wanted.iter().copied()).collect());
        let deadline = Instant::now() + PATIENCE;
        let mut changed = BTreeSet::new();
        while !wanted.iter().all(|address| self.is_settled(address)) {
            match timeout_at(deadline, self.reports.recv()).await {
                Ok(Some(report)) => {
                    changed.insert(report.address);
                    self.learn(report);
                }
                Ok(None) | Err(_) => break,
            }
        }
        for address in wanted.iter().filter(|address| !self.is_settled(address)) {
            info!(%address, "nobody answers for this real server yet");
        }
        changed
    }

    /// Only the real servers of `config` are watched from now on.
    pub(super) fn settle(&mut self, config: &Config) {
        let wanted = real_servers(config);
        self.known.retain(|address, _| wanted.contains(address));
        self.resolver.set_addresses(wanted);
    }

    /// Everything known.
    pub(super) fn events(&self) -> impl Iterator<Item = control::Event> {
        self.known.iter().map(|(address, next_hop)| event(*address, next_hop))
    }

    /// Those of `addresses` that are known.
    pub(super) fn events_of(&self, addresses: &BTreeSet<IpAddr>) -> impl Iterator<Item = control::Event> {
        addresses.iter().filter_map(|address| Some(event(*address, self.known.get(address)?)))
    }

    /// A MAC is known, or it is known that there is no way.
    fn is_settled(&self, address: &IpAddr) -> bool {
        match self.known.get(address) {
            Some(Some(next_hop)) => next_hop.next_hop_mac.is_some(),
            Some(None) => true,
            None => false,
        }
    }

    fn learn(&mut self, report: NextHopChanged) -> Option<control::NextHop> {
        let NextHopChanged { address, next_hop } = report;
        let next_hop = match next_hop {
            Ok(next_hop) => Some(translated(next_hop)),
            Err(reason @ Unreachable::Local) => {
                warn!(%address, "real server: {reason}; write `forward: local` if it is meant to serve");
                None
            }
            Err(reason) => {
                warn!(%address, "real server cannot be reached: {reason}");
                None
            }
        };
        self.known.insert(address, next_hop.clone());
        next_hop
    }
}

fn event(address: IpAddr, next_hop: &Option<control::NextHop>) -> control::Event {
    control::Event::NextHop { address, next_hop: next_hop.clone() }
}

fn real_servers(config: &Config) -> BTreeSet<IpAddr> {
    let servers = config.services.iter().flat_map(|service| &service.real_servers);
    servers.filter(|server| server.forward != Forward::Local).map(|server| server.address).collect()
}

fn translated(next_hop: NextHop) -> control::NextHop {
    let NextHop { interface, source_mac, next_hop_mac, behind_router, mtu, source_address } = next_hop;
    control::NextHop { interface, source_mac, next_hop_mac, behind_router, mtu, source_address }
}
