//! Which notice is told to whom, and when. Pure: time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::{Item, Kind, Message};
use super::period::LocalTime;
use crate::config::Config;
use crate::config::model::Alert;
use crate::health::Notice;
use crate::health::pool::{Mode, ServerKey, What};

/// So many problems are kept in mind; whoever has more knows without being told of each.
const MOST_PROBLEMS: usize = 10_000;

/// What can be wrong, and right again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    service: String,
    server: Option<ServerKey>,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Family {
    Server,
    Quorum,
    Doubt,
    Certificate,
}

impl Family {
    /// The event with which its problems begin.
    const fn beginning(self) -> What {
        match self {
            Self::Server => What::Down,
            Self::Quorum => What::Short,
            Self::Doubt => What::Doubted,
            Self::Certificate => What::Expiring,
        }
    }
}

/// A problem in a form that can be kept. Times are ages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedProblem {
    service: String,
    server: Option<ServerKey>,
    family: Family,
    milliseconds: u64,
    reason: String,
    told: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
struct Problem {
    since: Duration,
    reason: String,
    /// By the alert's name: when it was last told.
    told: BTreeMap<String, Duration>,
}

/// Waits for others, to be told together with them.
#[derive(Clone, Debug, Default)]
struct Batch {
    items: Vec<(Subject, Item)>,
    until: Duration,
}

/// Problems, and what is to be told about them.
#[derive(Debug, Default)]
pub struct Engine {
    alerts: Vec<Alert>,
    problems: BTreeMap<Subject, Problem>,
    batches: BTreeMap<(String, Kind), Batch>,
    unsaved: bool,
}

impl Engine {
    /// The file's alerts. Problems, and who was told of them, stay; those of what the file no longer has go.
    pub fn configure(&mut self, config: &Config) {
        self.alerts.clone_from(&config.alerts);
        let known: BTreeSet<_> = config
            .services
            .iter()
            .flat_map(|service| {
                let servers = service.real_servers.iter().map(|server| Some((server.address, server.port)));
                servers.chain([None]).map(|server| (service.name.as_str(), server))
            })
            .collect();
        self.problems.retain(|subject, _| {
            known.contains(&(
                subject.service.as_str(),
                subject.server.map(|server| (server.address, server.port)),
            ))
        });
        self.unsaved = true;
        self.batches.retain(|(name, _), _| self.alerts.iter().any(|alert| alert.name == *name));
    }

    pub fn note(&mut self, notice: &Notice, now: Duration) {
        self.unsaved = true;
        let (family, is_wrong) = match notice.what {
            What::Down => (Family::Server, true),
            What::Short => (Family::Quorum, true),
            What::Doubted => (Family::Doubt, true),
            What::Expiring => (Family::Certificate, true),
            What::Up => (Family::Server, false),
            What::Enough => (Family::Quorum, false),
            What::Trusted => (Family::Doubt, false),
            What::Renewed => (Family::Certificate, false),
            // It recovers, but does not serve yet; and what is between directors is no real server's.
            What::Cluster | What::Recovering | What::Maintained(Mode::Enabled) => return,
            What::Maintained(Mode::Drained | Mode::Disabled) => {
                self.forget(&subject(notice, Family::Server));
                return;
            }
        };
        let subject = subject(notice, family);
        if !is_wrong {
            self.end(&subject, notice, now);
            return;
        }
        if let Some(problem) = self.problems.get_mut(&subject) {
            problem.reason.clone_from(&notice.reason);
        } else if self.problems.len() < MOST_PROBLEMS {
            let reason = notice.reason.clone();
            self.problems.insert(subject, Problem { since: now, reason, told: BTreeMap::new() });
        }
    }

    /// What is to be sent by now. `unix_seconds` and `local` are the same moment as `now`, on other clocks;
    /// `failures`: how often a real server that is down has failed in a row.
    pub fn due(
        &mut self,
        now: Duration,
        unix_seconds: u64,
        local: &LocalTime,
        failures: impl Fn(&ServerKey) -> u32,
    ) -> Vec<Message> {
        let is_certain = |alert: &Alert, subject: &Subject| match subject {
            Subject { family: Family::Server, server: Some(server), .. } if alert.failures > 1 => {
                failures(server) >= alert.failures
            }
            _ => true,
        };
        for alert in self.alerts.iter().filter(|alert| alert.period.contains(local)) {
            for (subject, problem) in self.problems.iter_mut().filter(|(subject, _)| concerns(alert, subject))
            {
                let is_due = match (problem.told.get(&alert.name), alert.every) {
                    (None, _) => problem.since + alert.after <= now && is_certain(alert, subject),
                    (Some(told), Some(every)) => *told + every <= now,
                    (Some(_), None) => false,
                };
                if is_due {
                    problem.told.insert(alert.name.clone(), now);
                    let item = item(
                        subject,
                        subject.family.beginning(),
                        &problem.reason,
                        now.saturating_sub(problem.since),
                    );
                    add(&mut self.batches, alert, Kind::Alert, subject.clone(), item, now);
                }
            }
        }
        let mut messages = Vec::new();
        self.batches.retain(|(alert, kind), batch| {
            if batch.until > now {
                return true;
            }
            let items = std::mem::take(&mut batch.items);
            if !items.is_empty() {
                let items = items.into_iter().map(|(_, item)| item).collect();
                messages.push(Message { alert: alert.clone(), kind: *kind, unix_seconds, items });
            }
            false
        });
        messages
    }

