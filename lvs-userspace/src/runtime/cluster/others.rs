//! The other directors: which of them is active for what, and where they are told connections and the desired state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use super::report::Report;
use crate::cluster::identity::{GroupId, NodeId};
use crate::cluster::pulse::Outlook;
use crate::cluster::reach::{Addresses, Peer};
use crate::config::model::{Cluster as Plan, HeartbeatPath, Node};

pub(super) struct Others {
    nodes: Vec<(NodeId, String)>,
    /// Where this director is told; `None` where there is no way.
    here: Option<SocketAddr>,
    /// The file does not say where the others are: their beats do.
    learns: bool,
    addresses: watch::Sender<Arc<Addresses>>,
    outlook: watch::Receiver<Outlook>,
    /// As they were last; those of this director are not among them.
    holders: BTreeMap<GroupId, Peer>,
    /// Who was silent on which path then.
    silent: BTreeSet<(String, String)>,
    /// What was seen of that, and is yet to be said.
    reports: Vec<Report>,
}

impl Others {
    pub(super) fn new(plan: &Plan, own: &Node, outlook: watch::Receiver<Outlook>) -> Self {
        let others = plan.nodes.iter().filter(|node| node.name != own.name);
        let nodes: Vec<_> = others.clone().map(|node| (NodeId::of(&node.name), node.name.clone())).collect();
        let port = plan.port.checked_add(1);
        let socket = |address: &IpAddr| Some(SocketAddr::new(*address, port?));
        let here = match own.addresses.first() {
            Some(address) => socket(address),
            None => plan.paths.iter().find_map(wildcard).and_then(|any| socket(&any)),
        };
        let known = others.map(|node| node.addresses.first().and_then(socket).into_iter().collect());
        Self {
            nodes,
            here,
            learns: own.addresses.is_empty(),
            addresses: watch::Sender::new(Arc::new(Addresses(known.collect()))),
            outlook,
            holders: BTreeMap::new(),
            silent: BTreeSet::new(),
            reports: Vec::new(),
        }
    }

    pub(super) const fn here(&self) -> Option<SocketAddr> {
        self.here
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.nodes.iter().map(|(node, _)| *node).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|(_, name)| name.clone()).collect()
    }

    pub(super) fn name(&self, peer: Peer) -> &str {
        self.nodes.get(peer.index()).map_or("", |(_, name)| name)
    }

    pub(super) fn addresses(&self) -> watch::Receiver<Arc<Addresses>> {
        self.addresses.subscribe()
    }

    /// Which of them holds this group.
    pub(super) fn holder(&self, group: GroupId) -> Option<Peer> {
        self.holders.get(&group).copied()
    }

    pub(super) fn holds_anything(&self, peer: Peer) -> bool {
        self.holders.values().any(|holder| *holder == peer)
    }

    /// Returns when something is known that [`Self::learn`] has not taken in.
    pub(super) async fn changed(&mut self) {
        if self.outlook.changed().await.is_err() {
            // The thread that beats has ended; whoever ended it knows.
            std::future::pending().await
        }
    }

    /// Whether others hold something else than before.
    pub(super) fn learn(&mut self) -> bool {
        let outlook = self.outlook.borrow_and_update().clone();
        if self.learns
            && let Some(here) = self.here
        {
            let learned = Arc::new(addresses(&outlook, &self.nodes, here));
            if *self.addresses.borrow() != learned {
                for ((_, name), addresses) in self.nodes.iter().zip(&learned.0) {
                    info!(director = name, ?addresses, "is reached where its beats come from");
                }
                self.addresses.send_replace(learned);
            }
        }
        let peer =
            |node: &NodeId| Peer::all(self.count()).zip(&self.nodes).find(|(_, (other, _))| other == node);
        let holders =
            outlook.holders.iter().filter_map(|(group, node)| Some((*group, peer(node)?.0))).collect();
        let is_new = self.holders != holders;
        self.holders = holders;
        self.hear_paths(outlook.silent);
        is_new
    }

    /// Tells the log of paths that have fallen silent, or are heard again.
    fn hear_paths(&mut self, silent: BTreeSet<(String, String)>) {
        for (node, path) in self.silent.symmetric_difference(&silent) {
            let is_silent = silent.contains(&(node.clone(), path.clone()));
            let text = format!(
                "{node} is {} the path {path}",
                if is_silent { "silent on" } else { "heard again on" }
            );
            if is_silent {
                warn!("{text}")
            } else {
                info!("{text}")
            }
            self.reports.push(Report { text, concerns: Vec::new() });
        }
        self.silent = silent;
    }

    /// What there is to say of paths since the last call.
    pub(super) fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// For people who start a director that cannot tell what it knows.
    pub(super) fn warn(&self) {
        if self.here.is_none() {
            warn!(
                "the nodes have no addresses (`cluster.nodes`), and no path is by multicast or broadcast: neither connections nor the desired state are told to other directors, who take over without them"
            );
        }
    }
}

