//! The pool as people ask for it.

use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::key::ServerKey;
use super::verdict::Verdict;
use crate::config::model::Check;

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceView {
    pub name: String,
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
    /// As in the file.
    pub weight: u32,
    /// As installed; `None` when it is not.
    pub installed_weight: Option<u32>,
    pub checks: Vec<Arc<Check>>,
}

impl Pool {
    pub fn describe(&self, now: Duration) -> Vec<ServiceView> {
        let services = self.config.services.iter().map(|service| {
            let serving = self.serving(service);
            let servers = service.real_servers.iter().filter_map(|real_server| {
                let key = ServerKey::new(service, real_server);
                let server = self.servers.get(&key)?;
                let installed =
                    serving.real_servers.iter().find(|serving| ServerKey::new(service, serving) == key);
                Some(ServerView {
                    key,
                    verdict: server.verdict,
                    for_time: now.saturating_sub(server.since),
                    reason: server.reason.clone(),
                    weight: real_server.weight,
                    installed_weight: installed.map(|serving| serving.weight),
                    checks: real_server.checks.clone(),
                })
            });
            ServiceView { name: service.name.clone(), servers: servers.collect() }
        });
        services.collect()
    }
}
