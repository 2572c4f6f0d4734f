//! The interfaces that the program is on, and what is to be said of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use tracing::{error, info, warn};

use super::Agent;
use crate::apology::Page;
use crate::config::Config;
use crate::runtime::advice;

impl Agent {
    /// An interface that was made anew under its name has lost the program.
    pub(super) fn follow_interfaces(&mut self) {
        let present = present(&self.installed.config);
        if present == self.present {
            return;
        }
        self.present = present;
        info!(present = ?self.present, "interfaces have come or gone");
        // One that is gone for now would be an error for all.
        let interfaces: Vec<_> = self.present.keys().cloned().collect();
        if let Err(reason) = self.installed.dataplane.attach(&interfaces, self.options.allow_generic) {
            error!(%reason, "not every interface has its program");
        }
        self.take_advice();
    }

    pub(super) fn take_advice(&mut self) {
        self.present = present(&self.installed.config);
        let config = self.health.config();
        let mut advice = advice::of(config, self.installed.dataplane.attachments());
        advice.extend(advice::tunnel_sources(config, |address| self.next_hops.source_of(address)));
        advice.extend(advice::pages(config, &own_addresses(), |path| Page::read(path).map(drop)));
        for warning in advice.iter().filter(|warning| !self.advice.contains(warning)) {
            warn!("{warning}");
        }
        self.advice = advice;
    }
}

/// Of this machine, on any interface.
fn own_addresses() -> BTreeSet<IpAddr> {
    let all = getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    let addresses = all.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    addresses.collect()
}

/// Whether something must be done to what this machine sends: probes take a path, what has no lease is dropped.
pub(super) fn wants_egress(config: &Config) -> bool {
    config.moving().next().is_some() || config.services.iter().any(|service| service.health.probes_the_path)
}

fn present(config: &Config) -> BTreeMap<String, u32> {
    let found = |name: &String| Some((name.clone(), if_nametoindex(name.as_str()).ok()?));
    config.interfaces.iter().filter_map(found).collect()
}
