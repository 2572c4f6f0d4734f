//! Who serves: what the file wants, what the checks say, and what operators have set. Pure.
//!
//! A [`Pool`] takes configurations, changes of standings, modes and the time, and yields the configuration
//! that is to be installed, with notices for people. [`crate::control`] carries it out as any other.
//! [`Saved`] is all it knows beside the file.

mod group;
mod key;
mod maintenance;
mod member;
mod notice;
mod saved;
mod tally;
mod verdict;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::threshold::Standing;
use super::watch::{Certificate, Change};
use crate::config::Config;
use crate::config::model::{Check, Service};

pub use key::{ServerKey, ServiceKey};
pub use maintenance::{Found, Selection};
pub use member::Mode;
pub use notice::{Notice, What};
pub use saved::{Saved, VERSION as SAVED_VERSION};
pub use tally::Tally;
pub use view::{ServerView, ServiceView};

use group::Group;
use member::{Member, Told};

/// A standing, and why.
#[derive(Clone, Debug, Default)]
struct Known {
    standing: Standing,
    evidence: String,
    /// Failures in a row since it went down, the most there were and were told.
    failures: u32,
    /// The one that was seen last.
    certificate: Option<Certificate>,
}

#[derive(Clone, Debug)]
pub struct Pool {
    /// As the file has it.
    config: Config,
    checks: BTreeMap<Arc<Check>, Known>,
    /// Which services a check is for, by their number in the file.
    users: BTreeMap<Arc<Check>, Vec<usize>>,
    members: BTreeMap<ServerKey, Member>,
    groups: BTreeMap<ServiceKey, Group>,
    /// The services as they are to be installed.
    serving: Vec<Service>,
    /// Services in which time alone changes something.
    waiting: BTreeSet<usize>,
    notices: Vec<Notice>,
    changed: bool,
    unsaved: bool,
}

impl Pool {
    pub fn new(config: Config, now: Duration) -> Self {
        let mut pool = Self {
            config: Config { services: Vec::new(), ..config.clone() },
            checks: BTreeMap::new(),
            users: BTreeMap::new(),
            members: BTreeMap::new(),
            groups: BTreeMap::new(),
            serving: Vec::new(),
            waiting: BTreeSet::new(),
            notices: Vec::new(),
            changed: true,
            unsaved: false,
        };
        pool.configure(config, now);
        pool.unsaved = false;
        pool
    }

    /// Another file. What is known of checks and real servers that stay is kept.
    pub fn configure(&mut self, config: Config, now: Duration) {
        self.config = config;
        self.changed = true;
        self.unsaved = true;
        self.assign_checks();
        self.assign_members(now);
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

    /// What the checks have found out, as if it were told once more.
    pub fn evidence(&self) -> impl Iterator<Item = Change> + '_ {
        let told = self.checks.iter().filter(|(_, known)| known.standing != Standing::Untested);
        told.map(|(check, known)| Change {
            check: Arc::clone(check),
            standing: known.standing,
            evidence: known.evidence.clone(),
            failures: known.failures,
            certificate: known.certificate,
        })
    }

    /// Checks have other standings. Each service is judged once for all of them: a thousand may come at a time.
    pub fn checked(&mut self, changes: impl IntoIterator<Item = Change>, now: Duration) {
        let mut concerned = BTreeSet::new();
        for Change { check, standing, evidence, failures, certificate } in changes {
            // One that was under way when the file changed may be gone.
            let Some(known) = self.checks.get_mut(&check) else { continue };
            let before = if known.standing == standing { known.failures } else { 0 };
            let certificate = certificate.or(known.certificate);
            *known = Known { standing, evidence, failures: before.max(failures), certificate };
            self.unsaved = true;
            concerned.extend(self.users.get(&check).into_iter().flatten());
        }
        for number in concerned {
            self.judge(number, now);
        }
    }

    /// How often a real server has failed in a row since it went down, as far as the alerts ask for it.
    pub fn failures(&self, key: &ServerKey) -> u32 {
        self.members.get(key).map_or(0, |member| member.failures)
    }

