//! The one task that owns the state and the writing end of the data plane.

mod describe;
mod interfaces;
mod reload;
mod roles;
mod walk;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, error, info, warn};

use super::ageing::{Found, Walk};
use super::apologies::Apologies;
use super::cluster::{self, Cluster};
use super::exporter::Exporter;
use super::health::Health;
use super::installed::Installed;
use super::next_hops::NextHops;
use super::vrrp::Vrrp;
use super::{Error, Options, evidence};
use crate::api::{Reloads, Request, Usage, model};
use crate::cluster::vrrp::{Progress, SIGN};
use crate::config::Config;
use crate::control::Event;
use crate::health::Evidence;
use crate::network::Network;
use interfaces::wants_egress;

/// Between the end of a walk through the connection table and the next, at the least.
const WALK_AGAIN: Duration = Duration::from_secs(3);
/// A walk takes a second where there are a million entries: one part in so many of the time is spent on it.
const WALK_SHARE: u32 = 10;
/// Between two censuses: each is a second walk.
const CENSUS_AGAIN: Duration = Duration::from_secs(30);

/// What ends or changes the agent from outside, beside its API.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// SIGUSR2: another agent follows at once. A service manager can tell that from an end, such as that of the machine,
    /// by the signal alone.
    replace: Signal,
}

impl Signals {
    pub(super) fn watch() -> Result<Self, Error> {
        let watch = |kind| signal(kind).map_err(Error::Signal);
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            hangup: watch(SignalKind::hangup())?,
            replace: watch(SignalKind::user_defined2())?,
        })
    }
}

/// How the agent was told to end.
pub(super) struct End {
    pub(super) keep_forwarding: bool,
    /// Who asked, and waits for it to be done.
    pub(super) asked_by: Option<oneshot::Sender<Result<model::Stopped, model::Failure>>>,
}

pub(super) struct Agent {
    options: Options,
    installed: Installed,
    next_hops: NextHops,
    health: Health,
    vrrp: Vrrp,
    network: Network,
    /// `None` without a cluster.
    cluster: Option<Cluster>,
    evidence: Evidence,
    apologies: Apologies,
    exporter: Exporter,
    reloads: Reloads,
    /// Configured interfaces that the machine has, and their indices.
    present: BTreeMap<String, u32>,
    /// About the machine; those about the plan are in the state.
    advice: Vec<String>,
    usage: Usage,
    /// `None` while it is under way.
    walk: Option<Walk>,
    next_walk: Instant,
    next_census: Instant,
}

impl Agent {
    /// `installed` holds what an earlier agent left, if anything.
    pub(super) fn new(
        options: Options,
        installed: Installed,
        next_hops: NextHops,
        health: Health,
        vrrp: Vrrp,
        network: Network,
        exporter: Exporter,
    ) -> Self {
        let dataplane = &installed.dataplane;
        let readback = dataplane.readback();
        let (embryonic_capacity, established_capacity) = readback.connection_capacities();
        let destination_capacity = dataplane.destination_capacity();
        let usage =
            Usage { embryonic_capacity, established_capacity, destination_capacity, ..Usage::default() };
        let walk = Some(Walk { sweeper: dataplane.sweeper(), readback });
        let now = Instant::now();
        Self {
            options,
            installed,
            next_hops,
            health,
            vrrp,
            network,
            cluster: None,
            evidence: Evidence::default(),
            apologies: Apologies::default(),
            exporter,
            reloads: Reloads::default(),
            present: BTreeMap::new(),
            advice: Vec::new(),
            usage,
            walk,
            next_walk: now + WALK_AGAIN,
            next_census: now + CENSUS_AGAIN,
        }
    }