    /// Whether [`Self::save`] would tell something else since it was last asked; ages do not count.
    pub fn take_unsaved(&mut self) -> bool {
        std::mem::take(&mut self.unsaved)
    }

    pub fn save(&self, now: Duration) -> Vec<SavedProblem> {
        let age = |time| u64::try_from(now.saturating_sub(time).as_millis()).unwrap_or(u64::MAX);
        let problems = self.problems.iter().map(|(subject, problem)| SavedProblem {
            service: subject.service.clone(),
            server: subject.server,
            family: subject.family,
            milliseconds: age(problem.since),
            reason: problem.reason.clone(),
            told: problem.told.iter().map(|(alert, time)| (alert.clone(), age(*time))).collect(),
        });
        problems.collect()
    }

    /// Knows what another engine knows; messages are that one's to send.
    pub fn follow(&mut self, saved: Vec<SavedProblem>, now: Duration) {
        self.problems.clear();
        self.batches.clear();
        self.restore(saved, now);
        self.unsaved = true;
    }

    /// Goes on where an engine has ended.
    pub fn restore(&mut self, saved: Vec<SavedProblem>, now: Duration) {
        let past = |milliseconds| now.saturating_sub(Duration::from_millis(milliseconds));
        for SavedProblem { service, server, family, milliseconds, reason, told } in saved {
            let told = told.into_iter().map(|(alert, age)| (alert, past(age))).collect();
            let problem = Problem { since: past(milliseconds), reason, told };
            self.problems.insert(Subject { service, server, family }, problem);
        }
    }

    fn end(&mut self, subject: &Subject, notice: &Notice, now: Duration) {
        let Some(problem) = self.problems.remove(subject) else { return };
        for alert in self.alerts.iter().filter(|alert| problem.told.contains_key(&alert.name)) {
            // One that was not sent yet need not be taken back, unless it is a repetition.
            if take(&mut self.batches, &alert.name, subject) && problem.told[&alert.name] + alert.group > now
            {
                continue;
            }
            if alert.up {
                let item = item(subject, notice.what, &notice.reason, now.saturating_sub(problem.since));
                add(&mut self.batches, alert, Kind::Up, subject.clone(), item, now);
            }
        }
    }

    fn forget(&mut self, subject: &Subject) {
        self.problems.remove(subject);
        for alert in &self.alerts {
            take(&mut self.batches, &alert.name, subject);
        }
    }
}

fn subject(notice: &Notice, family: Family) -> Subject {
    Subject { service: notice.service.clone(), server: notice.server, family }
}

fn concerns(alert: &Alert, subject: &Subject) -> bool {
    let service = alert.services.is_empty() || alert.services.contains(&subject.service);
    let address = subject.server.map(|server| server.address);
    let server =
        alert.real_servers.is_empty() || address.is_some_and(|address| alert.real_servers.contains(&address));
    service && server
}

fn item(subject: &Subject, what: What, reason: &str, age: Duration) -> Item {
    Item {
        service: subject.service.clone(),
        server: subject.server.map(|server| SocketAddr::new(server.address, server.port)),
        what: what.word().to_owned(),
        reason: reason.to_owned(),
        seconds: age.as_secs(),
    }
}

fn add(
    batches: &mut BTreeMap<(String, Kind), Batch>,
    alert: &Alert,
    kind: Kind,
    subject: Subject,
    item: Item,
    now: Duration,
) {
    let fresh = || Batch { items: Vec::new(), until: now + alert.group };
    batches.entry((alert.name.clone(), kind)).or_insert_with(fresh).items.push((subject, item));
}

/// Takes an alert that waits back; whether there was one.
fn take(batches: &mut BTreeMap<(String, Kind), Batch>, alert: &str, subject: &Subject) -> bool {
    let Some(batch) = batches.get_mut(&(alert.to_owned(), Kind::Alert)) else { return false };
    let before = batch.items.len();
    batch.items.retain(|(waiting, _)| waiting != subject);
    batch.items.len() < before
}

#[cfg(test)]
mod tests;
