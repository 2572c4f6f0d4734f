//! Whose desired state is in force here: this director's own, or that of the active one, which it follows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::alert::Engine;
use crate::cluster::state::{Dated, Heard};
use crate::config::model::Check;
use crate::control::RingHistory;
use crate::health::{Change, Pool};
use crate::runtime::store::State;

/// Through which the others are told; `None`: this one is active for nothing.
pub(in crate::runtime) type Own = watch::Sender<Option<Arc<Dated<State>>>>;

#[derive(Debug, Default)]
pub(in crate::runtime) struct Desired {
    /// `None` without a cluster.
    own: Option<Own>,
    /// States that were told.
    version: u64,
    /// What is told of this director's rings.
    rings: Vec<RingHistory>,
    role: Role,
}

#[derive(Debug, Default)]
enum Role {
    /// It neither tells nor follows: its own checks count.
    #[default]
    Alone,
    /// It is active, and tells.
    Leads,
    /// Another one's checks count. What its own have found out is kept until they count again.
    Follows { latest: Arc<Dated<State>>, evidence: BTreeMap<Arc<Check>, Change> },
}

impl Desired {
    pub(in crate::runtime) fn tell_through(&mut self, own: Own) {
        self.own = Some(own);
    }

    pub(in crate::runtime) const fn follows(&self) -> bool {
        matches!(self.role, Role::Follows { .. })
    }

    /// What counts of the results of own checks.
    pub(in crate::runtime) fn sift(&mut self, changes: Vec<Change>) -> Vec<Change> {
        let Role::Follows { evidence, .. } = &mut self.role else { return changes };
        evidence.extend(changes.into_iter().map(|change| (Arc::clone(&change.check), change)));
        Vec::new()
    }

    /// Takes in which role this director has, and what it has heard. `now` is of the pool's clock.
    pub(in crate::runtime) fn heed(
        &mut self,
        is_active: bool,
        heard: Heard<State>,
        (pool, engine): (&mut Pool, &mut Engine),
        now: Duration,
    ) {
        match heard {
            Heard::State(latest) if !is_active => {
                let evidence = match std::mem::take(&mut self.role) {
                    Role::Follows { evidence, .. } => evidence,
                    // What its own checks have found out so far.
                    Role::Alone | Role::Leads => by_check(pool),
                };
                adopt(&latest, pool, now);
                engine.follow(latest.state.problems.clone(), then(&latest, now));
                self.role = Role::Follows { latest, evidence };
            }
            _ => {
                let role = if is_active { Role::Leads } else { Role::Alone };
                if let Role::Follows { evidence, .. } = std::mem::replace(&mut self.role, role) {
                    pool.checked(evidence.into_values(), now);
                }
            }
        }
    }

    /// Another file: `pool` is the one for it, before anything is known of what is new in it.
    pub(in crate::runtime) fn reconfigured(&self, pool: &mut Pool, now: Duration) {
        if let Role::Follows { latest, .. } = &self.role {
            adopt(latest, pool, now);
        }
    }

    /// The supervisor was told to watch the checks of `pool`, and begins new ones as they stand there.
    pub(in crate::runtime) fn watched(&mut self, pool: &Pool) {
        if let Role::Follows { evidence, .. } = &mut self.role {
            let mut begun = by_check(pool);
            let checks = pool.checks();
            evidence.retain(|check, _| checks.contains_key(check));
            begun.append(evidence);
            *evidence = begun;
        }
    }

    /// What the director that is followed has told of its rings.
    pub(in crate::runtime) fn followed_rings(&self) -> Option<&[RingHistory]> {
        match &self.role {
            Role::Follows { latest, .. } => Some(&latest.state.rings),
            Role::Alone | Role::Leads => None,
        }
    }

    /// What to tell of this director's rings from the next [`Self::publish`] on; whether that is new.
    pub(in crate::runtime) fn tell_rings(&mut self, rings: Vec<RingHistory>) -> bool {
        let is_new = rings != self.rings;
        self.rings = rings;
        is_new
    }

    /// Tells the other directors, if they are to follow this one.
    pub(in crate::runtime) fn publish(&mut self, state: impl FnOnce() -> State) {
        let Some(own) = &self.own else { return };
        match self.role {
            Role::Leads => {
                self.version += 1;
                let (version, at) = (self.version, std::time::Instant::now());
                let state = State { rings: self.rings.clone(), ..state() };
                let dated = Dated { state, version, at };
                own.send_replace(Some(Arc::new(dated)));
            }
            Role::Alone | Role::Follows { .. } => {
                own.send_if_modified(|own| own.take().is_some());
            }
        }
    }
}

