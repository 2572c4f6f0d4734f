//! The pool, the supervisor that watches for it, and what people are told.

use std::time::{Duration, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::Config;
use crate::health::{Change, Instruction, Journal, Notice, Pool, Supervisor};

/// Descriptors for all but probes: maps, sockets of the API, programs.
const OTHER_DESCRIPTORS: u64 = 1_024;
/// More probes at a time than this would be a sign of something else.
const MOST_AT_ONCE: u64 = 16_384;
const LEAST_AT_ONCE: u64 = 64;

pub(super) struct Health {
    pub(super) pool: Pool,
    pub(super) journal: Journal,
    instruct: mpsc::UnboundedSender<Instruction>,
    changes: mpsc::Receiver<Change>,
}

impl Health {
    /// With the supervisor, which must be run.
    pub(super) fn new(pool: Pool) -> (Self, Supervisor) {
        let (supervisor, instruct, changes) = Supervisor::new(probes_at_once());
        let health = Self { pool, journal: Journal::default(), instruct, changes };
        (health, supervisor)
    }

    /// For those who ask about checks.
    pub(super) fn instruct(&self) -> mpsc::UnboundedSender<Instruction> {
        self.instruct.clone()
    }

    /// Has the supervisor watch what the pool wants.
    pub(super) fn watch(&self) {
        // A supervisor that is gone is noticed by `changed`.
        self.instruct.send(Instruction::Watch(self.pool.checks())).ok();
    }

    /// The pool for another file, which is in force once it is [`Self::adopt`]ed.
    pub(super) fn planned(&self, config: Config, now: Duration) -> Pool {
        let mut pool = self.pool.clone();
        pool.configure(config, now);
        pool
    }

    pub(super) fn adopt(&mut self, pool: Pool) {
        self.pool = pool;
        // It is installed already.
        self.pool.take_changed();
        self.watch();
        self.tell();
    }

    /// The next changes: as many as there are by now, since each installation takes its time. `None` when
    /// nobody watches any more.
    pub(super) async fn changes(&mut self) -> Option<Vec<Change>> {
        let mut changes = vec![self.changes.recv().await?];
        while let Ok(change) = self.changes.try_recv() {
            changes.push(change);
        }
        Some(changes)
    }

    /// What is to be installed now, if that is something else than before.
    pub(super) fn learn(&mut self, changes: Vec<Change>, now: Duration) -> Option<Config> {
        for change in changes {
            self.pool.checked(change, now);
        }
        self.tell();
        self.pool.take_changed().then(|| self.pool.desired())
    }

    fn tell(&mut self) {
        for notice in self.pool.take_notices() {
            log(&notice);
            self.journal.add(notice, SystemTime::now());
        }
    }
}

fn log(notice: &Notice) {
    let Notice { service, server, what, reason } = notice;
    let server = server.map_or_else(String::new, |server| format!(", real server {server}"));
    let what = what.word();
    match notice.what.is_alarming() {
        true => warn!("service {service}{server}: {what}: {reason}"),
        false => info!("service {service}{server}: {what}: {reason}"),
    }
}

/// As many as there are descriptors for, after asking for as many of those as this process may have.
fn probes_at_once() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(LEAST_AT_ONCE, |(soft, hard)| {
        match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        }
    });
    let at_once = limit.saturating_sub(OTHER_DESCRIPTORS).clamp(LEAST_AT_ONCE, MOST_AT_ONCE);
    usize::try_from(at_once).unwrap_or(usize::MAX)
}
