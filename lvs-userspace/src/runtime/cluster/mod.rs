//! The cluster, where the configuration has one: the thread that beats, and the tasks that do its work.

mod desired;
mod replication;
mod steward;
mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lvs_common::address::Address;
use lvs_common::lease::Lease;
use lvs_common::limits;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::Error;
use super::store::State;
use crate::cluster::election::{GroupSettings, Inherited, Refused, Settings};
use crate::cluster::fitness::Tracker;
use crate::cluster::identity::{GroupId, NodeId};
use crate::cluster::keys::Keyring;
use crate::cluster::pulse::{Order, Parts, Pulse, Status};
use crate::cluster::state::{self, Exchange, Heard};
use crate::cluster::sync::Directory;
use crate::cluster::takeover::{self, Takeover, Timing};
use crate::cluster::transport::Transport;
use crate::cluster::vrrp::Progress;
use crate::config::model::{Cluster as Plan, Failback, Service};
use crate::control::Snapshot;
use crate::dataplane::{FlowReader, FlowWriter, LeaseWriter};
use crate::network::Network;

pub(super) use desired::{Desired, Own};
use replication::{Keys, Replication};
pub(super) use steward::Turn;
use steward::{Charge, Steward, probing};
use terms::Terms;

/// How long the connections and the desired state of another director are waited for, after the time in which it should have been heard.
const STATE_LIMIT: Duration = Duration::from_secs(60);
/// The desired state of another director is in force for so many dead times after it was heard last.
const FOLLOWED: u32 = 4;
/// The same where dead times are short.
const FOLLOWED_AT_LEAST: Duration = Duration::from_secs(2);
/// How long others may still send here what is another director's now: a neighbour table takes no news for a second
/// after the last, and the other director announces itself again after a second. Without the fence the kernel would
/// pass a nat server's answers on as they are, and the client would reset the connection.
const LINGER: Duration = Duration::from_millis(1500);
/// How long a hold, or a handing over, is waited for in dead times.
const PATIENCE: u32 = 2;

pub(super) struct Cluster {
    plan: Arc<Plan>,
    pulse: Pulse,
    takeover: Arc<Takeover>,
    steward: JoinHandle<()>,
    progress: Arc<Progress>,
    tracker: Tracker,
    turns: mpsc::UnboundedReceiver<Turn>,
    keys: Keys,
    /// `None` where the directors have no addresses to tell each other connections at.
    replication: Option<Replication>,
    /// The same for the desired state.
    exchange: Option<Exchange<State>>,
    /// Something was heard of the other director's desired state, be it that it has none.
    has_heard: bool,
    /// The name of the node that may be followed.
    other: String,
    /// Names of the groups that this director is active for.
    active: BTreeSet<String>,
    /// Not before all connections have come may a group be asked for, unless nobody tells any.
    is_ready: bool,
    ready_at_last: tokio::time::Instant,
    /// Then in any case.
    not_after: tokio::time::Instant,
    /// Real servers that are up, as far as they make this director fitter.
    healthy: u16,
    /// A planned restart was granted.
    is_held: bool,
}

/// What an earlier life has left, looked at before packets meet this one's configuration.
pub(super) struct Left {
    directory: PathBuf,
    terms: Terms,
    inherited: Vec<Inherited>,
}

/// Ends the leases that this configuration has for another group or none. Must come before its services.
pub(super) fn leases_left(plan: &Plan, instance: &str, writer: &LeaseWriter) -> Result<Left, Error> {
    let directory = Path::new("/run").join(instance);
    let terms = Terms::open(&directory);
    let mut inherited = Vec::new();
    for index in (1..limits::LEASES).filter_map(|index| u8::try_from(index).ok()) {
        let group = plan.groups.get(usize::from(index) - 1);
        let term = group.and_then(|group| terms.of(&group.name)).filter(|term| term.lease == index);
        let lease = writer.read(index)?;
        match (group, term) {
            (Some(group), Some(term)) => inherited.push(Inherited {
                group: GroupId::of(&group.name),
                epoch: term.epoch,
                ends: Duration::from_nanos(lease.ends),
            }),
            _ if lease != Lease::NONE => writer.write(index, Lease::NONE)?,
            _ => {}
        }
    }
    Ok(Left { directory, terms, inherited })
}

