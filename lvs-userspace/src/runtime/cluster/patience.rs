//! From when on this director may hold a group: see [`readiness`] for the rule.

use std::time::Duration;

use tracing::warn;

use super::Cluster;
use super::readiness::{self, Come};
use crate::cluster::identity::GroupId;
use crate::cluster::pulse::Order;
use crate::cluster::reach::Peer;
use crate::cluster::state::{Exchange, Heard};

/// How long the connections and the desired state of others are waited for, after the time in which it should have been heard.
pub(super) const STATE_LIMIT: Duration = Duration::from_secs(60);

impl Cluster {
    /// What has come from the others.
    pub(super) fn come(&self) -> Vec<Come> {
        let heard = self.exchange.as_ref().map(Exchange::look).unwrap_or_default();
        let told = self.replication.as_ref().map(|replication| replication.status.borrow().clone());
        let peers = Peer::all(self.others.count());
        let come = peers.map(|peer| {
            let receiver =
                told.as_ref().and_then(|told| told.peers.get(peer.index())).map(|peer| peer.receiver);
            let receiver = receiver.unwrap_or_default();
            let heard = heard.get(peer.index()).unwrap_or(&Heard::Unknown);
            Come {
                holds: self.others.holds_anything(peer),
                is_followed: receiver.is_following,
                has_connections: receiver.is_complete,
                is_known: !matches!(heard, Heard::Unknown),
                has_state: matches!(heard, Heard::State(_)),
            }
        });
        come.collect()
    }

    pub(super) fn be_ready(&mut self) {
        self.is_ready = true;
        for group in &self.plan.groups {
            self.pulse.order(Order::Ready { group: GroupId::of(&group.name), is_ready: true });
        }
    }

    /// The state is not complete after the time in which others would have been heard. Another director that is
    /// telling it takes the time it takes, within limits; one that has died meanwhile is not waited for.
    pub(super) fn be_ready_at_last(&mut self) {
        let now = tokio::time::Instant::now();
        let is_coming = readiness::is_coming(&self.come());
        if is_coming && now < self.not_after {
            self.ready_at_last = now + Duration::from_secs(1);
            return;
        }
        if is_coming {
            let text = "not all connections, or not the desired state, have come in time: this director would serve without the rest";
            warn!("{text}");
            self.reports.push_back(self.watched.is_incomplete(text));
        }
        self.be_ready();
    }
}
