//! The cluster, where the configuration has one: the thread that beats, and the tasks that do its work.

mod conflicts;
mod describe;
mod desired;
mod digest;
mod kept;
mod left;
mod operate;
mod others;
mod part;
mod patience;
mod promises;
mod question;
mod readiness;
mod replication;
mod report;
mod settings;
mod start;
mod steward;
mod telling;
mod terms;
#[cfg(test)]
mod versions;
mod watched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lvs_common::address::Address;
use lvs_common::service::ServiceKey;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Error;
use super::store::State;
use crate::alert::{Course, Topic};
use crate::cluster::fitness::Tracker;
use crate::cluster::identity::GroupId;
use crate::cluster::keys::Keyring;
use crate::cluster::pulse::{Order, Pulse};
use crate::cluster::reach::Peer;
use crate::cluster::state::Exchange;
use crate::cluster::sync::{Active, Directory};
use crate::cluster::takeover::Takeover;
use crate::cluster::vrrp::Progress;
use crate::config::model::{Cluster as Plan, Group};
use crate::control::Snapshot;

pub(super) use desired::{Desired, Own};
pub(super) use left::leases_left;
pub use operate::Wish;
use others::Others;
pub(super) use part::Part;
use replication::{Keys, Replication};
pub(super) use report::Report;
pub use settings::new_life;
pub(super) use steward::Turn;
use watched::Watched;

/// Between two looks at what nobody says by itself.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

pub(super) struct Cluster {
    plan: Arc<Plan>,
    pulse: Pulse,
    takeover: Arc<Takeover>,
    steward: JoinHandle<()>,
    progress: Arc<Progress>,
    tracker: Tracker,
    turns: mpsc::UnboundedReceiver<Turn>,
    keys: Keys,
    others: Others,
    /// `None` where there is no way to tell others of connections.
    replication: Option<Replication>,
    /// The same for the desired state.
    exchange: Option<Exchange<State>>,
    /// Whose desired state is in force here.
    followed: Option<Peer>,
    /// Of groups that this director does not hold.
    last_holders: BTreeMap<GroupId, Peer>,
    /// Since when this director has held a group, or had when it held one last.
    led_since: Option<Instant>,
    /// Names of the groups that this director is active for.
    active: BTreeSet<String>,
    /// How often it has become so, by group.
    takeovers: BTreeMap<String, u64>,
    /// Not before all connections have come may a group be asked for, unless nobody tells any.
    is_ready: bool,
    ready_at_last: tokio::time::Instant,
    /// Then in any case.
    not_after: tokio::time::Instant,
    /// What the checks say of each group's services, in the order of the plan: see [`Tracker::fitness`].
    scores: Vec<u16>,
    /// A planned restart was granted.
    is_held: bool,
    look: tokio::time::Interval,
    watched: Watched,
    /// What was seen, and is yet to be said.
    reports: VecDeque<Report>,
}

impl Cluster {
    /// Where the agent's main task says that it is at work.
    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// What the checks say of the services at these addresses, where they are held here or not.
    pub(super) fn score(&mut self, score: impl Fn(&BTreeSet<IpAddr>, bool) -> u16) {
        let groups = self.plan.groups.iter();
        let scores: Vec<u16> =
            groups.map(|group| score(&addresses(group), self.active.contains(&group.name))).collect();
        if scores != self.scores {
            self.scores = scores;
            self.tell_fitness();
        }
    }

    /// What has changed; `None` when nothing will any more. Also passes on how fit this director is.
    pub(super) async fn changed(&mut self) -> Option<Turn> {
        loop {
            let waits = !self.is_ready;
            if let Some(report) = self.reports.pop_front() {
                return Some(Turn::Told(report));
            }
            tokio::select! {
                // The desired state is taken in before this director is ready to be active.
                biased;
                turn = self.turns.recv() => {
                    match &turn {
                        Some(Turn::Active { group, .. }) => {
                            if self.active.is_empty() {
                                self.led_since = Some(Instant::now());
                            }
                            self.active.insert(group.clone());
                            *self.takeovers.entry(group.clone()).or_default() += 1;
                        }
                        Some(Turn::Standby { group }) => drop(self.active.remove(group)),
                        Some(Turn::Told(report)) => self.watched.hear(report),
                        Some(Turn::Held { .. } | Turn::Desired | Turn::Others) | None => {}
                    }
                    return turn;
                }
                () = self.others.changed() => {
                    let is_new = self.others.learn();
                    self.reports.extend(self.others.take_reports());
                    if is_new {
                        return Some(Turn::Others);
                    }
                }
                () = changed(self.exchange.as_mut()) => return Some(Turn::Desired),
                () = self.tracker.changed() => self.tell_fitness(),
                _ = self.look.tick() => self.look_around().await,
                () = told(self.replication.as_mut()), if waits => {}
                () = tokio::time::sleep_until(self.ready_at_last), if waits => self.be_ready_at_last(),
            }
            if !self.is_ready && readiness::is_complete(&self.come(), self.is_active()) {
                self.be_ready();
            }
        }
    }