impl Cluster {
    pub(super) async fn start(
        plan: Arc<Plan>,
        left: Left,
        writer: LeaseWriter,
        network: Network,
        flows: (FlowReader, FlowWriter),
        snapshot: &Snapshot,
        healthy: u16,
    ) -> Result<Self, Error> {
        let name = match &plan.node {
            Some(name) => name.clone(),
            None => {
                nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
            }
        };
        let known: Vec<&str> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
        let Some(node) = plan.node(&name) else {
            return Err(Error::Cluster(format!(
                "this director is called {name:?}, and `cluster.nodes` has {}: give it one of their names (`cluster.node`, or the host name)",
                known.join(", ")
            )));
        };
        let own = NodeId::of(&node.name);
        let keyring = Keyring::load(&plan.key_file).map_err(|error| Error::Cluster(error.to_string()))?;
        let transport = Transport::open(&plan, own).map_err(|error| Error::Cluster(error.to_string()))?;
        let (takeover, notices) =
            Takeover::open(network.clone(), &left.directory, plan.groups.clone(), Timing::default()).await?;
        let takeover = Arc::new(takeover);
        let now = Instant::now();
        let held: Vec<GroupId> = {
            let monotonic = Duration::from_nanos(crate::dataplane::monotonic_nanoseconds());
            left.inherited.iter().filter(|left| left.ends > monotonic).map(|left| left.group).collect()
        };
        takeover.sweep(&held.iter().copied().collect()).await?;

        let mut interfaces = plan.track.interfaces.clone();
        interfaces.extend(
            plan.groups.iter().flat_map(|group| &group.addresses).map(|address| address.interface.clone()),
        );
        interfaces.sort();
        interfaces.dedup();
        let tracker = Tracker::start(&plan.track, interfaces, plan.timing.deadtime, network)?;

        let settings = settings(&plan, own);
        if settings.is_weak() {
            warn!(
                "two directors without a voter: while neither hears the other, only the question for the addresses on the service network keeps them apart; a voter (`cluster.voter`, `lvsd witness`) decides it"
            );
        }
        let (tasks, received) = mpsc::unbounded_channel();
        let (turns_sender, turns) = mpsc::unbounded_channel();
        let progress = Progress::new(now);
        let nodes: BTreeMap<NodeId, String> = plan
            .nodes
            .iter()
            .map(|node| &node.name)
            .chain(plan.voter.iter().map(|voter| &voter.name))
            .map(|name| (NodeId::of(name), name.clone()))
            .collect();
        let groups = (1..).zip(&plan.groups);
        let groups: BTreeMap<GroupId, (String, u8)> =
            groups.map(|(index, group)| (GroupId::of(&group.name), (group.name.clone(), index))).collect();
        let charges = plan.groups.iter().map(|group| {
            let id = GroupId::of(&group.name);
            (id, Charge { group: group.clone(), lease: groups[&id].1 })
        });
        let charges = charges.collect();
        let pulse = Pulse::start(Parts {
            settings,
            inherited: left.inherited,
            nodes: nodes.clone(),
            groups,
            writer,
            transport,
            keys: keyring.clone(),
            warntime: plan.timing.warntime,
            watchdog: plan.timing.watchdog,
            progress: Arc::clone(&progress),
            tasks,
        });
        let pulse =
            pulse.map_err(|error| Error::Cluster(format!("cannot start the thread that beats: {error}")))?;
        let steward = Steward {
            takeover: Arc::clone(&takeover),
            pulse: pulse.handle(),
            charges,
            nodes,
            terms: left.terms,
            probing: probing(plan.timing.deadtime),
            turns: turns_sender,
        };
        let keys = Keys::new(keyring);
        let ends = replication::ends(&plan, node);
        let exchange = match ends {
            Some((here, there)) => {
                let keys = keys.clone();
                let patience = (FOLLOWED * plan.timing.deadtime).max(FOLLOWED_AT_LEAST);
                let settings =
                    state::Settings { here, there, keys: Arc::new(move || keys.current()), patience };
                let started = Exchange::start(settings).await;
                Some(started.map_err(|error| {
                    Error::Cluster(format!("cannot tell the desired state at {here}, over TCP: {error}"))
                })?)
            }
            None => None,
        };
        let replication = match ends {
            Some(ends) => {
                let directory = Directory::of(snapshot, |_| false);
                let started = Replication::start(ends, keys.clone(), flows, directory);
                Some(started.map_err(|error| {
                    Error::Cluster(format!("cannot tell connections at {}: {error}", ends.0))
                })?)
            }
            None => {
                warn!(
                    "the nodes have no addresses (`cluster.nodes`): connections and the desired state are not told to the other director: it takes over without them"
                );
                None
            }
        };
        let ready_at_last = tokio::time::Instant::now() + plan.timing.initdead;
        let steward = tokio::spawn(async move { steward.run(received, &held).await });
        tokio::spawn(takeover::log(notices));
        let other = plan.nodes.iter().map(|other| &other.name).find(|other| **other != name);
        let other = other.cloned().unwrap_or_default();
        let mut cluster = Self {
            plan,
            pulse,
            takeover,
            steward,
            progress,
            tracker,
            turns,
            keys,
            replication,
            exchange,
            has_heard: false,
            other,
            active: BTreeSet::new(),
            is_ready: false,
            ready_at_last,
            not_after: ready_at_last + STATE_LIMIT,
            healthy,
            is_held: false,
        };
        cluster.tell_fitness();
        if cluster.replication.is_none() {
            cluster.be_ready();
        }
        info!(node = name, groups = cluster.plan.groups.len(), "takes part in the cluster");
        Ok(cluster)
    }

