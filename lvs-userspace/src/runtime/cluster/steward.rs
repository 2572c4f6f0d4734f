//! Does what the thread that beats has no time for: addresses, announcements, questions on the wire, programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::promises::Promises;
use super::question;
use super::report::{Names, Report, concerns, happens};
use super::telling::Telling;
use super::terms::{Term, Terms};
use crate::alert::Topic;
use crate::cluster::election::{Notice, TELLING, Task, Why};
use crate::cluster::identity::{GroupId, NodeId};
use crate::cluster::pulse::{Handle, Order};
use crate::cluster::takeover::{Probing, Takeover};
use crate::config::model::{Fence, Group};
use crate::program::{self, Program};

/// Bytes of a program's output that are told when it fails.
const OUTPUT: usize = 1024;

/// What has changed for the rest of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Turn {
    Active {
        group: String,
        epoch: u64,
    },
    Standby {
        group: String,
    },
    /// The others wait for the next start with this group.
    Held {
        group: String,
    },
    /// For people.
    Told(Report),
    /// Another director's desired state is another one: see [`Cluster::part`](super::Cluster::part).
    Desired,
    /// Others hold something else than before: see [`Cluster::replan`](super::Cluster::replan).
    Others,
}

/// One group, as the steward needs it.
pub(super) struct Charge {
    pub(super) group: Group,
    pub(super) lease: u8,
}

pub(super) struct Steward {
    /// This director's name.
    pub(super) own: String,
    /// Why each group was last asked for.
    pub(super) asks: BTreeMap<GroupId, Why>,
    pub(super) takeover: Arc<Takeover>,
    pub(super) pulse: Handle,
    pub(super) charges: BTreeMap<GroupId, Charge>,
    pub(super) nodes: BTreeMap<NodeId, String>,
    pub(super) terms: Terms,
    pub(super) promises: Promises,
    pub(super) probing: Probing,
    pub(super) turns: mpsc::UnboundedSender<Turn>,
    /// How far the others know the connections; `None` = they are not told any.
    pub(super) telling: Option<Telling>,
}

/// What the worker of a group does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Serve,
    Withdraw,
}

impl Steward {
    /// Until the thread that beats has ended. Groups of `held` are served already, by an earlier life.
    pub(super) async fn run(mut self, mut tasks: mpsc::UnboundedReceiver<Task>, held: &[GroupId]) {
        let mut workers = BTreeMap::new();
        let mut movers = JoinSet::new();
        // Questions, programs that fence, and waiting: of no use when the thread that beats has ended.
        let mut errands = JoinSet::new();
        for group in self.charges.keys() {
            let (jobs, received) = mpsc::unbounded_channel();
            workers.insert(*group, jobs);
            movers.spawn(work(*group, Arc::clone(&self.takeover), self.pulse.clone(), received));
        }
        let give = |group: GroupId, job: Job| {
            if let Some(jobs) = workers.get(&group)
                && jobs.send(job).is_err()
            {
                error!("the task that moves addresses has ended");
            }
        };
        for group in held {
            give(*group, Job::Serve);
            self.tell_active(*group, None);
        }
        loop {
            let task = tokio::select! {
                task = tasks.recv() => task,
                Some(ended) = errands.join_next() => {
                    if let Err(error) = ended {
                        error!(%error, "a task of the cluster has failed");
                    }
                    continue;
                }
            };
            let Some(task) = task else { break };
            match task {
                Task::Serve { group, epoch } => {
                    give(group, Job::Serve);
                    self.tell_active(group, Some(epoch));
                }
                Task::Withdraw { group } => {
                    self.takeover.silence(group);
                    give(group, Job::Withdraw);
                    let name = self.name(group);
                    self.keep(|terms| terms.give_up(&name));
                    self.turns.send(Turn::Standby { group: name }).ok();
                }
                Task::Announce { group } => {
                    if let Err(failure) = self.takeover.announce(group) {
                        warn!(%failure, "the addresses are not announced again");
                    }
                }
                Task::Tidy { group } => {
                    let (telling, pulse) = (self.telling.clone(), self.pulse.clone());
                    errands.spawn(async move {
                        if let Some(telling) = telling {
                            // The election waits no longer.
                            drop(timeout(TELLING, telling.finished()).await);
                        }
                        pulse.order(Order::Tidied { group });
                    });
                }
                Task::Probe { group, attempt, besides } => {
                    let (takeover, pulse, probing) =
                        (Arc::clone(&self.takeover), self.pulse.clone(), self.probing);
                    errands.spawn(async move {
                        let (found, until) = question::ask(&takeover, group, &besides, probing).await;
                        pulse.order(Order::Probed { group, attempt, found, until });
                    });
                }
                Task::Fence { group, node } => {
                    if let Some(fence) =
                        self.charges.get(&group).and_then(|charge| charge.group.fence.clone())
                    {
                        let (silent, pulse) = (self.node(node), self.pulse.clone());
                        let (name, turns) = (self.name(group), self.turns.clone());
                        errands.spawn(async move {
                            let is_fenced = run_fence(&fence, &silent).await;
                            if !is_fenced && fence.take_on_failure {
                                turns.send(Turn::Told(taken_unfenced(&name, &silent))).ok();
                            }
                            let done = is_fenced || fence.take_on_failure;
                            pulse.order(Order::Fenced { group, node, done });
                        });
                    }
                }
                Task::Remember(promised) => {
                    if let Err(error) = self.promises.keep(promised) {
                        warn!(%error, "a restart of this director would not know of the hold it has promised");
                    }
                }
                Task::Tell(notice) => self.tell(&notice),
            }
        }
        errands.shutdown().await;
        // What is under way is finished: addresses that are to go must be gone.
        workers.clear();
        while movers.join_next().await.is_some() {}
    }

