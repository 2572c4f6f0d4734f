//! The pool, the supervisor that watches for it, what people are told, and what is kept on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Zoned;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::cluster::{Desired, Own, Part, Report};
use super::saver::Saver;
use super::store::{State, Store};
use crate::alert::courier::Order;
use crate::alert::message::CLUSTER;
use crate::alert::period::LocalTime;
use crate::alert::{Courier, Engine, Queue};
use crate::config::Config;
use crate::config::model::{Check, Forward};
use crate::control::RingHistory;
use crate::dataplane::monotonic_nanoseconds;
use crate::health::pool::{Found, Mode, Selection, ServerKey, ServiceView, What};
use crate::health::{Change, Experience, Instruction, Journal, Notice, Pool, Supervisor};

/// Descriptors for all but probes: maps, sockets of the API, programs.
const OTHER_DESCRIPTORS: u64 = 1_024;
/// The rest waits for the next tick.
const BETWEEN_SAVES: Duration = Duration::from_secs(1);
/// How long the end of the agent waits for the disk.
const LAST_SAVE: Duration = Duration::from_secs(5);
/// More probes at a time than this would be a sign of something else.
const MOST_AT_ONCE: u64 = 16_384;
const LEAST_AT_ONCE: u64 = 64;

pub(super) struct Health {
    pool: Pool,
    pub(super) journal: Journal,
    engine: Engine,
    courier: mpsc::UnboundedSender<Order>,
    saver: Saver<State>,
    desired: Desired,
    experience: Experience,
    /// The pool knows more than is to be on disk.
    unsaved: bool,
    /// When that was said last.
    saved: Duration,
    instruct: mpsc::UnboundedSender<Instruction>,
    changes: mpsc::Receiver<Change>,
}

impl Health {
    /// Goes on where an earlier agent has ended. Within a tokio runtime; supervisor and courier must be run.
    pub(super) fn new(config: Config, store: Store) -> (Self, Supervisor, Courier) {
        let mut pool = Pool::new(config, now());
        let mut engine = Engine::default();
        if let Some(State { pool: saved, problems, .. }) = store.load() {
            pool.restore(saved, now());
            engine.restore(problems, now());
        }
        let (supervisor, instruct, changes) = Supervisor::new(probes_at_once());
        let (courier, deliver) = Courier::new(Queue::new(store.directory().join("alerts")));
        let saver = Saver::start(store.directory().to_owned(), move |state| store.save(state));
        let mut health = Self {
            pool,
            journal: Journal::default(),
            engine,
            courier: deliver,
            saver,
            desired: Desired::default(),
            experience: Experience::default(),
            unsaved: false,
            saved: Duration::ZERO,
            instruct,
            changes,
        };
        health.configure_alerts();
        health.tell();
        (health, supervisor, courier)
    }

    /// For those who ask about checks.
    pub(super) fn instruct(&self) -> mpsc::UnboundedSender<Instruction> {
        self.instruct.clone()
    }

    /// The file in force.
    pub(super) const fn config(&self) -> &Config {
        self.pool.config()
    }

    /// What is to be installed.
    pub(super) fn desired(&self) -> Config {
        self.pool.desired()
    }

    /// The pages that are to be served, and where.
    pub(super) fn pages(&self) -> BTreeMap<SocketAddr, PathBuf> {
        self.pool.pages()
    }

    /// What this director's own checks say of the services at these addresses, as a score up to 999. `holds`: this
    /// director is active for them.
    pub(super) fn score(&self, vips: &BTreeSet<IpAddr>, holds: bool) -> u16 {
        let now = now();
        let believed = |check: &Arc<Check>, in_force| self.experience.counted(check, in_force, holds, now);
        self.pool.tally(vips, believed).score()
    }

    pub(super) fn describe(&self) -> Vec<ServiceView> {
        self.pool.describe(now())
    }