    /// Sees what changes without a notice.
    async fn look_around(&mut self) {
        // A thread that does not answer has a watchdog.
        let Ok(Some(status)) = timeout(LOOK_AGAIN, self.describe()).await else { return };
        let is_complete = readiness::is_complete(&self.come(), self.is_active());
        let reports = self.watched.look(&status, is_complete);
        for Report { text, concerns } in &reports {
            // Who holds a group is said in the log of that director.
            match concerns.iter().find(|concern| concern.topic == Topic::Drift).map(|concern| concern.course)
            {
                Some(Course::Begins) => warn!("{text}"),
                Some(Course::Ends | Course::Happens) => info!("{text}"),
                None => {}
            }
        }
        self.reports.extend(reports);
    }

    /// What the maps hold has changed, or who is active.
    pub(super) fn replan(&self, snapshot: &Snapshot) {
        let Some(replication) = &self.replication else { return };
        let mut active = BTreeMap::new();
        for group in &self.plan.groups {
            let who = match self.others.holder(GroupId::of(&group.name)) {
                _ if self.active.contains(&group.name) => Active::Here,
                Some(peer) => Active::At(peer),
                None => Active::Unknown,
            };
            active.extend(group.addresses.iter().map(|address| (Address::from(address.address), who)));
        }
        let who = |service: &ServiceKey| active.get(&service.address).copied().unwrap_or(Active::Unknown);
        replication.replan(Directory::with(snapshot, who));
    }

    /// Through which the others are told this one's desired state, if they can be.
    pub(super) fn own(&self) -> Option<Own> {
        self.exchange.as_ref().map(Exchange::own)
    }

    /// The name of the node whose desired state is in force here.
    pub(super) fn followed(&self) -> &str {
        self.followed.map_or("", |peer| self.others.name(peer))
    }

    /// Whether any group is held here.
    pub(super) fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The groups that are held here, by the indices of their leases: 1 for the first.
    pub(super) fn held(&self) -> BTreeSet<u8> {
        let numbered = (1..).zip(&self.plan.groups);
        numbered.filter(|(_, group)| self.active.contains(&group.name)).map(|(lease, _)| lease).collect()
    }

    /// The key file again, so that keys can change while it runs: [`Self::use_keys`].
    pub(super) fn read_keys(&self) -> Result<Keyring, Error> {
        Keyring::load(&self.plan.key_file).map_err(|error| Error::Cluster(error.to_string()))
    }

    pub(super) fn use_keys(&self, keys: Keyring) {
        self.keys.set(keys.clone());
        self.pulse.order(Order::Keys(keys));
    }

    fn tell_fitness(&self) {
        for (group, score) in self.plan.groups.iter().zip(&self.scores) {
            let fitness = self.tracker.fitness(*score);
            self.pulse.order(Order::Fitness { group: GroupId::of(&group.name), fitness });
        }
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (answer, received) = oneshot::channel();
        self.pulse.order(order(answer));
        received.await.ok()
    }
}

/// Of a group.
pub(super) fn addresses(group: &Group) -> BTreeSet<IpAddr> {
    group.addresses.iter().map(|address| address.address).collect()
}

async fn changed(exchange: Option<&mut Exchange<State>>) {
    match exchange {
        Some(exchange) => exchange.changed().await,
        None => std::future::pending().await,
    }
}

/// Returns when something has come from another director.
async fn told(replication: Option<&mut Replication>) {
    let is_there = match replication {
        Some(replication) => replication.status.changed().await.is_ok(),
        None => false,
    };
    if !is_there {
        std::future::pending::<()>().await;
    }
}
