//! What can be told of the cluster, beside what the thread that beats knows.

use super::Cluster;
use crate::cluster::pulse::{DesiredStatus, Order, Status};
use crate::cluster::reach::Peer;
use crate::cluster::state::{Exchange, Heard};
use crate::cluster::sync::view::{Received, Sent, View};

impl Cluster {
    /// `None` where the thread that beats has ended.
    pub(in crate::runtime) async fn describe(&self) -> Option<Status> {
        let mut status = self.ask(Order::Describe).await?;
        for group in &mut status.groups {
            group.takeovers = self.takeovers.get(&group.name).copied().unwrap_or_default();
        }
        status.synchronisation = self.synchronisation();
        let (replication, exchange) = (self.replication.as_ref(), self.exchange.as_ref());
        status.refused_connections =
            replication.map(|replication| replication.status.borrow().refused()).unwrap_or_default();
        status.refused_state = exchange.map(Exchange::refused).unwrap_or_default();
        status.desired = self.desired();
        Some(status)
    }

    fn synchronisation(&self) -> Option<Vec<View>> {
        let (replication, exchange) = (self.replication.as_ref()?, self.exchange.as_ref()?);
        let told = replication.status.borrow().clone();
        let (addresses, heard, own) = (self.others.addresses(), exchange.look(), exchange.own());
        let own_version = own.borrow().as_ref().map(|own| own.version);
        let views = Peer::all(self.others.count()).zip(&told.peers).map(|(peer, status)| View {
            node: self.others.name(peer).to_owned(),
            address: addresses.borrow().to(peer).map(|address| address.to_string()),
            sends: self.is_active(),
            receives: self.others.holds_anything(peer) || status.receiver.services > 0,
            sent: Sent { state_version: own_version, ..Sent::of(&status.sender) },
            received: Received {
                state_version: match heard.get(peer.index()) {
                    Some(Heard::State(dated)) => Some(dated.version),
                    _ => None,
                },
                ..Received::of(status)
            },
        });
        Some(views.collect())
    }

    /// Whose desired state is in force.
    fn desired(&self) -> Option<DesiredStatus> {
        let exchange = self.exchange.as_ref()?;
        let (node, dated) = match self.followed.filter(|_| !self.is_active()) {
            Some(peer) => match exchange.look().into_iter().nth(peer.index())? {
                Heard::State(dated) => (Some(self.others.name(peer).to_owned()), dated),
                Heard::Nothing | Heard::Unknown => return None,
            },
            None => (None, exchange.own().borrow().clone()?),
        };
        let age = u64::try_from(dated.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(DesiredStatus { node, version: dated.version, age_milliseconds: age })
    }
}
