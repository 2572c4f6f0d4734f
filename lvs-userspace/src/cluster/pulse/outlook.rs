//! What the rest of the agent has to know of the other directors, without asking.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::cluster::identity::{GroupId, NodeId};

/// An address that was not seen for so long is given up, if the node has another one.
const STALE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Who claims each group for the latest term, as far as is known here.
    pub holders: BTreeMap<GroupId, NodeId>,
    /// Members that are heard.
    pub alive: BTreeSet<NodeId>,
    /// From where the nodes send what goes to everybody on a network.
    pub sources: BTreeMap<NodeId, Vec<SocketAddr>>,
    /// Names of members and of paths on which they were heard, and have been silent for the warning time; until they
    /// have been heard there for a while.
    pub silent: BTreeSet<(String, String)>,
}

/// Where beats came from by multicast and broadcast. Pure.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(BTreeMap<NodeId, BTreeMap<usize, (SocketAddr, Duration)>>);

impl Sources {
    /// A beat that nobody can have recorded came from this address on this path.
    pub(super) fn hear(&mut self, node: NodeId, path: usize, from: SocketAddr, now: Duration) {
        self.0.entry(node).or_default().insert(path, (from, now));
    }

    /// By path; of each path the latest.
    pub(super) fn of(&self, node: NodeId, now: Duration) -> Vec<SocketAddr> {
        let known = self.0.get(&node).into_iter().flat_map(BTreeMap::values);
        let newest = known.clone().map(|(_, seen)| *seen).max();
        let is_fresh = |seen: Duration| Some(seen) == newest || now.saturating_sub(seen) < STALE;
        known.filter(|(_, seen)| is_fresh(*seen)).map(|(from, _)| *from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_address_of_each_path_counts_while_it_is_used() {
        let (mut sources, node) = (Sources::default(), NodeId(1));
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let [first, moved, other] = ["10.0.0.1:694", "10.0.0.7:694", "10.1.0.1:694"].map(at);
        assert_eq!(sources.of(node, Duration::ZERO), []);
        sources.hear(node, 3, other, Duration::from_secs(100));
        sources.hear(node, 1, first, Duration::from_secs(101));
        assert_eq!(sources.of(node, Duration::from_secs(102)), [first, other]);
        sources.hear(node, 1, moved, Duration::from_secs(103));
        assert_eq!(sources.of(node, Duration::from_secs(104)), [moved, other]);
        sources.hear(node, 3, other, Duration::from_secs(120));
        assert_eq!(sources.of(node, Duration::from_secs(121)), [other], "the first path has failed");
        assert_eq!(sources.of(node, Duration::from_secs(500)), [other], "rather this one than none");
    }
}