/// The address of every interface, of the version that the path speaks, if its beats tell where a node is.
fn wildcard(path: &HeartbeatPath) -> Option<IpAddr> {
    match path {
        HeartbeatPath::Multicast { group: IpAddr::V6(_), .. } => Some(Ipv6Addr::UNSPECIFIED.into()),
        HeartbeatPath::Multicast { group: IpAddr::V4(_), .. } | HeartbeatPath::Broadcast { .. } => {
            Some(Ipv4Addr::UNSPECIFIED.into())
        }
        HeartbeatPath::Serial { .. } => None,
    }
}

/// Where beats came from, at the port where connections are told.
fn addresses(outlook: &Outlook, nodes: &[(NodeId, String)], here: SocketAddr) -> Addresses {
    let of = |node: &NodeId| {
        let sources = outlook.sources.get(node).into_iter().flatten();
        let sources = sources.filter(|from| from.is_ipv4() == here.is_ipv4()).map(|from| {
            let mut to = *from;
            to.set_port(here.port());
            to
        });
        sources.collect()
    };
    Addresses(nodes.iter().map(|(node, _)| of(node)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn plan(nodes: &str, paths: &str) -> Plan {
        let file = format!(
            "{{version: 1, interfaces: [eth0], services: [], cluster: {{nodes: [{nodes}], paths: [{paths}], groups: [{{name: www, addresses: [{{address: 10.0.0.3, interface: eth0}}]}}]}}}}"
        );
        Plan::clone(config::parse(&file, "test").unwrap().cluster.as_ref().unwrap())
    }

    fn others(plan: &Plan, own: usize) -> (Others, watch::Sender<Outlook>) {
        let (sender, outlook) = watch::channel(Outlook::default());
        (Others::new(plan, &plan.nodes[own], outlook), sender)
    }

    fn sockets(others: &Others) -> Vec<Vec<String>> {
        let addresses = others.addresses().borrow().clone();
        addresses.0.iter().map(|all| all.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn nodes_with_addresses_are_reached_at_the_first() {
        let nodes = "{name: a, addresses: [10.0.0.1, 10.1.0.1]}, {name: b, addresses: [10.0.0.2, 10.1.0.2]}, {name: c, addresses: [10.0.0.4, 10.1.0.4]}";
        let (others, _outlook) = others(&plan(nodes, ""), 1);
        assert_eq!(others.here(), Some("10.0.0.2:695".parse().unwrap()));
        assert_eq!(sockets(&others), [["10.0.0.1:695"], ["10.0.0.4:695"]]);
        assert_eq!(others.names(), ["a", "c"]);
    }

    #[test]
    fn others_are_reached_where_their_beats_come_from() {
        let serial = "{type: serial, device: /dev/ttyS0}";
        let plan = plan("{name: a}, {name: b}", &format!("{serial}, {{type: broadcast, interface: eth1}}"));
        let (mut others, outlook) = others(&plan, 0);
        assert_eq!(others.here(), Some("0.0.0.0:695".parse().unwrap()));
        assert_eq!(sockets(&others), [Vec::<String>::new()]);
        for heard in ["10.1.0.2:694", "10.1.0.7:694"] {
            let from = vec!["[fe80::1%3]:694".parse().unwrap(), heard.parse().unwrap()];
            outlook.send_modify(|outlook| drop(outlook.sources.insert(NodeId::of("b"), from)));
            assert!(!others.learn(), "nobody holds anything");
            assert_eq!(sockets(&others), [[heard.replace("694", "695")]]);
        }
        let group = GroupId::of("www");
        for (holder, peer) in [("b", Some(Peer(0))), ("a", None)] {
            outlook.send_modify(|outlook| {
                outlook.holders.insert(group, NodeId::of(holder));
            });
            assert!(others.learn());
            assert_eq!(others.holder(group), peer, "{holder}");
        }
    }

    #[test]
    fn a_serial_line_alone_carries_beats_only() {
        let plan = plan("{name: a}, {name: b}", "{type: serial, device: /dev/ttyS0}");
        assert_eq!(others(&plan, 0).0.here(), None);
    }
    #[test]
    fn a_silent_path_is_told_once_and_once_again_when_it_is_heard() {
        let plan = plan("{name: a}, {name: b}", "{type: broadcast, interface: eth1}");
        let (mut others, outlook) = others(&plan, 0);
        let path = ("b".to_owned(), "by broadcast on eth1".to_owned());
        for (silent, expected) in [
            (true, vec!["b is silent on the path by broadcast on eth1"]),
            (true, vec![]),
            (false, vec!["b is heard again on the path by broadcast on eth1"]),
            (false, vec![]),
        ] {
            outlook
                .send_modify(|outlook| outlook.silent = silent.then(|| path.clone()).into_iter().collect());
            assert!(!others.learn(), "nobody holds anything");
            let told: Vec<String> = others.take_reports().into_iter().map(|report| report.text).collect();
            assert_eq!(told, expected);
        }
    }
}