    /// The agent's main task is at work, with so many real servers that are up.
    pub(super) fn progress(&mut self, healthy: u16) {
        self.progress.made(Instant::now());
        if healthy != self.healthy {
            self.healthy = healthy;
            self.tell_fitness();
        }
    }

    /// What has changed; `None` when nothing will any more. Also passes on how fit this director is.
    pub(super) async fn changed(&mut self) -> Option<Turn> {
        loop {
            let waits = !self.is_ready;
            // Who holds a group already follows nobody.
            let has_state = self.has_heard || self.is_active();
            tokio::select! {
                // The desired state is taken in before this director is ready to be active.
                biased;
                turn = self.turns.recv() => {
                    match &turn {
                        Some(Turn::Active { group, .. }) => drop(self.active.insert(group.clone())),
                        Some(Turn::Standby { group }) => drop(self.active.remove(group)),
                        Some(Turn::Held { .. } | Turn::Told(_) | Turn::Desired) | None => {}
                    }
                    return turn;
                }
                () = changed(self.exchange.as_mut()) => {
                    self.has_heard = true;
                    return Some(Turn::Desired);
                }
                () = self.tracker.changed() => self.tell_fitness(),
                () = complete(self.replication.as_mut()), if waits && has_state => self.be_ready(),
                () = tokio::time::sleep_until(self.ready_at_last), if waits => self.be_ready_at_last(),
            }
        }
    }

    fn be_ready(&mut self) {
        self.is_ready = true;
        for group in &self.plan.groups {
            self.pulse.order(Order::Ready { group: GroupId::of(&group.name), is_ready: true });
        }
    }

    /// The state is not complete after the time in which others would have been heard. Another director that is
    /// telling it takes the time it takes, within limits; one that has died meanwhile is not waited for.
    fn be_ready_at_last(&mut self) {
        let receiver = self.replication.as_ref().map(|replication| replication.status.borrow().receiver);
        let is_told = receiver.is_some_and(|receiver| receiver.is_following);
        let is_heard = self.exchange.as_ref().is_some_and(Exchange::hears);
        let now = tokio::time::Instant::now();
        if (is_told || is_heard) && now < self.not_after {
            self.ready_at_last = now + Duration::from_secs(1);
            return;
        }
        if is_heard || receiver.is_some_and(|receiver| receiver.sessions > 0) {
            warn!(
                "not all connections, or not the desired state, have come in time: this director would serve without the rest"
            );
        }
        self.be_ready();
    }

