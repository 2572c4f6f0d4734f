//! The loop.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use lvs_common::lease::Lease;
use nix::time::{ClockId, clock_gettime};

use super::detector::Detector;
use super::outlook::{Outlook, Sources};
use super::status::{self, GroupStatus, Heard, PathStatus, PeerStatus, Status};
use super::{Order, Parts};
use crate::cluster::beat::Beat;
use crate::cluster::election::{Mode, Node, Output, Received, Settings, Task};
use crate::cluster::identity::{GroupId, NodeId};
use crate::cluster::keys::{Keyring, Kind};
use crate::cluster::message;
use crate::cluster::refusal::Refusals;
use crate::cluster::transport::{Kind as PathKind, Transport};
use crate::cluster::urgency::be_urgent;
use crate::cluster::vrrp::Progress;
use crate::dataplane::LeaseWriter;

/// The main task is looked after this often at the least.
const ROUND: Duration = Duration::from_secs(1);
/// The same while it makes no progress.
const HUNG_ROUND: Duration = Duration::from_millis(50);

/// The clock of the data plane's leases.
pub(super) fn monotonic() -> Duration {
    // It fails for clocks that do not exist.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

pub(super) struct Thread {
    node: Node,
    nodes: BTreeMap<NodeId, String>,
    groups: BTreeMap<GroupId, (String, u8)>,
    /// As they were written last.
    written: BTreeMap<GroupId, Duration>,
    writer: LeaseWriter,
    transport: Transport,
    keys: Keyring,
    detector: Detector,
    sources: Sources,
    /// By path: it goes to everybody on a network, and so tells where its sender is.
    reaches_all: Vec<bool>,
    outlook: tokio::sync::watch::Sender<Outlook>,
    watchdog: Duration,
    progress: Arc<Progress>,
    tasks: tokio::sync::mpsc::UnboundedSender<Task>,
    orders: Receiver<Order>,
    refusals: Refusals,
    /// Messages of earlier lives or received before, of nodes that are none, and of lives that prove nothing.
    replayed: u64,
    strangers: u64,
    unproved: u64,
    is_hung: bool,
    last_round: Duration,
    longest_round: Duration,
}

impl Thread {
    pub(super) fn new(
        parts: Parts,
        orders: Receiver<Order>,
        outlook: tokio::sync::watch::Sender<Outlook>,
    ) -> Self {
        let now = monotonic();
        let is_open = |kind: PathKind| matches!(kind, PathKind::Multicast | PathKind::Broadcast);
        let reaches_all = parts.transport.paths().map(|path| is_open(path.kind)).collect();
        let mut node = Node::new(parts.settings, &parts.inherited, now);
        node.recall(&parts.promised);
        Self {
            node,
            nodes: parts.nodes,
            groups: parts.groups,
            written: BTreeMap::new(),
            writer: parts.writer,
            transport: parts.transport,
            keys: parts.keys,
            detector: Detector::new(parts.warntime),
            sources: Sources::default(),
            reaches_all,
            outlook,
            watchdog: parts.watchdog,
            progress: parts.progress,
            tasks: parts.tasks,
            orders,
            refusals: Refusals::default(),
            replayed: 0,
            strangers: 0,
            unproved: 0,
            is_hung: false,
            last_round: now,
            longest_round: Duration::ZERO,
        }
    }

    pub(super) fn run(mut self) {
        be_urgent();
        loop {
            let ControlFlow::Continue(has_obeyed) = self.take_orders() else { return };
            self.listen(patience(self.node.next_tick(), monotonic(), self.is_hung, has_obeyed));
            self.look_after_progress();
            if self.is_hung {
                continue;
            }
            // Read before the evidence is looked at: what is late must not look young.
            let now = monotonic();
            self.longest_round = self.longest_round.max(now.saturating_sub(self.last_round));
            self.last_round = now;
            self.node.tick(now);
            self.detector.look(now);
            self.carry_out();
            self.look_out(now);
        }
    }

    /// A main task that does nothing any more must not be represented by a thread that still does.
    fn look_after_progress(&mut self) {
        let is_hung = !self.progress.is_recent(Instant::now(), self.watchdog);
        if is_hung != self.is_hung {
            self.is_hung = is_hung;
            let what =
                if is_hung { "makes no progress: this director is silent" } else { "makes progress again" };
            tracing::error!("the agent's main task {what}");
        }
    }

    fn listen(&mut self, timeout: Duration) {
        let Self {
            transport,
            keys,
            node,
            detector,
            sources,
            reaches_all,
            refusals,
            replayed,
            strangers,
            unproved,
            is_hung,
            ..
        } = self;
        let polled = transport.poll(timeout, |source, datagram| {
            if *is_hung {
                return;
            }
            let now = monotonic();
            let beat = match keys.open(Kind::Beat, datagram).and_then(message::decode) {
                Ok(beat) => beat,
                Err(refusal) => return refusals.count(refusal),
            };
            // One's own come back on some paths.
            if beat.sender == node.settings().node {
                return;
            }
            match node.receive(&beat, now) {
                Received::Stranger => *strangers += 1,
                Received::Unproved => *unproved += 1,
                // The same message on another path, mostly; how each path works is the detector's to know.
                Received::Accepted => {
                    detector.hear(beat.sender, source.path, numbers(&beat, node.settings()), now);
                    if let (Some(true), Some(from)) = (reaches_all.get(source.path), source.address) {
                        sources.hear(beat.sender, source.path, from, now);
                    }
                }
                Received::Old => {
                    if node.knows_life(beat.sender, beat.life) {
                        detector.hear(beat.sender, source.path, numbers(&beat, node.settings()), now);
                    } else {
                        *replayed += 1;
                    }
                }
            }
        });
        if let Err(error) = polled {
            tracing::error!(%error, "cannot wait for beats");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Tells the rest of the agent what is known of the others, if that is something else than before.
    fn look_out(&self, now: Duration) {
        let settings = self.node.settings();
        let groups = settings.groups.iter().map(|group| group.group);
        let outlook = Outlook {
            holders: groups.filter_map(|group| Some((group, self.node.holder(group, now)?))).collect(),
            alive: settings
                .peers
                .iter()
                .chain(&settings.voter)
                .copied()
                .filter(|peer| self.node.alive_since(*peer, now).is_some())
                .collect(),
            sources: settings.peers.iter().map(|peer| (*peer, self.sources.of(*peer, now))).collect(),
            silent: self
                .detector
                .silent()
                .filter_map(|(node, path)| {
                    Some((self.name(node), self.transport.paths().nth(path)?.name.clone()))
                })
                .collect(),
        };
        self.outlook.send_if_modified(|former| {
            let is_new = *former != outlook;
            if is_new {
                *former = outlook;
            }
            is_new
        });
    }

    fn carry_out(&mut self) {
        for output in self.node.take_outputs() {
            match output {
                Output::Send(beat) => self.send(&beat),
                Output::Lease { group, ends, fresh_until, .. } => self.write(group, ends, fresh_until),
                // Nobody is left to do it when the agent ends.
                Output::Do(task) => drop(self.tasks.send(task)),
            }
        }
    }

    fn send(&mut self, beat: &Beat) {
        let sealed = self.keys.seal(Kind::Beat, &message::encode(beat));
        // Counted by the path, and told in its status.
        drop(self.transport.send(&sealed));
    }

    fn write(&mut self, group: GroupId, ends: Duration, fresh_until: Duration) {
        let Some((_, index)) = self.groups.get(&group) else { return };
        let lease = Lease { ends: nanoseconds(ends), fresh_until: nanoseconds(fresh_until) };
        match self.writer.write(*index, lease) {
            Ok(()) => drop(self.written.insert(group, ends)),
            // What is in the map ends by itself.
            Err(error) => {
                tracing::error!(%error, "a lease cannot be written: it ends, and another director takes over");
            }
        }
    }

    /// Whether there were any; or the thread is to end.
    fn take_orders(&mut self) -> ControlFlow<(), bool> {
        let mut has_obeyed = false;
        loop {
            let now = monotonic();
            match self.orders.try_recv() {
                Err(TryRecvError::Empty) => return ControlFlow::Continue(has_obeyed),
                Err(TryRecvError::Disconnected) | Ok(Order::Stop) => return ControlFlow::Break(()),
                Ok(Order::Leave(answer)) => {
                    self.node.leave(now);
                    self.carry_out();
                    // Whoever asked may have given up waiting. It beats on: another director needs its vote.
                    answer.send(()).ok();
                }
                Ok(order) => self.obey(order, now),
            }
            has_obeyed = true;
        }
    }

    fn obey(&mut self, order: Order, now: Duration) {
        let node = &mut self.node;
        match order {
            Order::Fitness { group, fitness } => node.set_fitness(group, fitness),
            Order::Ready { group, is_ready } => node.set_ready(group, is_ready),
            Order::Digest { group, digest } => node.set_digest(group, digest),
            Order::Told { node: other, is_told } => node.set_told(other, is_told),
            Order::Probed { group, attempt, found, until } => node.probed(group, attempt, found, until),
            Order::Fenced { group, node: of, done } => node.fenced(group, of, done, now),
            Order::Failed { group } => node.failed(group, now),
            Order::Tidied { group } => node.tidied(group),
            Order::Standby { group, answer } => drop(answer.send(node.standby(group, now))),
            Order::Release { group, answer } => drop(answer.send(node.release(group, now))),
            Order::Take { group, answer } => drop(answer.send(node.take(group, now))),
            Order::Hold { length, answer } => drop(answer.send(node.hold(length, now))),
            Order::Keys(keys) => self.keys = keys,
            Order::Describe(answer) => drop(answer.send(self.status(now))),
            Order::Leave(_) | Order::Stop => {}
        }
    }

    fn name(&self, node: NodeId) -> String {
        self.nodes.get(&node).cloned().unwrap_or_else(|| format!("{:016x}", node.0))
    }

    fn status(&self, now: Duration) -> Status {
        let settings = self.node.settings();
        let paths: Vec<_> = self.transport.paths().collect();
        let peers = settings.peers.iter().chain(&settings.voter).map(|peer| {
            let alive_since = self.node.alive_since(*peer, now);
            let heard = paths.iter().enumerate().filter_map(|(index, path)| {
                let hearing = self.detector.of(*peer, index)?;
                Some(Heard {
                    path: path.name.clone(),
                    ago: status::milliseconds(now.saturating_sub(hearing.last)),
                    received: hearing.received,
                    late: hearing.late,
                    missing: hearing.missing,
                })
            });
            PeerStatus {
                name: self.name(*peer),
                is_alive: alive_since.is_some(),
                alive_for: alive_since.map(|since| status::milliseconds(now.saturating_sub(since))),
                heard: heard.collect(),
            }
        });
        let mut refused: Vec<(String, u64)> =
            self.refusals.iter().map(|(name, count)| (name.to_owned(), count)).collect();
        refused.push(("replayed".to_owned(), self.replayed));
        refused.push(("stranger".to_owned(), self.strangers));
        refused.push(("unproved".to_owned(), self.unproved));
        Status {
            node: self.name(settings.node),
            has_majority_rule: !settings.is_weak(),
            groups: settings.groups.iter().map(|group| self.group_status(group.group, now)).collect(),
            peers: peers.collect(),
            paths: paths
                .iter()
                .map(|path| PathStatus {
                    name: path.name.clone(),
                    fault: path.fault.map(|fault| fault.to_string()),
                    sent: path.counts.sent,
                    failed: path.counts.failed,
                    received: path.counts.received,
                    dropped: path.counts.strangers + path.counts.too_long + path.counts.damaged,
                })
                .collect(),
            refused,
            longest_round: u64::try_from(self.longest_round.as_micros()).unwrap_or(u64::MAX),
            // What this thread does not know.
            refused_connections: Vec::new(),
            refused_state: Vec::new(),
            synchronisation: None,
            desired: None,
        }
    }

    fn group_status(&self, group: GroupId, now: Duration) -> GroupStatus {
        let settings = self.node.settings();
        let view = self.node.view(group);
        let holds = self.node.holds(group, now).is_some();
        let role = match view.mode {
            _ if holds => "active",
            Mode::Released => "released",
            Mode::Normal | Mode::Standby if view.is_ready && view.fitness.is_fit => "standby",
            Mode::Normal | Mode::Standby => "waiting",
        };
        let differs = settings.peers.iter().filter(|peer| {
            let said = self.node.says(**peer, group, now);
            said.is_some_and(|said| said.digest != 0 && view.digest != 0 && said.digest != view.digest)
        });
        let ends = self.written.get(&group).filter(|_| holds);
        GroupStatus {
            name: self.groups.get(&group).map_or_else(String::new, |(name, _)| name.clone()),
            role: role.to_owned(),
            holder: self.node.holder(group, now).map(|node| self.name(node)),
            epoch: view.epoch,
            takeovers: 0,
            lease: ends.map(|ends| status::milliseconds(ends.saturating_sub(now))),
            is_ready: view.is_ready,
            is_fit: view.fitness.is_fit,
            score: view.fitness.score,
            differs_from: differs.map(|peer| self.name(*peer)).collect(),
        }
    }
}

/// How long may be waited for beats. What an order has changed takes effect at once. A thread that is hung ticks no more,
/// so that its next tick is over for ever.
fn patience(next_tick: Duration, now: Duration, is_hung: bool, has_obeyed: bool) -> Duration {
    match (is_hung, has_obeyed) {
        (true, _) => HUNG_ROUND,
        (false, true) => Duration::ZERO,
        (false, false) => next_tick.saturating_sub(now).min(ROUND),
    }
}

/// A life and a sequence by which the messages of a sender to this node are counted. The voter answers each message, and has
/// one sequence for all directors: its answers have the numbers of what they answer.
fn numbers(beat: &Beat, settings: &Settings) -> (u64, u64) {
    let is_voter = settings.voter == Some(beat.sender);
    let answered = beat.echoes.iter().find(|echo| is_voter && echo.node == settings.node);
    answered.map_or((beat.life, beat.sequence), |echo| (echo.life, echo.sequence))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::beat::Echo;

    #[test]
    fn an_answer_of_the_voter_is_counted_by_what_it_answers() {
        let echo = |node, sequence| Echo { node: NodeId(node), life: 70 + node, sequence };
        let beat = Beat {
            sender: NodeId(9),
            life: 79,
            sequence: 1_000,
            is_answer: true,
            keepalive: 100,
            deadtime: 500,
            echoes: vec![echo(1, 11), echo(2, 22)],
            groups: Vec::new(),
        };
        let settings = |node, voter| Settings {
            node: NodeId(node),
            life: 70 + node,
            peers: Vec::new(),
            voter: Some(NodeId(voter)),
            keepalive: Duration::from_millis(100),
            deadtime: Duration::from_millis(500),
            initdead: Duration::from_secs(1),
            failback: None,
            groups: Vec::new(),
        };
        assert_eq!(numbers(&beat, &settings(2, 9)), (72, 22));
        assert_eq!(numbers(&beat, &settings(3, 9)), (79, 1_000), "it has not heard this node yet");
        assert_eq!(numbers(&beat, &settings(2, 8)), (79, 1_000), "an answer of another director");
    }

    #[test]
    fn it_sleeps_while_it_is_hung_and_not_after_an_order() {
        let [early, late] = [100, 150].map(Duration::from_millis);
        assert_eq!(patience(late, early, false, false), late - early);
        assert_eq!(patience(Duration::MAX, early, false, false), ROUND);
        assert_eq!(patience(late, early, false, true), Duration::ZERO, "an order");
        for has_obeyed in [false, true] {
            assert_eq!(patience(early, late, true, has_obeyed), HUNG_ROUND, "hung: its next tick is over");
        }
    }
}
