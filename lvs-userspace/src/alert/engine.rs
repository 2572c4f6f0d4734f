//! Which notice is told to whom, and when. Pure: time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::concern::{Concern, Course, Topic};
use super::message::{CLUSTER, Item, Kind, Message};
use super::period::LocalTime;
use crate::config::Config;
use crate::config::model::Alert;
use crate::health::Notice;
use crate::health::pool::{Mode, ServerKey, What};

/// So many problems are kept in mind; whoever has more knows without being told of each.
const MOST_PROBLEMS: usize = 10_000;

/// What has happened once is not told any more after this time.
const NEWS: Duration = Duration::from_secs(24 * 60 * 60);

/// What can be wrong, and right again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Subject {
    service: String,
    server: Option<ServerKey>,
    family: Family,
    /// Of the cluster: the node, group or address.
    #[serde(default)]
    about: Option<String>,
}

impl Subject {
    const fn is_of_the_cluster(&self) -> bool {
        matches!(self.family, Family::Cluster(_))
    }

    /// Whether it is told also while another director tells people.
    const fn is_own(&self) -> bool {
        matches!(self.family, Family::Cluster(topic) if topic.is_own())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Family {
    Server,
    Quorum,
    Doubt,
    Certificate,
    /// Between directors.
    Cluster(Topic),
}

impl Family {
    /// The word for the event with which its problems begin.
    const fn beginning(self) -> &'static str {
        match self {
            Self::Server => What::Down.word(),
            Self::Quorum => What::Short.word(),
            Self::Doubt => What::Doubted.word(),
            Self::Certificate => What::Expiring.word(),
            Self::Cluster(topic) => topic.words()[0],
        }
    }
}

/// A problem in a form that can be kept. Times are ages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedProblem {
    #[serde(flatten)]
    subject: Subject,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    happened: bool,
    milliseconds: u64,
    reason: String,
    told: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
struct Problem {
    since: Duration,
    reason: String,
    /// Of the cluster: names of the groups it touches.
    groups: Vec<String>,
    /// It has happened, and has no end.
    happened: bool,
    /// The director that this one follows has told of it, and will tell of its end.
    is_others: bool,
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
    /// Another director tells people.
    stands_by: bool,
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
        self.problems.retain(|subject, _| match subject.is_of_the_cluster() {
            true => config.cluster.is_some(),
            false => known.contains(&(
                subject.service.as_str(),
                subject.server.map(|server| (server.address, server.port)),
            )),
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
            // It recovers, but does not serve yet; and what is between directors comes by `concern`.
            What::Cluster | What::Recovering | What::Maintained(Mode::Enabled) => return,
            What::Maintained(Mode::Drained | Mode::Disabled) => {
                self.forget(&subject(notice, Family::Server));
                return;
            }
        };
        let subject = subject(notice, family);
        match is_wrong {
            true => self.begin(subject, &notice.reason, Vec::new(), now),
            false => self.end(&subject, notice.what.word(), &notice.reason, now),
        }
    }

    /// Something between directors.
    pub fn concern(&mut self, concern: Concern, reason: &str, now: Duration) {
        let Concern { topic, about, groups, course } = concern;
        let family = Family::Cluster(topic);
        let subject = Subject { service: CLUSTER.to_owned(), server: None, family, about: Some(about) };
        self.unsaved = true;
        match course {
            Course::Begins => self.begin(subject, reason, groups, now),
            Course::Ends => self.end(&subject, topic.words()[1], reason, now),
            Course::Happens => {
                // What has happened before is news no more.
                self.forget(&subject);
                self.begin(subject.clone(), reason, groups, now);
                if let Some(problem) = self.problems.get_mut(&subject) {
                    problem.happened = true;
                }
            }
        }
    }

    /// Whether another director tells people; then this one says only what nobody else knows. What it sees of
    /// the cluster meanwhile is told when it no longer stands by, if it still lasts.
    pub const fn stand_by(&mut self, stands_by: bool) {
        self.stands_by = stands_by;
    }

