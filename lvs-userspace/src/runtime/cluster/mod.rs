//! The cluster, where the configuration has one: the thread that beats, and the tasks that do its work.

mod conflicts;
mod describe;
mod desired;
mod others;
mod readiness;
mod replication;
mod report;
mod steward;
mod terms;
mod watched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lvs_common::address::Address;
use lvs_common::lease::Lease;
use lvs_common::limits;
use lvs_common::service::ServiceKey;
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
use crate::cluster::pulse::{Order, Parts, Pulse};
use crate::cluster::reach::Peer;
use crate::cluster::state::{self, Exchange, Heard, choose};
use crate::cluster::sync::{Active, Directory};
use crate::cluster::takeover::{Takeover, Timing};
use crate::cluster::transport::Transport;
use crate::cluster::vrrp::Progress;
use crate::config::model::{Cluster as Plan, Failback, Service};
use crate::control::Snapshot;
use crate::dataplane::{FlowReader, FlowWriter, LeaseWriter};
use crate::network::Network;

pub(super) use desired::{Desired, Own};
use others::Others;
use readiness::Come;
use replication::{Keys, Replication};
pub(super) use report::Report;
pub(super) use steward::Turn;
use steward::{Charge, Steward, probing};
use terms::Terms;
use watched::Watched;

/// How long the connections and the desired state of others are waited for, after the time in which it should have been heard.
const STATE_LIMIT: Duration = Duration::from_secs(60);
/// The desired state of another director is in force for so many dead times after it was heard last.
const FOLLOWED: u32 = 4;
/// The same where dead times are short.
const FOLLOWED_AT_LEAST: Duration = Duration::from_secs(2);
/// How long others may still send here what is another director's now: a neighbour table takes no news for a second
/// after the last, and the other director announces itself again after a second. Without the fence the kernel would
/// pass a nat server's answers on as they are, and the client would reset the connection.
const LINGER: Duration = Duration::from_millis(1500);
/// Between two looks at what nobody says by itself.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
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
    others: Others,
    /// `None` where there is no way to tell others of connections.
    replication: Option<Replication>,
    /// The same for the desired state.
    exchange: Option<Exchange<State>>,
    /// Whose desired state is in force here.
    followed: Option<Peer>,
    /// Names of the groups that this director is active for.
    active: BTreeSet<String>,
    /// How often it has become so, by group.
    takeovers: BTreeMap<String, u64>,
    /// Not before all connections have come may a group be asked for, unless nobody tells any.
    is_ready: bool,
    ready_at_last: tokio::time::Instant,
    /// Then in any case.
    not_after: tokio::time::Instant,
    /// Real servers that are up, as far as they make this director fitter.
    healthy: u16,
    /// A planned restart was granted.
    is_held: bool,
    look: tokio::time::Interval,
    watched: Watched,
    /// What was seen, and is yet to be said.
    reports: VecDeque<Report>,
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
        tokio::spawn(conflicts::follow(notices, turns_sender.clone()));
        let steward = Steward {
            own: node.name.clone(),
            asks: BTreeMap::new(),
            takeover: Arc::clone(&takeover),
            pulse: pulse.handle(),
            charges,
            nodes,
            terms: left.terms,
            probing: probing(plan.timing.deadtime),
            turns: turns_sender,
        };
        let keys = Keys::new(keyring);
        let others = Others::new(&plan, node, pulse.outlook());
        others.warn();
        let exchange = others.here().map(|here| {
            let keys = keys.clone();
            let settings = state::Settings {
                here,
                peers: others.names(),
                addresses: others.addresses(),
                keys: Arc::new(move || keys.current()),
                patience: (FOLLOWED * plan.timing.deadtime).max(FOLLOWED_AT_LEAST),
            };
            Exchange::start(&settings).map_err(|error| {
                Error::Cluster(format!("cannot tell the desired state at {here}, over TCP: {error}"))
            })
        });
        let exchange = exchange.transpose()?;
        let replication = others.here().map(|here| {
            let directory = Directory::of(snapshot, |_| false);
            let peers = (others.names(), others.addresses());
            Replication::start(here, peers, keys.clone(), flows, directory)
                .map_err(|error| Error::Cluster(format!("cannot tell connections at {here}: {error}")))
        });
        let replication = replication.transpose()?;
        let ready_at_last = tokio::time::Instant::now() + plan.timing.initdead;
        let steward = tokio::spawn(async move { steward.run(received, &held).await });
        let watched =
            Watched::new(name.clone(), plan.groups.iter().map(|group| group.name.clone()).collect());
        let mut cluster = Self {
            plan,
            pulse,
            takeover,
            steward,
            progress,
            tracker,
            turns,
            keys,
            others,
            replication,
            exchange,
            followed: None,
            active: BTreeSet::new(),
            takeovers: BTreeMap::new(),
            is_ready: false,
            ready_at_last,
            not_after: ready_at_last + STATE_LIMIT,
            healthy,
            is_held: false,
            look: look_again(),
            watched,
            reports: VecDeque::new(),
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
            if let Some(report) = self.reports.pop_front() {
                return Some(Turn::Told(report));
            }
            tokio::select! {
                // The desired state is taken in before this director is ready to be active.
                biased;
                turn = self.turns.recv() => {
                    match &turn {
                        Some(Turn::Active { group, .. }) => {
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
                    if self.others.learn() {
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

    /// What has come from the others.
    fn come(&self) -> Vec<Come> {
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

    fn be_ready(&mut self) {
        self.is_ready = true;
        for group in &self.plan.groups {
            self.pulse.order(Order::Ready { group: GroupId::of(&group.name), is_ready: true });
        }
    }

    /// The state is not complete after the time in which others would have been heard. Another director that is
    /// telling it takes the time it takes, within limits; one that has died meanwhile is not waited for.
    fn be_ready_at_last(&mut self) {
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

    /// Sees what changes without a notice.
    async fn look_around(&mut self) {
        // A thread that does not answer has a watchdog.
        let Ok(Some(status)) = timeout(LOOK_AGAIN, self.describe()).await else { return };
        let is_complete = readiness::is_complete(&self.come(), self.is_active());
        self.reports.extend(self.watched.look(&status, is_complete));
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

    /// The desired state of the director that is to be followed, as far as it is known.
    pub(super) fn heard(&mut self) -> Heard<State> {
        let Some(exchange) = &mut self.exchange else { return Heard::Unknown };
        let groups = self.plan.groups.iter();
        let holders: Vec<Peer> =
            groups.filter_map(|group| self.others.holder(GroupId::of(&group.name))).collect();
        let (followed, heard) = choose(&exchange.heard(), &holders, self.followed);
        self.followed = followed;
        heard
    }

    /// The name of the node whose desired state is in force here.
    pub(super) fn followed(&self) -> &str {
        self.followed.map_or("", |peer| self.others.name(peer))
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
        if hands_over {
            // It beats meanwhile: without its vote the other director would first have to miss it.
            tokio::time::sleep(LINGER).await;
        }
        // Joins the thread; then the steward has nobody to do anything for.
        drop(pulse);
        if let Err(error) = steward.await {
            error!(%error, "addresses may be left behind");
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

/// The first look comes when there may be something to see.
fn look_again() -> tokio::time::Interval {
    let first = tokio::time::Instant::now() + LOOK_AGAIN;
    let mut look = tokio::time::interval_at(first, LOOK_AGAIN);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look
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