    fn tell_active(&mut self, group: GroupId, epoch: Option<u64>) {
        let name = self.name(group);
        let lease = self.charges.get(&group).map_or(0, |charge| charge.lease);
        let epoch = epoch.or_else(|| self.terms.of(&name).map(|term| term.epoch)).unwrap_or_default();
        self.keep(|terms| terms.hold(&name, Term { epoch, lease }));
        self.turns.send(Turn::Active { group: name, epoch }).ok();
    }

    fn keep(&mut self, change: impl FnOnce(&mut Terms) -> std::io::Result<()>) {
        if let Err(error) = change(&mut self.terms) {
            warn!(%error, "the next start will not go on with what is held");
        }
    }

    fn name(&self, group: GroupId) -> String {
        self.charges
            .get(&group)
            .map_or_else(|| format!("{:016x}", group.0), |charge| charge.group.name.clone())
    }

    fn node(&self, node: NodeId) -> String {
        self.nodes.get(&node).cloned().unwrap_or_else(|| format!("{:016x}", node.0))
    }

    fn why(&self, why: Why) -> String {
        match why {
            Why::Vacant => "nobody has it".to_owned(),
            Why::Silent(node) => format!("{} is silent", self.node(node)),
            Why::HandedOver(node) => format!("{} has handed it over", self.node(node)),
            Why::Operator => "an operator wants it so".to_owned(),
            Why::Fitter(node) => format!("{} is fitter", self.node(node)),
            Why::Preferred(node) => format!("{} asks for it", self.node(node)),
            Why::Superseded => "another director has it for a later term".to_owned(),
            Why::Answered => "somebody answers for its addresses".to_owned(),
            Why::Lives(node) => {
                format!("somebody answers for another group, so that {} may live", self.node(node))
            }
            Why::Contended => "somebody else asks for its addresses too".to_owned(),
            Why::NotFenced => "the program that fences has failed".to_owned(),
            Why::NoQuorum => "no majority votes for it".to_owned(),
            Why::Resource => "it cannot be served here".to_owned(),
        }
    }

