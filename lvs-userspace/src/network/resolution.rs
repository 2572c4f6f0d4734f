//! What changed and what to ask for next: the pure half of the resolver. No clock, no socket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::{Mac, NextHop, NextHopChanged, Unreachable};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    /// `None` if it is not Ethernet.
    pub mac: Option<Mac>,
    /// In bytes.
    pub mtu: u32,
    /// Switched on, with a carrier.
    pub up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NeighbourKey {
    pub interface: u32,
    pub address: IpAddr,
}

/// An entry of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub mac: Option<Mac>,
    pub status: NeighbourStatus,
}

/// The states of the kernel's neighbour table, by what they mean for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeighbourStatus {
    /// Does not age (permanent, noarp), or is another program's to keep.
    Fixed,
    /// Confirmed lately, or being confirmed; the kernel will say when that ends.
    Kept,
    /// Was right; nobody has asked for a while. The kernel only asks when it sends a packet itself, and
    /// it never sees the packets of XDP.
    Stale,
    /// Being asked for the first time.
    Asked,
    /// Did not answer.
    Failed,
    /// Created but not asked for.
    Unknown,
}

/// The kernel's answer to a route lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Via { interface: u32, gateway: Option<IpAddr>, source: Option<IpAddr>, mtu: Option<u32> },
    Local,
    None,
}

/// What the kernel reports of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Link(Link),
    LinkGone(u32),
    /// `None`: the entry was removed.
    Neighbour(NeighbourKey, Option<Neighbour>),
    RouteChanged {
        prefix: IpAddr,
        length: u8,
    },
    /// Any destination may go elsewhere now.
    Routing,
    /// Messages were lost: everything has to be read again.
    Lost,
}

/// What the IO half has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Look the route up and hand it to [`Resolution::route_found`].
    LookUp(IpAddr),
    /// Have the kernel resolve or confirm this neighbour.
    Ask(NeighbourKey),
    /// Read links and neighbours again and hand them to [`Resolution::synchronise`].
    ReadTables,
    Report(NextHopChanged),
}

/// Everything known about the way to a set of addresses.
#[derive(Debug, Default)]
pub(super) struct Resolution {
    links: BTreeMap<u32, Link>,
    neighbours: HashMap<NeighbourKey, Neighbour>,
    targets: BTreeMap<IpAddr, Target>,
}

#[derive(Debug, Default)]
struct Target {
    /// `None` until the first lookup is answered.
    route: Option<Route>,
    /// The MAC last seen, and whose it is. It stands while the kernel has merely forgotten the entry (its
    /// table was full or flushed), until the kernel says that nobody answers.
    mac: Option<(NeighbourKey, Mac)>,
    reported: Option<Result<NextHop, Unreachable>>,
}

impl Resolution {
    /// The addresses to watch from now on. New ones are looked up, the others left as they are.
    pub(super) fn set_addresses(&mut self, addresses: &BTreeSet<IpAddr>) -> Vec<Action> {
        self.targets.retain(|address, _| addresses.contains(address));
        let new: Vec<_> =
            addresses.iter().copied().filter(|address| !self.targets.contains_key(address)).collect();
        self.targets.extend(new.iter().map(|address| (*address, Target::default())));
        new.into_iter().map(Action::LookUp).collect()
    }

