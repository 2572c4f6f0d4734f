//! A service's real servers together: are enough of them left, are too many gone at once? Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::ServerKey;
use super::member::{Member, Mode, Phase, Told};
use super::notice::What;
use crate::config::model::{OnDown, RealServer, Service};

/// Who failed so shortly before too many had failed was doubted too late, and is put back.
const AT_ONCE: Duration = Duration::from_secs(60);

/// What weights are multiplied with while one of them grows, so that ten steps can be told apart.
const FINER: u32 = 10;

/// What holds for a service as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    /// Too many are down: the checks are doubted.
    pub(super) doubted: bool,
    /// There are not enough real servers.
    pub(super) short: bool,
}

type Members = BTreeMap<ServerKey, Member>;

impl Group {
    /// Brings the group up to date with its members, and those with the group.
    pub(super) fn judge(&mut self, service: &Service, members: &mut Members, now: Duration) -> [Told; 2] {
        let doubt = self.doubt(service, members, now);
        let quorum = self.count(service, members);
        [doubt, quorum]
    }

    fn doubt(&mut self, service: &Service, members: &mut Members, now: Duration) -> Told {
        if service.health.panic_threshold == 0 && !self.doubted {
            return None;
        }
        let keys: BTreeSet<_> = eligible(service, members).collect();
        let well = keys.iter().filter(|key| members[key].verdict.serves()).count();
        let doubted = !keys.is_empty() && well * 100 < service.health.panic_threshold as usize * keys.len();
        let began = doubted && !self.doubted;
        let ended = self.doubted && !doubted;
        self.doubted = doubted;
        for real_server in &service.real_servers {
            let key = ServerKey::new(service, real_server);
            let counts = keys.contains(&key);
            let Some(member) = members.get_mut(&key).filter(|member| !member.verdict.serves()) else {
                continue;
            };
            match member.phase {
                Phase::Out if began && counts && member.since + AT_ONCE >= now => member.phase = Phase::Held,
                // Whoever falls later does so now.
                Phase::Out if doubted && counts && member.since == now => member.phase = Phase::Held,
                Phase::Held if !doubted => member.phase = Phase::Out,
                _ => {}
            }
        }
        let count = format!("{well} of {} real servers pass their checks", keys.len());
        match (began, ended) {
            (true, _) => Some((What::Doubted, format!("{count}: those that failed last serve on"))),
            (_, true) => Some((What::Trusted, count)),
            _ => None,
        }
    }

    fn count(&mut self, service: &Service, members: &Members) -> Told {
        let serving = eligible(service, members).filter(|key| members[key].serves()).count();
        let needed = if self.short { service.health.quorum_recovery } else { service.health.quorum };
        let short = serving < needed as usize;
        if short == self.short {
            return None;
        }
        self.short = short;
        let what = if short { What::Short } else { What::Enough };
        let fallback = match &service.health.fallback {
            Some(_) if short => "; the fallback serves",
            Some(_) => "; the fallback rests",
            None => "",
        };
        Some((what, format!("{serving} of {needed} real servers that are needed serve{fallback}")))
    }

    /// The service as it is to be installed.
    pub(super) fn serving(&self, service: &Service, members: &Members, now: Duration) -> Service {
        let finer = factor(service, members);
        let fallback = service.health.fallback.as_ref().filter(|_| self.short);
        let mut real_servers: Vec<RealServer> = Vec::new();
        for real_server in &service.real_servers {
            let Some(member) = members.get(&ServerKey::new(service, real_server)) else { continue };
            let leaves = !member.serves() && service.health.on_down == OnDown::Remove;
            if member.mode == Mode::Disabled || leaves {
                continue;
            }
            let takes_new = member.serves() && member.mode == Mode::Enabled && fallback.is_none();
            let tenths = member.tenths(&service.health, now);
            let weight = match real_server.weight {
                weight if takes_new && weight > 0 => (weight * finer * tenths).div_ceil(FINER),
                _ => 0,
            };
            let resets = member.phase == Phase::Out && service.health.on_down == OnDown::Reset;
            real_servers.push(RealServer { weight, checks: Vec::new(), resets, ..real_server.clone() });
        }
        real_servers.extend(fallback.cloned());
        Service { real_servers, ..service.clone() }
    }
}

/// Those who are meant to serve: with a weight, and not under maintenance.
pub(super) fn eligible<'a>(
    service: &'a Service,
    members: &'a Members,
) -> impl Iterator<Item = ServerKey> + 'a {
    let weighted = service.real_servers.iter().filter(|real_server| real_server.weight > 0);
    weighted
        .map(|real_server| ServerKey::new(service, real_server))
        .filter(|key| members.get(key).is_some_and(|member| member.mode == Mode::Enabled))
}

/// What all weights are multiplied with: their proportions stay.
fn factor(service: &Service, members: &Members) -> u32 {
    let is_starting = |real_server: &RealServer| {
        let member = members.get(&ServerKey::new(service, real_server));
        member.is_some_and(|member| matches!(member.phase, Phase::Starting { .. }))
    };
    if !service.real_servers.iter().any(is_starting) {
        return 1;
    }
    let heaviest = service.real_servers.iter().map(|real_server| real_server.weight).max().unwrap_or(1);
    (lvs_common::limits::WEIGHT / heaviest.max(1)).clamp(1, FINER)
}