    /// Numbers of failures in a row that alerts wait for.
    pub fn counts(&self) -> BTreeSet<u32> {
        self.config.alerts.iter().map(|alert| alert.failures).filter(|failures| *failures > 1).collect()
    }

    /// The pages that are to be served, and where.
    pub fn pages(&self) -> BTreeMap<SocketAddr, PathBuf> {
        let services = self.config.services.iter().filter_map(|service| {
            let page = service.health.page.as_ref()?;
            let is_short = self.groups.get(&ServiceKey::new(service)).is_some_and(|group| group.short);
            is_short.then(|| (SocketAddr::new(service.vip, service.port), page.clone()))
        });
        services.collect()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        for number in self.waiting.clone() {
            self.judge(number, now);
        }
    }

    /// Whether [`Self::desired`] is another one since it was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether [`Self::save`] would tell something else since it was last asked; ages do not count.
    pub fn take_unsaved(&mut self) -> bool {
        std::mem::take(&mut self.unsaved)
    }

    /// What happened since it was last asked.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The file without those who do not serve: what is to be installed.
    pub fn desired(&self) -> Config {
        Config { services: self.serving.clone(), ..self.config.clone() }
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

    fn assign_members(&mut self, now: Duration) {
        let mut members = std::mem::take(&mut self.members);
        let mut groups = std::mem::take(&mut self.groups);
        for service in &self.config.services {
            let key = ServiceKey::new(service);
            self.groups.insert(key, groups.remove(&key).unwrap_or_default());
            for real_server in &service.real_servers {
                let key = ServerKey::new(service, real_server);
                self.members.insert(key, members.remove(&key).unwrap_or_else(|| Member::new(now)));
            }
        }
        self.waiting.clear();
        self.serving.clear();
    }

    fn judge_all(&mut self, now: Duration) {
        (0..self.config.services.len()).for_each(|number| self.judge(number, now));
    }

    /// Brings a service up to date with its checks and the time.
    fn judge(&mut self, number: usize, now: Duration) {
        let service = &self.config.services[number];
        let mut told = Vec::new();
        let mut waits = false;
        for real_server in &service.real_servers {
            let key = ServerKey::new(service, real_server);
            let Some(member) = self.members.get_mut(&key) else { continue };
            let known = real_server.checks.iter().filter_map(|check| self.checks.get(check));
            member.failures = verdict::failures(service.health.require, known.clone());
            let known = known.map(|known| (known.standing, known.evidence.as_str()));
            let (verdict, reason) = verdict::of(service.health.require, known);
            told.push((Some(key), member.judge(verdict, reason, &service.health, now)));
            told.push((Some(key), member.advance(&service.health, now)));
            let secure = real_server.checks.iter().filter(|check| check.probe.secure().is_some());
            let seen = secure.map(|check| self.checks.get(check).and_then(|known| known.certificate));
            told.push((Some(key), member.see(seen)));
            waits |= member.waits();
        }
        if let Some(group) = self.groups.get_mut(&ServiceKey::new(service)) {
            told.extend(group.judge(service, &mut self.members, now).map(|told| (None, told)));
            let serving = group.serving(service, &self.members, now);
            if self.serving.get(number) != Some(&serving) {
                self.changed = true;
                match self.serving.get_mut(number) {
                    Some(former) => *former = serving,
                    None => self.serving.push(serving),
                }
            }
        }
        self.note(number, told);
        match waits {
            true => self.waiting.insert(number),
            false => self.waiting.remove(&number),
        };
    }

    fn note(&mut self, number: usize, told: Vec<(Option<ServerKey>, Told)>) {
        let service = &self.config.services[number].name;
        let notices = told.into_iter().filter_map(|(server, told)| {
            let (what, reason) = told?;
            Some(Notice { service: service.clone(), server, what, reason })
        });
        let before = self.notices.len();
        self.notices.extend(notices);
        self.unsaved |= self.notices.len() > before;
    }
}
