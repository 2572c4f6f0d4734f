//! Runs the probes that are due, so many at a time, in one task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::probe;
use super::threshold::Standing;
use super::watch::{Change, CheckView, Ended, Outcome, Pace, Ticket, Watch};
use crate::config::model::Check;
use crate::dataplane::Probes;

/// What the supervisor is told and asked.
#[derive(Debug)]
pub enum Instruction {
    /// Watch these checks and no others; a new one begins with this standing.
    Watch {
        checks: BTreeMap<Arc<Check>, Standing>,
        /// Numbers of failures in a row that are told when they are reached.
        counts: BTreeSet<u32>,
    },
    /// There is reason to doubt these: they are probed soon.
    Hurry(Vec<Arc<Check>>),
    Describe(oneshot::Sender<(Vec<CheckView>, Pace)>),
}

/// Watches until whoever instructs it is gone.
#[derive(Debug)]
pub struct Supervisor {
    instructions: mpsc::UnboundedReceiver<Instruction>,
    changes: mpsc::Sender<Change>,
    /// Probes that run at the same time; each holds a socket.
    at_once: usize,
    /// For checks that take the path of the clients' packets.
    probes: Option<Probes>,
    watch: Watch,
    begun: Instant,
}

/// Changes on their way to the agent. When it is slow, probes wait for it.
const CHANGES: usize = 1024;

impl Supervisor {
    /// A supervisor, how to instruct it, and the changes it reports.
    pub fn new(at_once: usize) -> (Self, mpsc::UnboundedSender<Instruction>, mpsc::Receiver<Change>) {
        // Unbounded, since the agent must never wait for a supervisor that waits for it. Its instructions
        // are few: one for each reload.
        let (instruct, instructions) = mpsc::unbounded_channel();
        let (changes, received) = mpsc::channel(CHANGES);
        let (watch, begun) = (Watch::default(), Instant::now());
        let supervisor = Self { instructions, changes, at_once, probes: None, watch, begun };
        (supervisor, instruct, received)
    }

    /// Lets checks take the path of the clients' packets.
    #[must_use]
    pub fn with_probes(self, probes: Probes) -> Self {
        Self { probes: Some(probes), ..self }
    }

    pub async fn run(mut self) {
        let probes = self.probes.take();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.at_once
                && let Some((ticket, check)) = self.watch.begin(self.now())
            {
                running.push(attempt(ticket, check, probes.as_ref()));
            }
            let due = self.watch.next_due().filter(|_| running.len() < self.at_once);
            let wake = due.map(|due| self.begun + due);
            tokio::select! {
                instruction = self.instructions.recv() => match instruction {
                    Some(instruction) => self.follow(instruction),
                    None => return,
                },
                Some((ticket, check, outcome)) = running.next(), if !running.is_empty() => {
                    let now = self.now();
                    let summary = outcome.summary.clone();
                    let Ended { change, is_blind_now } = self.watch.end(ticket, outcome, now);
                    if is_blind_now {
                        warn!("a check of {} port {} finds out nothing about it: {summary}", check.address, check.port);
                    }
                    if let Some(change) = change
                        && self.changes.send(change).await.is_err()
                    {
                        return;
                    }
                }
                () = sleep(wake), if wake.is_some() => {}
            }
        }
    }

    fn follow(&mut self, instruction: Instruction) {
        let now = self.now();
        match instruction {
            Instruction::Watch { checks, counts } => self.watch.set(checks, counts, now),
            Instruction::Hurry(checks) => checks.iter().for_each(|check| self.watch.hurry(check, now)),
            Instruction::Describe(answer) => {
                drop(answer.send((self.watch.describe(now), self.watch.pace())));
            }
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }
}

async fn attempt(
    ticket: Ticket,
    check: Arc<Check>,
    probes: Option<&Probes>,
) -> (Ticket, Arc<Check>, Outcome) {
    let outcome = probe::run(&check, probes).await;
    (ticket, check, outcome)
}

async fn sleep(until: Option<Instant>) {
    if let Some(until) = until {
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::model::{ExchangeProbe, Probe, Secure, Timing, TlsMode};
    use crate::health::watch::tests::check;
    use crate::tls::Trust;

    /// Servers that are silent hold a socket each for as long as the timeout: there must be a bound.
    #[tokio::test]
    async fn no_more_probes_run_than_there_is_room_for() {
        const ROOM: usize = 3;
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let secure = Secure {
            mode: TlsMode::None,
            server_name: None,
            trust: Trust::default(),
            expiry_warning: Duration::ZERO,
        };
        let exchange = ExchangeProbe { banner: Some("hello".to_owned()), send: None, expect: None, secure };
        let interval = Duration::from_millis(50);
        let checks = (1..=20).map(|rise| Check {
            address: address.ip(),
            port: address.port(),
            probe: Probe::Exchange(Box::new(exchange.clone())),
            timing: Timing { interval, timeout: interval, rise, ..Timing::default() },
            ..check(0)
        });
        let (supervisor, instruct, mut changes) = Supervisor::new(ROOM);
        let running = tokio::spawn(supervisor.run());
        let checks = checks.map(|check| (Arc::new(check), Standing::Untested)).collect();
        instruct.send(Instruction::Watch { checks, counts: BTreeSet::new() }).unwrap();
        let mut down = 0;
        while down < 20 {
            assert_eq!(changes.recv().await.unwrap().standing, Standing::Down);
            down += 1;
        }
        let (answer, described) = oneshot::channel();
        instruct.send(Instruction::Describe(answer)).unwrap();
        let (views, pace) = described.await.unwrap();
        assert_eq!((views.len(), pace.most_running), (20, ROOM));
        assert!(pace.latest > interval, "twenty probes of 50 ms by three at a time keep no time: {pace:?}");
        drop(instruct);
        running.await.unwrap();
    }
}