    /// What the maps hold has changed, or who is active.
    pub(super) fn replan(&self, snapshot: &Snapshot) {
        let Some(replication) = &self.replication else { return };
        let mine: BTreeSet<Address> = self
            .plan
            .groups
            .iter()
            .filter(|group| self.active.contains(&group.name))
            .flat_map(|group| &group.addresses)
            .map(|address| Address::from(address.address))
            .collect();
        replication.replan(Directory::of(snapshot, |service| mine.contains(&service.address)));
    }

    /// Through which the other director is told this one's desired state, if it can be.
    pub(super) fn own(&self) -> Option<Own> {
        self.exchange.as_ref().map(Exchange::own)
    }

    /// What is known of the other director's desired state.
    pub(super) fn heard(&mut self) -> Heard<State> {
        self.exchange.as_mut().map_or(Heard::Unknown, Exchange::heard)
    }

    /// The name of the node whose desired state may be in force here.
    pub(super) fn other(&self) -> &str {
        &self.other
    }

    /// What is served for each group, in a number, so that each director sees where another's differs.
    pub(super) fn tell_digests(&self, services: &[Service]) {
        for group in &self.plan.groups {
            let digest = digest(
                services
                    .iter()
                    .filter(|service| group.addresses.iter().any(|address| address.address == service.vip)),
            );
            self.pulse.order(Order::Digest { group: GroupId::of(&group.name), digest });
        }
    }

    /// Whether any group is held here.
    pub(super) fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The key file again, so that keys can change while it runs: [`Self::use_keys`].
    pub(super) fn read_keys(&self) -> Result<Keyring, Error> {
        Keyring::load(&self.plan.key_file).map_err(|error| Error::Cluster(error.to_string()))
    }

    pub(super) fn use_keys(&self, keys: Keyring) {
        self.keys.set(keys.clone());
        self.pulse.order(Order::Keys(keys));
    }

    pub(super) async fn describe(&self) -> Option<Status> {
        self.ask(Order::Describe).await
    }

    /// `None`: all groups.
    pub(super) async fn operate(&self, what: Wish, group: Option<&str>) -> Result<(), Error> {
        let groups: Vec<&str> = match group {
            Some(name) => vec![name],
            None => self.plan.groups.iter().map(|group| group.name.as_str()).collect(),
        };
        for name in groups {
            let group = GroupId::of(name);
            let done = self.ask(|answer| match what {
                Wish::Standby => Order::Standby { group, answer },
                Wish::Release => Order::Release { group, answer },
                Wish::Take => Order::Take { group, answer },
            });
            match done.await {
                Some(Ok(())) => {}
                Some(Err(refused)) => {
                    return Err(Error::Cluster(format!("group {name}: {}", reason(refused))));
                }
                None => return Err(Error::Cluster("the thread that beats has ended".to_owned())),
            }
        }
        Ok(())
    }

    /// Asks the others to wait for the next start with what is held. Whether they do.
    pub(super) async fn hold(&mut self) -> bool {
        let length = self.plan.timing.hold;
        let asked = self.ask(|answer| Order::Hold { length, answer }).await;
        if asked != Some(Ok(())) {
            return false;
        }
        let granted = timeout(PATIENCE * self.plan.timing.deadtime, async {
            // Each group for itself: one that is not waited for would be taken over, and so all are handed over.
            let mut waiting = self.active.clone();
            while !waiting.is_empty() {
                match self.changed().await {
                    Some(Turn::Held { group }) => drop(waiting.remove(&group)),
                    Some(_) => {}
                    None => return false,
                }
            }
            true
        });
        self.is_held = granted.await.unwrap_or(false);
        self.is_held
    }

    /// Hands everything over, unless the others wait for the next start. When this returns, nothing comes here any
    /// more that the fence would have to stop.
    pub(super) async fn end(self) {
        let hands_over = !self.is_held
            && self.is_active()
            && self.describe().await.is_some_and(|status| status.peers.iter().any(|peer| peer.is_alive));
        let Self { pulse, takeover, steward, is_held, plan, .. } = self;
        if !is_held {
            let (answer, done) = oneshot::channel();
            pulse.order(Order::Leave(answer));
            if timeout(PATIENCE * plan.timing.deadtime, done).await.is_err() {
                warn!("nothing was handed over: the others take it after the dead time");
            }
        }
        // Joins the thread; then the steward has nobody to do anything for.
        drop(pulse);
        if let Err(error) = steward.await {
            error!(%error, "addresses may be left behind");
        }
        if hands_over {
            tokio::time::sleep(LINGER).await;
        }
        if !is_held && let Some(takeover) = Arc::into_inner(takeover) {
            takeover.close();
        }
    }

