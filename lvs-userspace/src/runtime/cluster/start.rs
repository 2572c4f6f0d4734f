//! How a director joins its cluster.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::left::Left;
use super::others::Others;
use super::patience::STATE_LIMIT;
use super::question;
use super::replication::{Keys, Replication};
use super::settings::settings;
use super::steward::{Charge, Steward};
use super::telling::Telling;
use super::watched::Watched;
use super::{Cluster, LOOK_AGAIN, conflicts};
use crate::cluster::fitness::Tracker;
use crate::cluster::identity::{GroupId, NodeId};
use crate::cluster::keys::Keyring;
use crate::cluster::pulse::{Order, Parts, Pulse};
use crate::cluster::state::{self, Exchange};
use crate::cluster::sync::Directory;
use crate::cluster::takeover::{Takeover, Timing};
use crate::cluster::transport::Transport;
use crate::cluster::vrrp::Progress;
use crate::config::model::Cluster as Plan;
use crate::control::Snapshot;
use crate::dataplane::{FlowReader, FlowWriter, LeaseWriter};
use crate::network::Network;
use crate::runtime::Error;

/// The desired state of another director is in force for so many dead times after it was heard last.
const FOLLOWED: u32 = 4;
/// The same where dead times are short.
const FOLLOWED_AT_LEAST: Duration = Duration::from_secs(2);

impl Cluster {
    pub(in crate::runtime) async fn start(
        plan: Arc<Plan>,
        mut left: Left,
        writer: LeaseWriter,
        network: Network,
        flows: (FlowReader, FlowWriter),
        snapshot: &Snapshot,
        scores: Vec<u16>,
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
        let timing = Timing { refresh: plan.refresh, ..Timing::default() };
        let (takeover, notices) =
            Takeover::open(network.clone(), &left.directory, plan.groups.clone(), timing).await?;
        let takeover = Arc::new(takeover);
        // Decided once: the thread that beats goes on with these, also with one that ends meanwhile.
        let monotonic = Duration::from_nanos(crate::dataplane::monotonic_nanoseconds());
        left.inherited.retain(|left| left.ends > monotonic);
        let held: Vec<GroupId> = left.inherited.iter().map(|left| left.group).collect();
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
        let progress = Progress::new(Instant::now());
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
            promised: left.promises.of_earlier_lives(),
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
        let told = replication.as_ref().zip(exchange.as_ref());
        let telling = told.map(|(replication, exchange)| Telling {
            nodes: others.ids(),
            status: replication.status.clone(),
            outlook: pulse.outlook(),
            own: exchange.own(),
            written: exchange.written(),
        });
        if let Some(telling) = telling.clone() {
            let pulse = pulse.handle();
            let say = move |node, is_told| pulse.order(Order::Told { node, is_told });
            tokio::spawn(telling.follow(say));
        }
        let steward = Steward {
            own: node.name.clone(),
            asks: BTreeMap::new(),
            takeover: Arc::clone(&takeover),
            pulse: pulse.handle(),
            charges,
            nodes,
            terms: left.terms,
            promises: left.promises,
            probing: question::probing(plan.timing.deadtime),
            turns: turns_sender,
            telling,
        };
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
            last_holders: BTreeMap::new(),
            led_since: None,
            active: BTreeSet::new(),
            takeovers: BTreeMap::new(),
            is_ready: false,
            ready_at_last,
            not_after: ready_at_last + STATE_LIMIT,
            scores,
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
}

/// The first look comes when there may be something to see.
fn look_again() -> tokio::time::Interval {
    let first = tokio::time::Instant::now() + LOOK_AGAIN;
    let mut look = tokio::time::interval_at(first, LOOK_AGAIN);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look
}