    fn tell(&mut self, notice: &Notice) {
        let why = |reason: &Why| self.why(*reason);
        let text = match notice {
            Notice::Dead { node } => format!("{} is silent on all paths", self.node(*node)),
            Notice::Alive { node } => format!("{} is heard", self.node(*node)),
            Notice::Asks { group, why: reason } => {
                format!("asks for group {}: {}", self.name(*group), why(reason))
            }
            Notice::Holds { group, epoch } => {
                let asked =
                    self.asks.get(group).map_or_else(String::new, |reason| format!(": {}", why(reason)));
                format!("{} holds group {} for term {epoch}{asked}", self.own, self.name(*group))
            }
            Notice::Lapsed { group } => {
                format!("the lease of group {} has ended: no majority is heard", self.name(*group))
            }
            Notice::GaveUp { group, why: reason } => {
                format!("has given up group {}: {}", self.name(*group), why(reason))
            }
            Notice::StoodBack { group, why: reason } => {
                format!("does not take group {}: {}", self.name(*group), why(reason))
            }
            Notice::Held { group, .. } => {
                format!("the others wait for the restart with group {}", self.name(*group))
            }
            Notice::Paused { duration } => {
                format!("was not run for {} ms, and begins anew", duration.as_millis())
            }
        };
        match notice {
            Notice::Alive { .. } | Notice::Asks { .. } | Notice::Holds { .. } | Notice::Held { .. } => {
                info!("{text}")
            }
            _ => warn!("{text}"),
        }
        if let Notice::Held { group, .. } = notice {
            self.turns.send(Turn::Held { group: self.name(*group) }).ok();
        }
        if let Notice::Asks { group, why } = notice {
            self.asks.insert(*group, *why);
        }
        let names = Names {
            group: &|group| self.name(group),
            node: &|node| self.node(node),
            groups: &self.charges.values().map(|charge| charge.group.name.clone()).collect::<Vec<_>>(),
        };
        let concerns = concerns(notice, &self.asks, &names);
        self.turns.send(Turn::Told(Report { text, concerns })).ok();
    }
}

/// Moves one group's addresses, one job after the other; a later one ends an earlier one's programs.
async fn work(
    group: GroupId,
    takeover: Arc<Takeover>,
    pulse: Handle,
    mut jobs: mpsc::UnboundedReceiver<Job>,
) {
    let mut next = jobs.recv().await;
    while let Some(mut job) = next {
        // Only the latest counts.
        while let Ok(later) = jobs.try_recv() {
            job = later;
        }
        next = match job {
            Job::Serve => {
                let served = takeover.serve(group);
                tokio::pin!(served);
                tokio::select! {
                    outcome = &mut served => {
                        if let Err(failure) = outcome {
                            error!(%failure, "the group cannot be served here");
                            pulse.order(Order::Failed { group });
                        }
                        jobs.recv().await
                    }
                    later = jobs.recv() => later,
                }
            }
            Job::Withdraw => withdraw(group, &takeover, &mut jobs).await,
        };
    }
}

/// Gives the job after it. A group that comes back while its programs are still being stopped has its addresses at once;
/// its programs are started when they have been stopped.
async fn withdraw(
    group: GroupId,
    takeover: &Arc<Takeover>,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
) -> Option<Job> {
    let withdrawing = Arc::clone(takeover);
    // By itself: it must go on while the addresses are put up, which waits for it.
    let mut withdrawn = tokio::spawn(async move { withdrawing.withdraw(group).await });
    let mut next = None;
    let outcome = loop {
        tokio::select! {
            outcome = &mut withdrawn => break outcome,
            later = jobs.recv(), if next != Some(None) => {
                if later == Some(Job::Serve)
                    && let Err(failure) = takeover.appear(group).await
                {
                    // Told when it is done once more, with the programs.
                    debug!(%failure, "the addresses are not all there yet");
                }
                next = Some(later);
            }
        }
    };
    match outcome {
        Ok(failures) => {
            for failure in failures {
                error!(%failure, "something of the group is left");
            }
        }
        Err(error) => error!(%error, "something of the group is left"),
    }
    match next {
        Some(next) => next,
        None => jobs.recv().await,
    }
}

/// Whether the program has made sure that `node` is dead.
async fn run_fence(fence: &Fence, node: &str) -> bool {
    let mut command = fence.command.clone();
    command.push(node.to_owned());
    let program = Program { command, keep: OUTPUT, ..Program::default() };
    match timeout(fence.timeout, program::run(&program)).await {
        Ok(Ok(finished)) if finished.status.success() => true,
        Ok(Ok(finished)) => {
            let output = String::from_utf8_lossy(&finished.output).into_owned();
            error!(status = %finished.status, output, node, "the program that fences has failed");
            false
        }
        Ok(Err(error)) => {
            error!(%error, node, "the program that fences cannot be run");
            false
        }
        Err(_) => {
            error!(seconds = fence.timeout.as_secs(), node, "the program that fences took too long");
            false
        }
    }
}

fn taken_unfenced(group: &str, node: &str) -> Report {
    Report {
        text: format!("takes group {group}, though the program that fences {node} has failed"),
        concerns: vec![happens((Topic::Fence, node.to_owned(), vec![group.to_owned()]))],
    }
}
