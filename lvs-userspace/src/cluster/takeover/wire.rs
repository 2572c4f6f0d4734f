//! The interfaces, as the kernel last said they are.

use std::collections::{BTreeMap, BTreeSet};

use crate::changes::sysctl;
use crate::network::{Link, Mac};

/// What an announcement needs to know of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) index: u32,
    pub(super) mac: Mac,
    /// Switched on, with a carrier.
    pub(super) is_up: bool,
    /// The kernel forwards IPv6 that comes in there, and says so in its advertisements.
    pub(super) is_router: bool,
}

/// All Ethernet interfaces.
#[derive(Debug, Default)]
pub(super) struct Wires {
    by_name: BTreeMap<String, Wire>,
    own: BTreeSet<Mac>,
}

impl Wires {
    pub(super) fn new(links: Vec<Link>) -> Self {
        let own = links.iter().filter_map(|link| link.mac).collect();
        let wire = |link: Link| {
            let forwarding = format!("net/ipv6/conf/{}/forwarding", link.name);
            let is_router = sysctl::read(&forwarding).is_ok_and(|value| value > 0);
            let wire = Wire { index: link.index, mac: link.mac?, is_up: link.up, is_router };
            Some((link.name, wire))
        };
        Self { by_name: links.into_iter().filter_map(wire).collect(), own }
    }

    pub(super) fn get(&self, name: &str) -> Option<Wire> {
        self.by_name.get(name).copied()
    }

    /// Whether an interface of this host has the MAC.
    pub(super) fn is_own(&self, mac: Mac) -> bool {
        self.own.contains(&mac)
    }
}
