//! Which part a director has: whose desired state it follows in all, and who has the say about which groups besides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Cluster, addresses};
use crate::cluster::identity::GroupId;
use crate::cluster::reach::Peer;
use crate::cluster::state::{Dated, Heard, choose};
use crate::runtime::store::State;

/// This director's part, and what it has heard of others.
#[derive(Clone, Debug, Default)]
pub(in crate::runtime) struct Part {
    /// It holds a group.
    pub(in crate::runtime) is_active: bool,
    /// The state to follow in all, where it holds none; else what was told last by the director that it followed in all.
    pub(in crate::runtime) followed: Heard<State>,
    /// Groups that it does not hold, by who does. Without those of the state to follow in all.
    pub(in crate::runtime) elsewhere: Vec<Elsewhere>,
}

/// Groups that another director holds, or has held last; or nobody.
#[derive(Clone, Debug)]
pub(in crate::runtime) struct Elsewhere {
    pub(in crate::runtime) director: Option<String>,
    /// All addresses of the groups.
    pub(in crate::runtime) vips: BTreeSet<IpAddr>,
    /// What that director has told, as far as it is known.
    pub(in crate::runtime) latest: Option<Arc<Dated<State>>>,
}

impl Cluster {
    /// What this director has to do with the desired state of others, as far as that is known.
    pub(in crate::runtime) fn part(&mut self) -> Part {
        let is_active = self.is_active();
        // Where nobody can be told anything each director is maintained by itself.
        let Some(exchange) = &mut self.exchange else { return Part { is_active, ..Part::default() } };
        let heard = exchange.heard();
        let mut holders = Vec::new();
        let mut elsewhere: BTreeMap<Option<Peer>, BTreeSet<IpAddr>> = BTreeMap::new();
        for group in &self.plan.groups {
            let id = GroupId::of(&group.name);
            let holder = self.others.holder(id);
            if self.active.contains(&group.name) {
                self.last_holders.remove(&id);
            } else {
                holders.extend(holder);
                // Who has handed it over may have something to say until another one has it.
                self.last_holders.extend(holder.map(|holder| (id, holder)));
                let last = self.last_holders.get(&id).copied();
                elsewhere.entry(last).or_default().extend(addresses(group));
            }
        }
        // What was told before this director led last is older than what it knows itself.
        let is_old = |peer: Peer, told: &Dated<State>| {
            !holders.contains(&peer) && self.led_since.is_some_and(|since| told.at < since)
        };
        let known = Peer::all(heard.len()).zip(&heard).map(|(peer, heard)| match heard {
            Heard::State(told) if !is_active && is_old(peer, told) => Heard::Nothing,
            heard => heard.clone(),
        });
        let (chosen, mut followed) = choose(&known.collect::<Vec<_>>(), &holders, self.followed);
        if is_active && chosen != self.followed {
            followed = Heard::Unknown;
        }
        self.followed = chosen;
        let elsewhere = elsewhere.into_iter().filter(|(last, _)| is_active || *last != chosen);
        let elsewhere = elsewhere.map(|(last, vips)| Elsewhere {
            director: last.map(|peer| self.others.name(peer).to_owned()),
            vips,
            latest: last.and_then(|peer| match heard.get(peer.index()) {
                Some(Heard::State(latest)) => Some(Arc::clone(latest)),
                _ => None,
            }),
        });
        Part { is_active, followed, elsewhere: elsewhere.collect() }
    }
}