fn adopt(latest: &Dated<State>, pool: &mut Pool, now: Duration) {
    pool.follow(latest.state.pool.clone(), then(latest, now));
    // What has changed by itself since then.
    pool.tick(now);
}

/// When the state was so, by the clock that shows `now`.
fn then(latest: &Dated<State>, now: Duration) -> Duration {
    now.saturating_sub(latest.at.elapsed())
}

fn by_check(pool: &Pool) -> BTreeMap<Arc<Check>, Change> {
    pool.evidence().map(|change| (Arc::clone(&change.check), change)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::health::Standing;
    use crate::health::pool::{Mode, Selection};

    const FILE: &str = "
version: 1
interfaces: [eth0]
services:
  - name: www
    vip: 192.0.2.1
    port: 80
    protocol: tcp
    health: {checks: [{type: tcp}]}
    real_servers: [{address: 10.0.0.1}, {address: 10.0.0.2}]
";

    fn at(second: u64) -> Duration {
        Duration::from_secs(1_000 + second)
    }

    fn pool() -> Pool {
        Pool::new(config::parse(FILE, "lvs.yaml").unwrap(), at(0))
    }

    fn change(pool: &Pool, number: usize, standing: Standing) -> Change {
        let check = pool.checks().into_keys().nth(number).unwrap();
        Change { check, standing, evidence: "evidence".to_owned(), failures: 0, certificate: None }
    }

    fn weights(pool: &Pool) -> Vec<u32> {
        pool.desired().services[0].real_servers.iter().map(|server| server.weight).collect()
    }

    fn says(pool: &Pool) -> Heard<State> {
        let state = State { pool: pool.save(at(0)), problems: Vec::new(), rings: Vec::new() };
        Heard::State(Arc::new(Dated { state, version: 1, at: std::time::Instant::now() }))
    }

    #[test]
    fn own_checks_are_evidence_until_this_director_leads() {
        let (mut active, mut own, mut engine) = (pool(), pool(), Engine::default());
        let mut desired = Desired::default();
        let (sender, told) = watch::channel(None);
        desired.tell_through(sender);
        // Before it has heard anything they count.
        own.checked(desired.sift(vec![change(&own, 0, Standing::Down)]), at(1));
        assert_eq!(weights(&own), [1]);
        active.checked([0, 1].map(|number| change(&active, number, Standing::Up)), at(1));
        let selection = Selection { address: [10, 0, 0, 2].into(), port: None, service: None };
        active.maintain(&selection, Mode::Drained, at(1));
        desired.heed(false, says(&active), (&mut own, &mut engine), at(2));
        assert!(desired.follows());
        assert_eq!(weights(&own), [1, 0]);
        // Both ways: the one that was down comes back, then goes again.
        for standing in [Standing::Up, Standing::Down] {
            let change = change(&own, 0, standing);
            assert_eq!(desired.sift(vec![change]), []);
            desired.heed(false, says(&active), (&mut own, &mut engine), at(3));
            assert_eq!(weights(&own), [1, 0]);
        }
        let state = || State { pool: own.save(at(4)), problems: Vec::new(), rings: Vec::new() };
        desired.publish(state);
        assert!(told.borrow().is_none());
        // The drain outlives the takeover; what was found out meanwhile counts now.
        desired.heed(true, says(&active), (&mut own, &mut engine), at(4));
        assert!(!desired.follows());
        assert_eq!(weights(&own), [0]);
        desired.publish(|| State { pool: own.save(at(4)), problems: Vec::new(), rings: Vec::new() });
        assert_eq!(told.borrow().as_ref().unwrap().state.pool, own.save(at(4)));
        desired.heed(false, Heard::Unknown, (&mut own, &mut engine), at(5));
        desired.publish(|| unreachable!("it is active for nothing"));
        assert!(told.borrow().is_none());
    }

    /// The supervisor tells changes only, so what it has found out before must not be lost.
    #[test]
    fn what_was_found_out_before_it_followed_counts_when_nobody_is_followed() {
        let (mut active, mut own, mut engine) = (pool(), pool(), Engine::default());
        let mut desired = Desired::default();
        own.checked([0, 1].map(|number| change(&own, number, Standing::Up)), at(1));
        active.checked([change(&active, 0, Standing::Down)], at(1));
        desired.heed(false, says(&active), (&mut own, &mut engine), at(2));
        assert_eq!(weights(&own), [1]);
        // Another file, the same checks: what the other one says is in force for the new one at once.
        let mut planned = pool();
        desired.reconfigured(&mut planned, at(3));
        assert_eq!(weights(&planned), [1]);
        desired.watched(&planned);
        for heard in [Heard::Nothing, Heard::Unknown] {
            desired.heed(false, heard, (&mut planned, &mut engine), at(4));
            assert_eq!(weights(&planned), [1, 1]);
        }
    }
}