    /// Has the supervisor watch what the pool wants.
    pub(super) fn watch(&self) {
        // A supervisor that is gone is noticed by `changes`.
        let (checks, counts) = (self.pool.checks(), self.pool.counts());
        self.instruct.send(Instruction::Watch { checks, counts }).ok();
    }

    /// Real servers that are reached by nat, and seem to accept no connection: each by address and port.
    pub(super) fn suspect(&self, suspects: &[(IpAddr, u16)]) {
        let servers = self.pool.config().services.iter().flat_map(|service| &service.real_servers);
        let suspected = servers.filter(|server| {
            server.forward == Forward::Nat && suspects.contains(&(server.address, server.port))
        });
        let checks = suspected.flat_map(|server| server.checks.iter().cloned()).collect();
        // As in `watch`.
        self.instruct.send(Instruction::Hurry(checks)).ok();
    }

    /// The pool for another file, which is in force once it is [`Self::adopt`]ed.
    pub(super) fn planned(&self, config: Config) -> Pool {
        let mut pool = self.pool.clone();
        pool.configure(config, now());
        self.desired.reconfigured(&mut pool, now());
        pool
    }

    /// `pool` is installed already.
    pub(super) fn adopt(&mut self, pool: Pool) {
        self.pool = pool;
        self.pool.take_changed();
        self.configure_alerts();
        self.watch();
        self.desired.watched(&self.pool);
        let checks = self.pool.checks();
        self.experience.keep(|check| checks.contains_key(check));
        self.tell();
        self.save();
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
    pub(super) fn learn(&mut self, changes: Vec<Change>) -> Option<Config> {
        self.experience.learn(&changes, now());
        let changes = self.desired.sift(changes);
        self.pool.checked(changes, now());
        self.outcome()
    }

    /// Where another director hears of the desired state.
    pub(super) fn tell_through(&mut self, own: Own) {
        self.desired.tell_through(own);
    }

    /// Whether another director's state is in force, and not what the own checks say.
    pub(super) const fn follows(&self) -> bool {
        self.desired.follows()
    }

    /// Takes in this director's part; what is to be installed now, if that is something else than before.
    pub(super) fn heed(&mut self, part: Part) -> Option<Config> {
        let is_new = self.desired.heed(part, (&mut self.pool, &mut self.engine), now());
        let desired = self.outcome();
        // Not at each word of another director, who would answer it with the same.
        if is_new {
            self.desired.publish(|| state(&self.pool, &self.engine));
        }
        desired
    }

    /// What directors that are followed have told of their rings, if one is.
    pub(super) fn followed_rings(&self) -> Option<Vec<RingHistory>> {
        self.desired.followed_rings()
    }

    /// Tells other directors what the rings here have become.
    pub(super) fn tell_rings(&mut self, rings: Vec<RingHistory>) {
        if self.desired.tell_rings(rings) {
            self.desired.publish(|| state(&self.pool, &self.engine));
        }
    }

    /// Sets the mode of real servers, where no other director serves. The rest is [`Self::outcome`].
    pub(super) fn maintain(&mut self, selection: &Selection, mode: Mode) -> Found {
        self.pool.maintain(selection, &self.desired.elsewhere(), mode, now())
    }

    /// Who serves at these addresses, or has done so last.
    pub(super) fn served_by(&self, vips: &[IpAddr]) -> Vec<&str> {
        self.desired.served_by(vips)
    }

    /// About once a second.
    pub(super) fn tick(&mut self) -> Option<Config> {
        self.pool.tick(now());
        self.outcome()
    }

    /// Tells what happened; what is to be installed now, if that is something else than before.
    pub(super) fn outcome(&mut self) -> Option<Config> {
        let told = self.tell();
        self.take_unsaved();
        // At once, since an agent that dies now must neither forget it nor tell it again; but without messages no
        // more often than the disk bears.
        if told || now() >= self.saved + BETWEEN_SAVES {
            self.save();
        }
        self.pool.take_changed().then(|| self.pool.desired())
    }

    /// What is known goes to disk, and nobody waits for it.
    fn save(&mut self) {
        self.take_unsaved();
        if std::mem::take(&mut self.unsaved) {
            self.saver.save(state(&self.pool, &self.engine));
            self.saved = now();
        }
    }

    /// The same for those who wait: whether it is on disk. What is wrong is in the log.
    pub(super) fn saved(&mut self) -> impl Future<Output = bool> + Send + use<> {
        self.save();
        self.saver.saved()
    }

    /// At the end of the agent, which a disk that does not answer must not hold up for ever.
    pub(super) async fn save_at_last(mut self) {
        if timeout(LAST_SAVE, self.saved()).await.is_err() {
            let seconds = LAST_SAVE.as_secs();
            error!(seconds, "what was learnt last is not on disk: it does not answer");
        }
    }

    /// What is to be told to the other director is so at once.
    fn take_unsaved(&mut self) {
        // Both are asked, since each forgets that it was.
        if [self.pool.take_unsaved(), self.engine.take_unsaved()].contains(&true) {
            self.unsaved = true;
            self.desired.publish(|| state(&self.pool, &self.engine));
        }
    }

    /// Something between directors, and what of it people are told.
    pub(super) fn report(&mut self, Report { text, concerns }: Report) {
        for concern in concerns {
            self.engine.concern(concern, &text, now());
        }
        let notice = Notice { service: CLUSTER.to_owned(), server: None, what: What::Cluster, reason: text };
        self.journal.add(notice, SystemTime::now());
    }

    /// Whether there was anything to send.
    fn tell(&mut self) -> bool {
        let follows = self.desired.follows();
        for notice in self.pool.take_notices() {
            log(&notice);
            if !follows {
                self.engine.note(&notice, now());
            }
            self.journal.add(notice, SystemTime::now());
        }
        // Then the other one tells people.
        self.engine.stand_by(follows);
        let zoned = Zoned::now();
        let unix_seconds = u64::try_from(zoned.timestamp().as_second()).unwrap_or_default();
        let failures = |server: &ServerKey| self.pool.failures(server);
        let messages = self.engine.due(now(), unix_seconds, &local(&zoned), failures);
        let any = !messages.is_empty();
        messages.into_iter().for_each(|message| self.order(Order::Deliver(message)));
        any
    }

    fn configure_alerts(&mut self) {
        let config = self.pool.config();
        self.engine.configure(config);
        self.order(Order::Configure(config.alerts.clone()));
    }

    fn order(&self, order: Order) {
        if self.courier.send(order).is_err() {
            error!("nobody is told any more: restart lvsd (`lvsctl stop --keep-forwarding` first)");
        }
    }
}

fn state(pool: &Pool, engine: &Engine) -> State {
    State { pool: pool.save(now()), problems: engine.save(now()), rings: Vec::new() }
}

/// Since the machine's start, so that times mean the same to the next agent.
fn now() -> Duration {
    Duration::from_nanos(monotonic_nanoseconds())
}

fn local(zoned: &Zoned) -> LocalTime {
    // None of them is negative.
    let number = |value: i8| u32::from(value.unsigned_abs());
    LocalTime {
        year: u32::from(zoned.year().unsigned_abs()),
        month: number(zoned.month()),
        day: number(zoned.day()),
        year_day: u32::from(zoned.day_of_year().unsigned_abs()),
        weekday: number(zoned.weekday().to_sunday_one_offset()),
        hour: number(zoned.hour()),
        minute: number(zoned.minute()),
        second: number(zoned.second()),
    }
}

fn log(notice: &Notice) {
    let Notice { service, server, what, reason } = notice;
    let server = server.map_or_else(String::new, |server| format!(", real server {server}"));
    match what.is_alarming() {
        true => warn!("service {service}{server}: {}: {reason}", what.word()),
        false => info!("service {service}{server}: {}: {reason}", what.word()),
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