    /// Publishes the configuration's services, then brings the program to its interfaces.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        let config = self.installed.config.clone();
        self.next_hops.prepare(self.health.config()).await;
        let known: Vec<_> = self.next_hops.events().collect();
        for event in known {
            self.installed.handle(event, &self.next_hops)?;
        }
        // Before packets meet services whose leases are of an earlier configuration.
        let leases = self.installed.dataplane.lease_writer();
        let left =
            config.cluster.as_ref().map(|plan| cluster::leases_left(plan, &self.options.instance, &leases));
        let left = left.transpose()?;
        self.apologies.begin(&self.health.pages());
        let commands = self.installed.install(config.clone(), &self.next_hops)?;
        info!(services = config.services.len(), changes = commands, "the configuration is installed");
        self.installed.dataplane.want_egress(wants_egress(&config));
        let attachments =
            self.installed.dataplane.attach(&config.interfaces, self.options.allow_generic)?.to_vec();
        for attachment in &attachments {
            info!(interface = attachment.interface, mode = ?attachment.mode, "the program is on");
        }
        self.take_advice();
        self.health.watch();
        self.exporter.follow(self.health.config().metrics);
        if let (Some(plan), Some(left)) = (&config.cluster, left) {
            let dataplane = &self.installed.dataplane;
            let flows = (dataplane.flow_reader()?, dataplane.flow_writer()?);
            let (plan, network) = (Arc::clone(plan), self.network.clone());
            let groups = plan.groups.iter();
            let scores = groups.map(|group| self.health.score(&cluster::addresses(group), false)).collect();
            let snapshot = self.installed.state.snapshot();
            let cluster = Cluster::start(plan, left, leases, network, flows, snapshot, scores).await?;
            dataplane.probes().stand_by(true);
            if let Some(own) = cluster.own() {
                self.health.tell_through(own);
            }
            cluster.tell_digests(self.health.config(), &self.installed.config);
            self.cluster = Some(cluster);
        }
        self.vrrp.begin(&self.health.config().vrrp, self.cluster.is_some()).await
    }

    /// Until something ends it.
    pub(super) async fn run(&mut self, signals: &mut Signals, mut requests: mpsc::Receiver<Request>) -> End {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sign = interval(SIGN);
        sign.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut walking: Option<JoinHandle<Found>> = None;
        let (mut network_watched, mut health_watched) = (true, true);
        let by_signal = |keep_forwarding| End { keep_forwarding, asked_by: None };
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return by_signal(false),
                _ = signals.interrupt.recv() => return by_signal(false),
                _ = signals.replace.recv() => return by_signal(true),
                _ = signals.hangup.recv() => {
                    // Told in the log already.
                    in_progress(self.progress(), self.reload()).await.ok();
                }
                Some(request) = requests.recv() => match request {
                    Request::Describe(answer) => drop(answer.send(self.overview())),
                    Request::Health(answer) => {
                        drop(answer.send(self.health.describe()));
                    }
                    Request::Events { after, limit, answer } => {
                        drop(answer.send(self.health.journal.after(after, limit)));
                    }
                    Request::Maintain { selection, mode, answer } => {
                        self.maintain(&selection, mode, answer);
                    }
                    Request::Reload(answer) => {
                        let reloaded = in_progress(self.progress(), self.reload()).await;
                        drop(answer.send(reloaded.map_err(model::Failure::from)));
                    }
                    Request::Cluster(answer) => {
                        let described = match &self.cluster {
                            Some(cluster) => cluster.describe().await,
                            None => None,
                        };
                        drop(answer.send(described));
                    }
                    Request::Vrrp(answer) => drop(answer.send(self.vrrp.describe().await)),
                    Request::Operate { wish, group, answer } => {
                        drop(answer.send(self.operate(wish, group.as_deref()).await));
                    }
                    Request::Stop { keep_forwarding, done } => {
                        return End { keep_forwarding, asked_by: Some(done) };
                    }
                },
                changed = self.next_hops.changed(), if network_watched => match changed {
                    Some((address, next_hop)) => {
                        debug!(%address, ?next_hop, "next hop changed");
                        self.handle(Event::NextHop { address, next_hop });
                    }
                    None => {
                        network_watched = false;
                        error!("the network is no longer watched: restart lvsd (`lvsctl stop --keep-forwarding` first)");
                    }
                },
                changes = self.health.changes(), if health_watched => match changes {
                    Some(changes) => {
                        let desired = self.health.learn(changes);
                        self.install(desired);
                    }
                    None => {
                        health_watched = false;
                        error!("real servers are no longer checked: restart lvsd (`lvsctl stop --keep-forwarding` first)");
                    }
                },
                turn = async { self.cluster.as_mut()?.changed().await }, if self.cluster.is_some() => {
                    self.turned(turn);
                }
                found = async { walking.as_mut()?.await.ok() }, if walking.is_some() => {
                    walking = None;
                    self.walked(found);
                }
                _ = sign.tick() => self.progress().iter().for_each(|progress| progress.made(std::time::Instant::now())),
                _ = tick.tick() => {
                    self.tell_score();
                    let desired = self.health.tick();
                    self.install(desired);
                    self.handle(Event::Tick);
                    self.weigh_evidence();
                    self.follow_interfaces();
                    self.exporter.follow(self.health.config().metrics);
                    if walking.is_none() && Instant::now() >= self.next_walk {
                        walking = self.start_walk();
                    }
                }
            }
        }
    }

    /// Ends the agent's part; see [`crate::dataplane::Dataplane::close`].
    pub(super) async fn close(mut self, keep_forwarding: bool) -> Result<(), Error> {
        // While packets still find their servers.
        let progress = self.progress();
        if let Some(mut cluster) = self.cluster.take() {
            let end = async {
                if keep_forwarding && !cluster.hold().await {
                    warn!(
                        "the other directors do not wait for the next start: what is held here is handed over"
                    );
                }
                cluster.end().await;
            };
            // Others need this director's vote.
            in_progress(progress, end).await;
        }
        self.vrrp.end().await;
        self.health.save_at_last().await;
        Ok(self.installed.dataplane.close(keep_forwarding)?)
    }

    /// Who has to know that the main task is at work.
    fn progress(&self) -> Vec<Arc<Progress>> {
        let cluster = self.cluster.as_ref().map(Cluster::progress);
        cluster.into_iter().chain([self.vrrp.progress()]).collect()
    }

    fn handle(&mut self, event: Event) {
        match self.installed.handle(event, &self.next_hops) {
            Ok(0) => {}
            Ok(_) => self.plan_changed(),
            Err(reason) => {
                error!(%reason, "the kernel does not hold what the configuration wants; trying again soon");
            }
        }
    }

    fn plan_changed(&mut self) {
        if let Some(cluster) = &self.cluster {
            cluster.replan(self.installed.state.snapshot());
            cluster.tell_digests(self.health.config(), &self.installed.config);
            self.tell_rings();
        }
    }

    /// Real servers that answer nobody are probed soon.
    fn weigh_evidence(&mut self) {
        let suspects = evidence::suspects(&mut self.evidence, &self.installed);
        if !suspects.is_empty() {
            debug!(?suspects, "no connection is accepted");
            self.health.suspect(&suspects);
        }
    }

    /// Carries out what has become known of real servers. What the kernel refuses is tried again soon, as
    /// after any event.
    fn install(&mut self, desired: Option<Config>) {
        let pages = self.health.pages();
        self.apologies.begin(&pages);
        if let Some(desired) = desired {
            self.installed.config = desired.clone();
            self.handle(Event::Desired(desired));
        }
        self.apologies.end(&pages);
    }
}

/// Does this in the main task. While it waits for others, that is at work.
async fn in_progress<T>(signs: Vec<Arc<Progress>>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        signs.iter().for_each(|progress| progress.made(std::time::Instant::now()));
        if let Ok(done) = timeout(SIGN, &mut work).await {
            return done;
        }
    }
}