    fn tell_fitness(&self) {
        let fitness = self.tracker.fitness(self.healthy);
        for group in &self.plan.groups {
            self.pulse.order(Order::Fitness { group: GroupId::of(&group.name), fitness });
        }
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (answer, received) = oneshot::channel();
        self.pulse.order(order(answer));
        received.await.ok()
    }
}

async fn changed(exchange: Option<&mut Exchange<State>>) {
    match exchange {
        Some(exchange) => exchange.changed().await,
        None => std::future::pending().await,
    }
}

/// Returns when all connections that another director had have come.
async fn complete(replication: Option<&mut Replication>) {
    let complete = match replication {
        Some(replication) => replication.status.wait_for(|status| status.receiver.is_complete).await.is_ok(),
        None => false,
    };
    if !complete {
        std::future::pending::<()>().await;
    }
}

/// What an operator wants of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    Standby,
    Release,
    Take,
}

const fn reason(refused: Refused) -> &'static str {
    match refused {
        Refused::Unknown => "the cluster has no such group (`lvsctl cluster` lists them)",
        Refused::Nobody => {
            "no other director is ready to take it (`lvsctl cluster`); `release` gives it up all the same"
        }
        Refused::NotHeld => "it is not held here",
        Refused::Unfit => "this director is not ready or not fit (`lvsctl cluster`)",
    }
}

fn settings(plan: &Plan, own: NodeId) -> Settings {
    let timing = plan.timing;
    Settings {
        node: own,
        life: new_life(),
        peers: plan.nodes.iter().map(|node| NodeId::of(&node.name)).filter(|node| *node != own).collect(),
        voter: plan.voter.as_ref().map(|voter| NodeId::of(&voter.name)),
        keepalive: timing.keepalive,
        deadtime: timing.deadtime,
        initdead: timing.initdead,
        probing: probing(timing.deadtime).length(),
        failback: match plan.auto_failback {
            Failback::Off => None,
            Failback::After(delay) => Some(delay),
        },
        groups: plan
            .groups
            .iter()
            .map(|group| GroupSettings {
                group: GroupId::of(&group.name),
                order: group.order.iter().map(|name| NodeId::of(name)).collect(),
                fences: group.fence.is_some(),
            })
            .collect(),
    }
}

/// No two lives of one director have the same: the time, and what the kernel makes up for each process.
pub fn new_life() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RandomState::new().hash_one((time, std::process::id()))
}

/// Never 0, which stands for "not known". The same in every process of one build.
fn digest<'a>(services: impl Iterator<Item = &'a Service>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut services: Vec<_> = services.collect();
    services.sort_by_key(|service| (service.vip, service.port, service.protocol));
    for service in services {
        (service.vip, service.port, service.protocol, service.scheduler, service.track_always)
            .hash(&mut hasher);
        let mut servers: Vec<_> = service.real_servers.iter().collect();
        servers.sort_by_key(|server| (server.address, server.port));
        for server in servers {
            (server.address, server.port, server.weight, server.forward).hash(&mut hasher);
        }
    }
    hasher.finish() | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_say_the_same_in_another_order_have_one_digest() {
        let service = |servers: &str| {
            let text = format!(
                "{{version: 1, interfaces: [eth0], services: [{{name: a, vip: 10.0.0.3, port: 80, protocol: tcp, real_servers: [{servers}]}}]}}"
            );
            let config = crate::config::parse(&text, "test").unwrap();
            digest(config.services.iter())
        };
        let [one, other] =
            ["{address: 10.0.0.4}, {address: 10.0.0.5}", "{address: 10.0.0.5}, {address: 10.0.0.4}"];
        assert_eq!(service(one), service(other));
        assert_ne!(service(one), service("{address: 10.0.0.4, weight: 2}, {address: 10.0.0.5}"));
    }
}
