//! Who serves: what the file wants, and what the checks say about it. Pure.
//!
//! A [`Pool`] takes configurations and changes of standings, and yields the configuration that is to be
//! installed, with notices for people. [`crate::control`] carries it out as any other.

mod key;
mod notice;
mod verdict;
mod view;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::threshold::Standing;
use super::watch::Change;
use crate::config::Config;
use crate::config::model::{Check, OnDown, Service};

pub use key::ServerKey;
pub use notice::{Notice, What};
pub use view::{ServerView, ServiceView};

use verdict::Verdict;

/// A standing, and why.
#[derive(Clone, Debug, Default)]
struct Known {
    standing: Standing,
    evidence: String,
}

/// One real server of one service.
#[derive(Clone, Debug)]
struct Server {
    verdict: Verdict,
    /// Since when.
    since: Duration,
    reason: String,
}

#[derive(Clone, Debug)]
pub struct Pool {
    /// As the file has it.
    config: Config,
    checks: BTreeMap<Arc<Check>, Known>,
    /// Which services a check is for, by their number in the file.
    users: BTreeMap<Arc<Check>, Vec<usize>>,
    servers: BTreeMap<ServerKey, Server>,
    notices: Vec<Notice>,
    changed: bool,
}

impl Pool {
    pub fn new(config: Config, now: Duration) -> Self {
        let mut pool = Self {
            config,
            checks: BTreeMap::new(),
            users: BTreeMap::new(),
            servers: BTreeMap::new(),
            notices: Vec::new(),
            changed: true,
        };
        pool.assign_checks();
        pool.judge_all(now);
        pool
    }

    /// Another file. What is known of checks and real servers that stay is kept.
    pub fn configure(&mut self, config: Config, now: Duration) {
        self.config = config;
        self.changed = true;
        self.assign_checks();
        self.judge_all(now);
    }

    /// The file in force.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What is to be watched, and the standing each check has now.
    pub fn checks(&self) -> BTreeMap<Arc<Check>, Standing> {
        self.checks.iter().map(|(check, known)| (Arc::clone(check), known.standing)).collect()
    }

    /// A check has another standing.
    pub fn checked(&mut self, change: Change, now: Duration) {
        let Change { check, standing, evidence } = change;
        // One that was under way when the file changed may be gone.
        let Some(known) = self.checks.get_mut(&check) else { return };
        *known = Known { standing, evidence };
        for service in self.users.get(&check).cloned().unwrap_or_default() {
            self.judge(service, now);
        }
    }

    /// Whether [`Self::desired`] is another one since it was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What happened since it was last asked.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The file without those who do not serve: what is to be installed.
    pub fn desired(&self) -> Config {
        let services = self.config.services.iter().map(|service| self.serving(service));
        Config { services: services.collect(), ..self.config.clone() }
    }

    fn serving(&self, service: &Service) -> Service {
        let mut serving = service.clone();
        serving.real_servers.retain_mut(|real_server| {
            real_server.checks.clear();
            let server = self.servers.get(&ServerKey::new(service, real_server));
            if server.is_none_or(|server| server.verdict.serves()) {
                return true;
            }
            real_server.weight = 0;
            service.health.on_down == OnDown::Quiesce
        });
        serving
    }

    fn assign_checks(&mut self) {
        let mut former = std::mem::take(&mut self.checks);
        self.users.clear();
        for (number, service) in self.config.services.iter().enumerate() {
            for check in service.real_servers.iter().flat_map(|server| &server.checks) {
                let users = self.users.entry(Arc::clone(check)).or_default();
                if users.last() != Some(&number) {
                    users.push(number);
                }
                if !self.checks.contains_key(check) {
                    self.checks.insert(Arc::clone(check), former.remove(check).unwrap_or_default());
                }
            }
        }
    }

    fn judge_all(&mut self, now: Duration) {
        let mut former = std::mem::take(&mut self.servers);
        for service in &self.config.services {
            for real_server in &service.real_servers {
                let key = ServerKey::new(service, real_server);
                if let Some(server) = former.remove(&key) {
                    self.servers.insert(key, server);
                }
            }
        }
        (0..self.config.services.len()).for_each(|number| self.judge(number, now));
    }

    /// Brings the real servers of a service up to date with their checks.
    fn judge(&mut self, number: usize, now: Duration) {
        let service = &self.config.services[number];
        for real_server in &service.real_servers {
            let key = ServerKey::new(service, real_server);
            let known = real_server.checks.iter().filter_map(|check| self.checks.get(check));
            let (verdict, reason) = verdict::of(service.health.require, known);
            let former = self.servers.get(&key);
            if former.is_some_and(|former| former.verdict == verdict) {
                continue;
            }
            let served = former.is_none_or(|former| former.verdict.serves());
            self.changed |= served != verdict.serves();
            if let Some(what) = notice::of(former.map(|former| former.verdict), verdict) {
                self.notices.push(Notice {
                    service: service.name.clone(),
                    server: Some(key),
                    what,
                    reason: reason.clone(),
                });
            }
            self.servers.insert(key, Server { verdict, since: now, reason });
        }
    }
}
