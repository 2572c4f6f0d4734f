//! The pool as people ask for it.

use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::key::{ServerKey, ServiceKey};
use super::member::{Mode, Phase};
use super::verdict::Verdict;
use crate::config::model::Check;

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceView {
    pub name: String,
    /// There are not enough real servers.
    pub short: bool,
    /// Too many are down: the checks are doubted.
    pub doubted: bool,
    pub servers: Vec<ServerView>,
}

/// One real server of a service.
#[derive(Clone, Debug)]
pub struct ServerView {
    pub key: ServerKey,
    pub verdict: Verdict,
    /// How long the verdict has stood.
    pub for_time: Duration,
    /// Evidence for the verdict; empty without any.
    pub reason: String,
    pub phase: Phase,
    pub mode: Mode,
    /// As in the file.
    pub weight: u32,
    /// As installed; `None` when it is not.
    pub installed_weight: Option<u32>,
    /// Its connections are reset.
    pub resets: bool,
    pub checks: Vec<Arc<Check>>,
}

impl Pool {
    pub fn describe(&self, now: Duration) -> Vec<ServiceView> {
        let services = self.config.services.iter().zip(&self.serving).map(|(service, serving)| {
            let servers = service.real_servers.iter().filter_map(|real_server| {
                let key = ServerKey::new(service, real_server);
                let member = self.members.get(&key)?;
                let installed =
                    serving.real_servers.iter().find(|serving| ServerKey::new(service, serving) == key);
                Some(ServerView {
                    key,
                    verdict: member.verdict,
                    for_time: now.saturating_sub(member.since),
                    reason: member.reason.clone(),
                    phase: member.phase,
                    mode: member.mode,
                    weight: real_server.weight,
                    installed_weight: installed.map(|serving| serving.weight),
                    resets: installed.is_some_and(|serving| serving.resets),
                    checks: real_server.checks.clone(),
                })
            });
            let group = self.groups.get(&ServiceKey::new(service)).copied().unwrap_or_default();
            ServiceView {
                name: service.name.clone(),
                short: group.short,
                doubted: group.doubted,
                servers: servers.collect(),
            }
        });
        services.collect()
    }
}
