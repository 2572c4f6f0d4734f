//! The desired state in a form that can be kept and sent: verdicts, modes, and how far each return is.
//! Times are ages, so that it means the same on another clock.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::group::Group;
use super::key::{ServerKey, ServiceKey};
use super::member::{Member, Mode, Phase};
use super::verdict::Verdict;
use super::{Known, Pool};
use crate::config::model::Check;
use crate::health::hexadecimal::hexadecimal;
use crate::health::legible;
use crate::health::threshold::Standing;
use crate::health::watch::Certificate;

/// Of the form; another one is not read.
pub const VERSION: u32 = 1;

/// Everything a pool knows that its configuration does not say. Rules for changes: [`legible`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    #[serde(deserialize_with = "version")]
    pub version: u32,
    #[serde(deserialize_with = "legible::list")]
    servers: Vec<SavedServer>,
    #[serde(deserialize_with = "legible::list")]
    services: Vec<SavedService>,
    #[serde(deserialize_with = "legible::list")]
    checks: Vec<SavedCheck>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedServer {
    #[serde(flatten)]
    key: ServerKey,
    verdict: Verdict,
    milliseconds: u64,
    reason: String,
    phase: SavedPhase,
    mode: Mode,
    /// How long ago it failed.
    falls: Vec<u64>,
    #[serde(default)]
    expiring: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedPhase {
    Serving,
    Starting { since_milliseconds: u64 },
    Out,
    Recovering { for_milliseconds: u64 },
    Held,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedService {
    #[serde(flatten)]
    key: ServiceKey,
    #[serde(flatten)]
    group: Group,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedCheck {
    identity: String,
    standing: Standing,
    evidence: String,
    #[serde(default)]
    certificate: Option<Certificate>,
}

impl Saved {
    /// Nothing in it that a fresh pool would not know.
    pub const fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.services.is_empty() && self.checks.is_empty()
    }

    /// What operators want of real servers. One that is not named is enabled.
    pub(super) fn modes(&self) -> impl Iterator<Item = (ServerKey, Mode)> + '_ {
        self.servers.iter().map(|server| (server.key, server.mode))
    }
}

impl Pool {
    pub fn save(&self, now: Duration) -> Saved {
        let age = |time| milliseconds(now.saturating_sub(time));
        let news = |member: &Member| {
            let is_fresh = matches!(member.verdict, Verdict::Unchecked | Verdict::Untested);
            let is_usual = member.mode == Mode::Enabled && member.phase == Phase::Serving;
            !is_fresh || !is_usual || member.expiring.is_some()
        };
        let servers =
            self.members.iter().filter(|(_, member)| news(member)).map(|(key, member)| SavedServer {
                key: *key,
                verdict: member.verdict,
                milliseconds: age(member.since),
                reason: member.reason.clone(),
                phase: match member.phase {
                    Phase::Serving => SavedPhase::Serving,
                    Phase::Starting { from } => SavedPhase::Starting { since_milliseconds: age(from) },
                    Phase::Out => SavedPhase::Out,
                    Phase::Recovering { until } => {
                        SavedPhase::Recovering { for_milliseconds: milliseconds(until.saturating_sub(now)) }
                    }
                    Phase::Held => SavedPhase::Held,
                },
                mode: member.mode,
                falls: member.falls.iter().map(|fall| age(*fall)).collect(),
                expiring: member.expiring,
            });
        let groups = self.groups.iter().filter(|(_, group)| **group != Group::default());
        let checks = self.checks.iter().filter(|(_, known)| known.standing != Standing::Untested);
        Saved {
            version: VERSION,
            servers: servers.collect(),
            services: groups.map(|(key, group)| SavedService { key: *key, group: *group }).collect(),
            checks: checks
                .map(|(check, known)| SavedCheck {
                    identity: identity(check),
                    standing: known.standing,
                    evidence: known.evidence.clone(),
                    certificate: known.certificate,
                })
                .collect(),
        }
    }

    /// Becomes what another pool was at `now`: what `saved` does not name is as new.
    pub fn follow(&mut self, saved: Saved, now: Duration) {
        self.checks.values_mut().for_each(|known| *known = Known::default());
        self.members.values_mut().for_each(|member| *member = Member::new(now));
        self.groups.values_mut().for_each(|group| *group = Group::default());
        self.restore(saved, now);
        self.unsaved = true;
    }

    /// Goes on where a pool has ended. What the file no longer has is forgotten.
    pub fn restore(&mut self, saved: Saved, now: Duration) {
        let past = |milliseconds| now.saturating_sub(Duration::from_millis(milliseconds));
        let known: std::collections::BTreeMap<String, Known> = saved
            .checks
            .into_iter()
            .map(|SavedCheck { identity, standing, evidence, certificate }| {
                (identity, Known { standing, evidence, failures: 0, certificate })
            })
            .collect();
        for (check, value) in &mut self.checks {
            if let Some(known) = known.get(&identity(check)) {
                *value = known.clone();
            }
        }
        for server in saved.servers {
            let Some(member) = self.members.get_mut(&server.key) else { continue };
            *member = Member {
                verdict: server.verdict,
                since: past(server.milliseconds),
                reason: server.reason,
                phase: match server.phase {
                    SavedPhase::Serving => Phase::Serving,
                    SavedPhase::Starting { since_milliseconds } => {
                        Phase::Starting { from: past(since_milliseconds) }
                    }
                    SavedPhase::Out => Phase::Out,
                    SavedPhase::Recovering { for_milliseconds } => {
                        Phase::Recovering { until: now + Duration::from_millis(for_milliseconds) }
                    }
                    SavedPhase::Held => Phase::Held,
                },
                mode: server.mode,
                falls: server.falls.into_iter().map(past).collect(),
                failures: 0,
                expiring: server.expiring,
            };
        }
        for service in saved.services {
            if let Some(group) = self.groups.get_mut(&service.key) {
                *group = service.group;
            }
        }
        self.judge_all(now);
    }
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        VERSION => Ok(VERSION),
        other => Err(D::Error::custom(format!("it is of version {other}, this lvsd knows {VERSION}"))),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Names a definition: the SHA-256 of how it is written.
fn identity(check: &Check) -> String {
    // It consists of text and numbers; serde_json has no reason to refuse.
    let written = serde_json::to_vec(check).unwrap_or_default();
    hexadecimal(&Sha256::digest(written))
}
