//! Whose desired state is in force here: this director's own, or that of the active one, which it follows. Of directors
//! that hold groups each, each one's own is, but for what operators want of real servers and for the rings: those of a group
//! are as they are at its holder.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::part::{Elsewhere, Part};
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
    elsewhere: Vec<Elsewhere>,
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

    /// Takes in this director's part; whether it is to [`Self::publish`] for that. `now` is of the pool's clock.
    pub(in crate::runtime) fn heed(
        &mut self,
        part: Part,
        (pool, engine): (&mut Pool, &mut Engine),
        now: Duration,
    ) -> bool {
        let led = matches!(self.role, Role::Leads);
        let Part { is_active, followed, elsewhere } = part;
        match followed {
            Heard::State(latest) if !is_active => {
                let evidence = match std::mem::take(&mut self.role) {
                    Role::Follows { evidence, .. } => evidence,
                    // What its own checks have found out so far.
                    Role::Alone | Role::Leads => by_check(pool),
                };
                take_in(&latest, pool, engine, now);
                self.role = Role::Follows { latest, evidence };
            }
            followed => {
                let role = if is_active { Role::Leads } else { Role::Alone };
                if let Role::Follows { latest, evidence } = std::mem::replace(&mut self.role, role) {
                    // What was wanted a moment before the takeover may be heard a moment after.
                    if let Heard::State(last) = followed
                        && last.version > latest.version
                    {
                        take_in(&last, pool, engine, now);
                    }
                    pool.checked(evidence.into_values(), now);
                }
            }
        }
        self.elsewhere = elsewhere;
        self.follow_modes(pool, now);
        led != matches!(self.role, Role::Leads)
    }

    fn follow_modes(&self, pool: &mut Pool, now: Duration) {
        // Where all of a state is followed, who has told it says what happens.
        let says = !self.follows();
        for Elsewhere { vips, latest, .. } in &self.elsewhere {
            if let Some(latest) = latest {
                pool.follow_modes(&latest.state.pool, vips, says, now);
            }
        }
    }

    /// Addresses at which others serve, or nobody, while this director serves at some.
    pub(in crate::runtime) fn elsewhere(&self) -> BTreeSet<IpAddr> {
        let elsewhere = self.elsewhere.iter().filter(|_| matches!(self.role, Role::Leads));
        elsewhere.flat_map(|other| other.vips.iter().copied()).collect()
    }

    /// Who serves at these addresses, or has done so last.
    pub(in crate::runtime) fn served_by(&self, vips: &[IpAddr]) -> Vec<&str> {
        let others = self.elsewhere.iter().filter(|other| vips.iter().any(|vip| other.vips.contains(vip)));
        others.filter_map(|other| other.director.as_deref()).collect()
    }

    /// Another file: `pool` is the one for it, before anything is known of what is new in it.
    pub(in crate::runtime) fn reconfigured(&self, pool: &mut Pool, now: Duration) {
        if let Role::Follows { latest, .. } = &self.role {
            adopt(latest, pool, now);
        }
        self.follow_modes(pool, now);
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

    /// What directors that are followed have told of their rings; `None`: none is followed for any group.
    pub(in crate::runtime) fn followed_rings(&self) -> Option<Vec<RingHistory>> {
        let in_all = match &self.role {
            Role::Follows { latest, .. } => Some(latest.state.rings.clone()),
            Role::Alone | Role::Leads => None,
        };
        let others = self.elsewhere.iter().filter_map(|other| Some((&other.vips, other.latest.as_ref()?)));
        // Of two that tell of a service, the later one counts.
        let of_others = others
            .map(|(vips, latest)| latest.state.rings.iter().filter_map(|ring| ring.read_at(vips)).collect());
        in_all.into_iter().chain(of_others).reduce(|mut all, more: Vec<RingHistory>| {
            all.extend(more);
            all
        })
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

fn take_in(latest: &Dated<State>, pool: &mut Pool, engine: &mut Engine, now: Duration) {
    adopt(latest, pool, now);
    engine.follow(latest.state.problems.clone(), then(latest, now));
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
    use crate::control::Reader;
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

    fn idle(followed: Heard<State>) -> Part {
        Part { followed, ..Part::default() }
    }

    fn active_with(elsewhere: Vec<Elsewhere>) -> Part {
        Part { is_active: true, elsewhere, ..Part::default() }
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
        active.maintain(&selection, &BTreeSet::new(), Mode::Drained, at(1));
        desired.heed(idle(says(&active)), (&mut own, &mut engine), at(2));
        assert!(desired.follows());
        assert_eq!(weights(&own), [1, 0]);
        // Both ways: the one that was down comes back, then goes again.
        for standing in [Standing::Up, Standing::Down] {
            let change = change(&own, 0, standing);
            assert_eq!(desired.sift(vec![change]), []);
            desired.heed(idle(says(&active)), (&mut own, &mut engine), at(3));
            assert_eq!(weights(&own), [1, 0]);
        }
        let state = || State { pool: own.save(at(4)), problems: Vec::new(), rings: Vec::new() };
        desired.publish(state);
        assert!(told.borrow().is_none());
        // The drain outlives the takeover; what was found out meanwhile counts now.
        desired.heed(active_with(Vec::new()), (&mut own, &mut engine), at(4));
        assert!(!desired.follows());
        assert_eq!(weights(&own), [0]);
        desired.publish(|| State { pool: own.save(at(4)), problems: Vec::new(), rings: Vec::new() });
        assert_eq!(told.borrow().as_ref().unwrap().state.pool, own.save(at(4)));
        desired.heed(idle(Heard::Unknown), (&mut own, &mut engine), at(5));
        desired.publish(|| unreachable!("it is active for nothing"));
        assert!(told.borrow().is_none());
    }

    /// A file with a second service, at another group's address.
    fn two() -> String {
        let (_, service) = FILE.split_once("services:\n").unwrap();
        let service = service.replace("www", "mail").replace("192.0.2.1", "192.0.2.2");
        format!("{FILE}{}", service.trim_end())
    }

    #[test]
    fn of_directors_that_hold_a_group_each_maintenance_is_that_of_the_holder() {
        let [mut first, mut second] =
            [(); 2].map(|()| Pool::new(config::parse(&two(), "lvs.yaml").unwrap(), at(0)));
        let (mut engine, mut desired) = (Engine::default(), Desired::default());
        let server = |host: u8, service: Option<&str>| Selection {
            address: [10, 0, 0, host].into(),
            port: None,
            service: service.map(str::to_owned),
        };
        let www = BTreeSet::from([IpAddr::from([192, 0, 2, 1])]);
        let of_first = |pool: &Pool| {
            let Heard::State(latest) = says(pool) else { unreachable!() };
            let other =
                Elsewhere { director: Some("first".to_owned()), vips: www.clone(), latest: Some(latest) };
            active_with(vec![other])
        };
        // What the second one's checks have found out goes on to count; its own maintenance stays.
        second.checked([change(&second, 0, Standing::Down)], at(1));
        second.maintain(&server(2, Some("mail")), &BTreeSet::new(), Mode::Drained, at(1));
        first.maintain(&server(2, None), &BTreeSet::new(), Mode::Drained, at(1));
        first.maintain(&server(1, Some("mail")), &BTreeSet::new(), Mode::Disabled, at(1));
        assert!(desired.heed(of_first(&first), (&mut second, &mut engine), at(2)), "its role is new");
        let modes = |pool: &Pool| -> Vec<Vec<String>> {
            let services = pool.describe(at(3)).into_iter();
            services
                .map(|service| {
                    service.servers.into_iter().map(|server| server.mode.word().to_owned()).collect()
                })
                .collect()
        };
        assert_eq!(modes(&second), [["enabled", "drained"], ["enabled", "drained"]]);
        assert_eq!(weights(&second), [0], "the first server is down by the second director's own checks");
        assert!(second.take_unsaved());
        // Nothing to tell where nothing is new, or two directors would answer each other for ever.
        assert!(!desired.heed(of_first(&first), (&mut second, &mut engine), at(3)));
        assert!(!second.take_unsaved());

        assert_eq!(desired.elsewhere(), www);
        let found = second.maintain(&server(1, None), &www, Mode::Disabled, at(4));
        assert_eq!((found.here, desired.served_by(&found.elsewhere)), (1, vec!["first"]));
        assert_eq!(modes(&second), [["enabled", "drained"], ["disabled", "drained"]]);
        // Another file is as the first director has it from the beginning, and its end changes nothing.
        let mut planned = Pool::new(config::parse(&two(), "lvs.yaml").unwrap(), at(5));
        desired.reconfigured(&mut planned, at(5));
        assert_eq!(modes(&planned), [["enabled", "drained"], ["enabled", "enabled"]]);
        assert!(!desired.heed(active_with(Vec::new()), (&mut second, &mut engine), at(6)));
        assert_eq!(modes(&second), [["enabled", "drained"], ["disabled", "drained"]]);
    }

    /// Of three, two that hold a group each, and one that stands by.
    #[test]
    fn who_holds_none_has_maintenance_and_rings_of_each_holder() {
        let pools = [(); 3].map(|()| Pool::new(config::parse(&two(), "lvs.yaml").unwrap(), at(0)));
        let [mut first, mut second, mut own] = pools;
        let (mut engine, mut desired) = (Engine::default(), Desired::default());
        let all = |pool: &mut Pool, mode| {
            let selection = Selection { address: [10, 0, 0, 2].into(), port: None, service: None };
            pool.maintain(&selection, &BTreeSet::new(), mode, at(1))
        };
        all(&mut first, Mode::Drained);
        all(&mut second, Mode::Disabled);
        let part = |first: &Pool, second: &Pool| {
            let Heard::State(latest) = says(second) else { unreachable!() };
            let mail = BTreeSet::from([IpAddr::from([192, 0, 2, 2])]);
            let other = Elsewhere { director: Some("second".to_owned()), vips: mail, latest: Some(latest) };
            Part { elsewhere: vec![other], ..idle(says(first)) }
        };
        own.take_notices();
        for _ in 0..2 {
            desired.heed(part(&first, &second), (&mut own, &mut engine), at(2));
            let modes: Vec<Mode> =
                own.describe(at(2)).iter().map(|service| service.servers[1].mode).collect();
            assert_eq!(modes, [Mode::Drained, Mode::Disabled]);
            assert_eq!(own.take_notices(), [], "those who serve say so");
        }
        assert_eq!(desired.followed_rings(), Some(Vec::new()));
        assert_eq!(desired.elsewhere(), BTreeSet::new(), "it is told where to maintain in another way");
    }

    #[test]
    fn of_directors_that_hold_a_group_each_rings_are_those_of_the_holder() {
        let (mut pool, mut engine, mut desired) = (pool(), Engine::default(), Desired::default());
        let ring = |vips: &[[u8; 4]]| RingHistory {
            services: vips
                .iter()
                .map(|vip| Reader { vip: IpAddr::from(*vip), port: 80, protocol: 6 })
                .collect(),
            scheduler: 1,
            slots: 65_537,
            holders: Vec::new(),
            members: BTreeSet::new(),
        };
        let [www, mail] = [[192, 0, 2, 1], [192, 0, 2, 2]];
        let rings = vec![ring(&[www, mail]), ring(&[mail])];
        let state = State { pool: pool.save(at(0)), problems: Vec::new(), rings };
        let latest = Arc::new(Dated { state, version: 1, at: std::time::Instant::now() });
        let other = Elsewhere {
            director: Some("first".to_owned()),
            vips: [IpAddr::from(www)].into(),
            latest: Some(latest),
        };
        desired.heed(active_with(vec![other]), (&mut pool, &mut engine), at(1));
        assert_eq!(desired.followed_rings(), Some(vec![ring(&[www])]));
        desired.heed(active_with(Vec::new()), (&mut pool, &mut engine), at(2));
        assert_eq!(desired.followed_rings(), None);
    }

    #[test]
    fn what_was_told_last_before_a_takeover_is_heard_after_it() {
        let mut active = pool();
        let selection = Selection { address: [10, 0, 0, 2].into(), port: None, service: None };
        active.maintain(&selection, &BTreeSet::new(), Mode::Drained, at(2));
        let Heard::State(last) = says(&active) else { unreachable!() };
        // Of an earlier life, or the one that is in force already; then the last one.
        for (version, expected) in [(1, Mode::Enabled), (2, Mode::Drained)] {
            let (mut own, mut engine) = (pool(), Engine::default());
            let mut desired = Desired::default();
            desired.heed(idle(says(&pool())), (&mut own, &mut engine), at(1));
            let last = Heard::State(Arc::new(Dated { version, ..Dated::clone(&last) }));
            desired.heed(Part { followed: last, ..active_with(Vec::new()) }, (&mut own, &mut engine), at(3));
            assert_eq!(own.describe(at(3))[0].servers[1].mode, expected);
            assert!(!desired.follows());
        }
    }

    /// The supervisor tells changes only, so what it has found out before must not be lost.
    #[test]
    fn what_was_found_out_before_it_followed_counts_when_nobody_is_followed() {
        let (mut active, mut own, mut engine) = (pool(), pool(), Engine::default());
        let mut desired = Desired::default();
        own.checked([0, 1].map(|number| change(&own, number, Standing::Up)), at(1));
        active.checked([change(&active, 0, Standing::Down)], at(1));
        desired.heed(idle(says(&active)), (&mut own, &mut engine), at(2));
        assert_eq!(weights(&own), [1]);
        // Another file, the same checks: what the other one says is in force for the new one at once.
        let mut planned = pool();
        desired.reconfigured(&mut planned, at(3));
        assert_eq!(weights(&planned), [1]);
        desired.watched(&planned);
        for heard in [Heard::Nothing, Heard::Unknown] {
            desired.heed(idle(heard), (&mut planned, &mut engine), at(4));
            assert_eq!(weights(&planned), [1, 1]);
        }
    }
}
