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
    known: BTreeMap<IpAddr, Known>,
}

/// What is known of one real server.
struct Known {
    next_hop: Option<control::NextHop>,
    /// Why packets do not reach it.
    trouble: Option<String>,
    /// The log has that trouble.
    told: bool,
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

    /// Has the real servers of `config` watched beside those that are, and waits a while for the MACs of
    /// the new ones: a service should not begin with packets that nobody knows the way for. Returns whose
    /// way has changed meanwhile.
    pub(super) async fn prepare(&mut self, config: &Config) -> BTreeSet<IpAddr> {
        let wanted = real_servers(config);
        self.resolver.set_addresses(self.known.keys().copied().chain(wanted.iter().copied()).collect());
        let mut new = wanted;
        new.retain(|address| !self.known.contains_key(address));
        let deadline = Instant::now() + PATIENCE;
        let mut changed = BTreeSet::new();
        while !new.iter().all(|address| self.is_settled(address)) {
            match timeout_at(deadline, self.reports.recv()).await {
                Ok(Some(report)) => {
                    changed.insert(report.address);
                    self.learn(report);
                }
                Ok(None) | Err(_) => break,
            }
        }
        for address in new {
            if let Some(known) = self.known.get_mut(&address)
                && let Some(trouble) = known.trouble.as_ref().filter(|_| !known.told)
            {
                warn!("real server {address}: {trouble}");
                known.told = true;
            }
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
        self.known.iter().map(|(address, known)| event(*address, known))
    }

    /// Those of `addresses` that are known.
    pub(super) fn events_of(&self, addresses: &BTreeSet<IpAddr>) -> impl Iterator<Item = control::Event> {
        let known = addresses.iter().filter_map(|address| self.known.get_key_value(address));
        known.map(|(address, known)| event(*address, known))
    }

    /// Which real servers packets do not reach, and why.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.known.iter().filter_map(|(address, known)| {
            Some(format!("real server {address}: {}", known.trouble.as_deref()?))
        })
    }

    /// The address the kernel would send from towards a real server.
    pub(super) fn source_of(&self, address: &IpAddr) -> Option<IpAddr> {
        self.known.get(address)?.next_hop.as_ref()?.source_address
    }

    /// A MAC is known, or it is known that there is no way.
    fn is_settled(&self, address: &IpAddr) -> bool {
        self.known
            .get(address)
            .is_some_and(|known| known.next_hop.as_ref().is_none_or(|hop| hop.next_hop_mac.is_some()))
    }

    fn learn(&mut self, report: NextHopChanged) -> Option<control::NextHop> {
        let NextHopChanged { address, next_hop } = report;
        let trouble = match &next_hop {
            Ok(next_hop) if next_hop.next_hop_mac.is_some() => None,
            Ok(NextHop { behind_router: true, .. }) => {
                Some("the router before it does not answer".to_owned())
            }
            Ok(_) => Some("nobody answers for its address on the link".to_owned()),
            Err(reason @ Unreachable::Local) => {
                Some(format!("{reason}; write `forward: local` if it is meant to serve"))
            }
            Err(reason) => Some(reason.to_string()),
        };
        let before = self.known.get(&address);
        let was_told = before.is_some_and(|known| known.told);
        let is_same = before.is_some_and(|known| known.trouble == trouble);
        // The first report of an address comes before anybody was asked.
        let is_early = before.is_none() && next_hop.is_ok();
        match &trouble {
            Some(trouble) if !is_same && !is_early => warn!("real server {address}: {trouble}"),
            None if was_told => info!("real server {address}: it can be reached"),
            _ => {}
        }
        let told = trouble.is_some() && (was_told || !is_same && !is_early);
        let next_hop = next_hop.ok().map(translated);
        self.known.insert(address, Known { next_hop: next_hop.clone(), trouble, told });
        next_hop
    }
}

fn event(address: IpAddr, known: &Known) -> control::Event {
    control::Event::NextHop { address, next_hop: known.next_hop.clone() }
}

fn real_servers(config: &Config) -> BTreeSet<IpAddr> {
    let services = config.services.iter();
    let servers = services.flat_map(|service| service.real_servers.iter().chain(&service.health.fallback));
    servers.filter(|server| server.forward != Forward::Local).map(|server| server.address).collect()
}

fn translated(next_hop: NextHop) -> control::NextHop {
    let NextHop { interface, source_mac, next_hop_mac, behind_router, mtu, source_address } = next_hop;
    control::NextHop { interface, source_mac, next_hop_mac, behind_router, mtu, source_address }
}