    /// Links and neighbours as a whole, at the start and after lost messages.
    pub(super) fn synchronise(
        &mut self,
        links: impl IntoIterator<Item = Link>,
        neighbours: impl IntoIterator<Item = (NeighbourKey, Neighbour)>,
    ) -> Vec<Action> {
        self.links = links.into_iter().map(|link| (link.index, link)).collect();
        self.neighbours = neighbours.into_iter().collect();
        self.look_up(|_| true)
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Link(link) => {
                if self.links.get(&link.index) == Some(&link) {
                    return Vec::new();
                }
                let index = link.index;
                self.links.insert(index, link);
                self.link_changed(index)
            }
            Event::LinkGone(index) => {
                self.links.remove(&index);
                self.neighbours.retain(|key, _| key.interface != index);
                self.link_changed(index)
            }
            Event::Neighbour(key, neighbour) => {
                match neighbour {
                    Some(neighbour) => self.neighbours.insert(key, neighbour),
                    None => self.neighbours.remove(&key),
                };
                self.neighbour_changed(key)
            }
            Event::RouteChanged { prefix, length } => {
                self.look_up(|address| contains(prefix, length, address))
            }
            Event::Routing => self.look_up(|_| true),
            Event::Lost => vec![Action::ReadTables],
        }
    }

    /// The answer to [`Action::LookUp`]; ignored if the address is no longer watched.
    pub(super) fn route_found(&mut self, address: IpAddr, route: Route) -> Vec<Action> {
        let Some(target) = self.targets.get_mut(&address) else { return Vec::new() };
        target.route = Some(route);
        let mut actions: Vec<_> = self.report(address).into_iter().map(Action::Report).collect();
        actions.extend(self.to_ask(address).map(Action::Ask));
        actions
    }

    /// To be called every other second or so: asks again for whatever is not confirmed.
    pub(super) fn tick(&self) -> Vec<Action> {
        let keys: BTreeSet<_> = self.targets.keys().filter_map(|address| self.to_ask(*address)).collect();
        keys.into_iter().map(Action::Ask).collect()
    }

    /// To be called every minute or so: some changes have no message (a path's MTU that expires, next hop
    /// objects).
    pub(super) fn look_up_all(&self) -> Vec<Action> {
        self.look_up(|_| true)
    }

    fn look_up(&self, concerns: impl Fn(IpAddr) -> bool) -> Vec<Action> {
        self.targets.keys().copied().filter(|address| concerns(*address)).map(Action::LookUp).collect()
    }

    /// What is known of an interface changes at once; the routes over it, old and new, are looked up.
    fn link_changed(&mut self, index: u32) -> Vec<Action> {
        let concerned: Vec<_> = self
            .targets
            .iter()
            .filter(|(_, target)| target.interface() == Some(index))
            .map(|(address, _)| *address)
            .collect();
        let mut actions: Vec<_> =
            concerned.into_iter().filter_map(|address| self.report(address)).map(Action::Report).collect();
        actions.extend(self.look_up_all());
        actions
    }

    fn neighbour_changed(&mut self, key: NeighbourKey) -> Vec<Action> {
        let concerned: Vec<_> = self
            .targets
            .iter()
            .filter(|(address, target)| target.neighbour(**address) == Some(key))
            .map(|(address, _)| *address)
            .collect();
        let mut actions: Vec<_> =
            concerned.iter().filter_map(|address| self.report(*address)).map(Action::Report).collect();
        // A failed one is asked again by the next tick, not by the very message of its failure.
        let failed =
            self.neighbours.get(&key).is_some_and(|neighbour| neighbour.status == NeighbourStatus::Failed);
        if !failed {
            actions.extend(concerned.first().and_then(|address| self.to_ask(*address)).map(Action::Ask));
        }
        actions
    }

    /// The neighbour the kernel must be asked for before packets to `address` can rely on it.
    fn to_ask(&self, address: IpAddr) -> Option<NeighbourKey> {
        let target = self.targets.get(&address)?;
        let key = target.neighbour(address)?;
        let link = self.links.get(&key.interface)?;
        if !link.up || link.mac.is_none() {
            return None;
        }
        match self.neighbours.get(&key).map(|neighbour| neighbour.status) {
            Some(NeighbourStatus::Fixed | NeighbourStatus::Kept | NeighbourStatus::Asked) => None,
            Some(NeighbourStatus::Stale | NeighbourStatus::Failed | NeighbourStatus::Unknown) | None => {
                Some(key)
            }
        }
    }

    fn report(&mut self, address: IpAddr) -> Option<NextHopChanged> {
        let target = self.targets.get_mut(&address)?;
        let key = target.neighbour(address);
        let neighbour = key.and_then(|key| self.neighbours.get(&key)).copied();
        let link = target.interface().and_then(|index| self.links.get(&index));
        target.learn(key, neighbour);
        let mac = target.mac.map(|(_, mac)| mac);
        let next_hop = resolve(target.route.as_ref()?, link, mac);
        if target.reported.as_ref() == Some(&next_hop) {
            return None;
        }
        target.reported = Some(next_hop.clone());
        Some(NextHopChanged { address, next_hop })
    }
}

impl Target {
    fn interface(&self) -> Option<u32> {
        match self.route {
            Some(Route::Via { interface, .. }) => Some(interface),
            _ => None,
        }
    }

    fn neighbour(&self, address: IpAddr) -> Option<NeighbourKey> {
        match self.route {
            Some(Route::Via { interface, gateway, .. }) => {
                Some(NeighbourKey { interface, address: gateway.unwrap_or(address) })
            }
            _ => None,
        }
    }

    fn learn(&mut self, key: Option<NeighbourKey>, neighbour: Option<Neighbour>) {
        self.mac = match (key, neighbour) {
            (_, Some(Neighbour { status: NeighbourStatus::Failed, .. })) | (None, _) => None,
            (Some(key), Some(Neighbour { mac: Some(mac), .. })) => Some((key, mac)),
            (Some(key), _) => self.mac.filter(|(whose, _)| *whose == key),
        };
    }
}

/// Puts a route, its interface and the MAC of its neighbour together.
pub(super) fn resolve(
    route: &Route,
    link: Option<&Link>,
    next_hop_mac: Option<Mac>,
) -> Result<NextHop, Unreachable> {
    let (interface, gateway, source_address, mtu) = match route {
        Route::Via { interface, gateway, source, mtu } => (*interface, *gateway, *source, *mtu),
        Route::Local => return Err(Unreachable::Local),
        Route::None => return Err(Unreachable::NoRoute),
    };
    let link = link.ok_or(Unreachable::NoRoute)?;
    let source_mac = link.mac.ok_or_else(|| Unreachable::NotEthernet { interface: link.name.clone() })?;
    if !link.up {
        return Err(Unreachable::InterfaceDown { interface: link.name.clone() });
    }
    Ok(NextHop {
        interface,
        source_mac,
        next_hop_mac,
        behind_router: gateway.is_some(),
        mtu: mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
        source_address,
    })
}

/// Whether the first `length` bits of both addresses agree.
fn contains(prefix: IpAddr, length: u8, address: IpAddr) -> bool {
    let length = u32::from(length);
    match (prefix, address) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => {
            (prefix.to_bits() ^ address.to_bits()).leading_zeros() >= length
        }
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            (prefix.to_bits() ^ address.to_bits()).leading_zeros() >= length
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