    fn begin(&mut self, subject: Subject, reason: &str, groups: Vec<String>, now: Duration) {
        if let Some(problem) = self.problems.get_mut(&subject) {
            reason.clone_into(&mut problem.reason);
        } else if self.problems.len() < MOST_PROBLEMS {
            let (reason, told) = (reason.to_owned(), BTreeMap::new());
            let problem = Problem { since: now, reason, groups, happened: false, is_others: false, told };
            self.problems.insert(subject, problem);
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
        let stands_by = self.stands_by;
        for alert in self.alerts.iter().filter(|alert| alert.period.contains(local)) {
            let own = self.problems.iter_mut().filter(|(subject, _)| !stands_by || subject.is_own());
            for (subject, problem) in own.filter(|(subject, _)| concerns(alert, subject)) {
                let is_due = match (problem.told.get(&alert.name), alert.every) {
                    (None, _) if problem.happened => true,
                    (None, _) => problem.since + alert.after <= now && is_certain(alert, subject),
                    (Some(told), Some(every)) => !problem.happened && *told + every <= now,
                    (Some(_), None) => false,
                };
                if is_due {
                    problem.told.insert(alert.name.clone(), now);
                    let item = item(subject, subject.family.beginning(), &problem.reason, problem, now);
                    add(&mut self.batches, alert, Kind::Alert, subject.clone(), item, now);
                }
            }
        }
        let alerts = &self.alerts;
        self.problems.retain(|subject, problem| {
            let mut concerned = alerts.iter().filter(|alert| concerns(alert, subject));
            let is_told = concerned.all(|alert| problem.told.contains_key(&alert.name));
            !problem.happened || (!is_told && problem.since + NEWS > now)
        });
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
            subject: subject.clone(),
            groups: problem.groups.clone(),
            happened: problem.happened,
            milliseconds: age(problem.since),
            reason: problem.reason.clone(),
            told: problem.told.iter().map(|(alert, time)| (alert.clone(), age(*time))).collect(),
        });
        problems.collect()
    }

    /// Knows what another engine knows of services; messages are that one's to send. What it sees of the cluster is
    /// its own view, but who was told of the same by the other one is not told again.
    pub fn follow(&mut self, saved: Vec<SavedProblem>, now: Duration) {
        let (cluster, services) = saved.into_iter().partition(|saved| saved.subject.is_of_the_cluster());
        self.problems.retain(|subject, _| subject.is_of_the_cluster());
        for batch in self.batches.values_mut() {
            batch.items.retain(|(subject, _)| subject.is_of_the_cluster());
        }
        self.problems.values_mut().for_each(|problem| problem.is_others = false);
        self.restore(services, now);
        for SavedProblem { subject, told, .. } in cluster {
            if let Some(problem) = self.problems.get_mut(&subject) {
                problem.is_others = !told.is_empty();
                let told = told.into_iter().map(|(alert, age)| (alert, past(now, age)));
                problem.told.extend(told);
            }
        }
        self.unsaved = true;
    }

    /// Goes on where an engine has ended.
    pub fn restore(&mut self, saved: Vec<SavedProblem>, now: Duration) {
        for SavedProblem { subject, groups, happened, milliseconds, reason, told } in saved {
            let told = told.into_iter().map(|(alert, age)| (alert, past(now, age))).collect();
            let since = past(now, milliseconds);
            let problem = Problem { since, reason, groups, happened, is_others: false, told };
            self.problems.insert(subject, problem);
        }
    }

    fn end(&mut self, subject: &Subject, word: &'static str, reason: &str, now: Duration) {
        let Some(problem) = self.problems.remove(subject) else { return };
        if self.stands_by && problem.is_others {
            self.withdraw(subject);
            return;
        }
        for alert in self.alerts.iter().filter(|alert| problem.told.contains_key(&alert.name)) {
            // One that was not sent yet need not be taken back, unless it is a repetition.
            if take(&mut self.batches, &alert.name, subject) && problem.told[&alert.name] + alert.group > now
            {
                continue;
            }
            if alert.up {
                let item = item(subject, word, reason, &problem, now);
                add(&mut self.batches, alert, Kind::Up, subject.clone(), item, now);
            }
        }
    }

    fn forget(&mut self, subject: &Subject) {
        self.problems.remove(subject);
        self.withdraw(subject);
    }

    fn withdraw(&mut self, subject: &Subject) {
        for alert in &self.alerts {
            take(&mut self.batches, &alert.name, subject);
        }
    }
}

fn subject(notice: &Notice, family: Family) -> Subject {
    Subject { service: notice.service.clone(), server: notice.server, family, about: None }
}

fn past(now: Duration, milliseconds: u64) -> Duration {
    now.saturating_sub(Duration::from_millis(milliseconds))
}

fn concerns(alert: &Alert, subject: &Subject) -> bool {
    if subject.is_of_the_cluster() {
        return alert.cluster;
    }
    let service = alert.services.is_empty() || alert.services.contains(&subject.service);
    let address = subject.server.map(|server| server.address);
    let server =
        alert.real_servers.is_empty() || address.is_some_and(|address| alert.real_servers.contains(&address));
    service && server
}

/// `reason` is the problem's own, or that of its end.
fn item(subject: &Subject, word: &'static str, reason: &str, problem: &Problem, now: Duration) -> Item {
    Item {
        service: subject.service.clone(),
        server: subject.server.map(|server| SocketAddr::new(server.address, server.port)),
        about: subject.about.clone(),
        groups: problem.groups.clone(),
        what: word.to_owned(),
        reason: reason.to_owned(),
        seconds: now.saturating_sub(problem.since).as_secs(),
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
