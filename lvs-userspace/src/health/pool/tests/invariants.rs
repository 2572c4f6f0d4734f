//! What holds after any sequence of events.

use proptest::prelude::*;

use super::*;
use crate::config::model::Flaps;

#[derive(Clone, Debug)]
enum Step {
    Checked(u8, bool),
    Maintained(u8, Mode),
    Reloaded,
    Passed(u64),
    Restarted,
}

const HOSTS: std::ops::RangeInclusive<u8> = 1..=5;

fn step() -> impl Strategy<Value = Step> {
    let modes = prop::sample::select(vec![Mode::Enabled, Mode::Drained, Mode::Disabled]);
    prop_oneof![
        6 => (HOSTS, any::<bool>()).prop_map(|(host, up)| Step::Checked(host, up)),
        1 => (HOSTS, modes).prop_map(|(host, mode)| Step::Maintained(host, mode)),
        1 => Just(Step::Reloaded),
        4 => (1..100u64).prop_map(Step::Passed),
        1 => Just(Step::Restarted),
    ]
}

prop_compose! {
    fn health()(
        on_down in prop::sample::select(vec![OnDown::Remove, OnDown::Quiesce, OnDown::Reset]),
        recovery_delay in 0..30u64,
        slow_start in 0..30u64,
        flaps in prop::option::of((1..4u32, 1..200u64, 1..60u64)),
        quorum in 1..4u32,
        more in 0..2u32,
        has_fallback in any::<bool>(),
        panic_threshold in prop_oneof![Just(0), 0..=100u32],
    ) -> Health {
        Health {
            probes_the_path: false,
            require: Require::All,
            on_down,
            recovery_delay: second(recovery_delay),
            slow_start: second(slow_start),
            flaps: flaps.map(|(limit, within, hold)| Flaps { limit, within: second(within), hold: second(hold) }),
            quorum,
            quorum_recovery: quorum + more,
            page: None,
            fallback: has_fallback.then(|| RealServer { checks: Vec::new(), ..real_server(99, 1) }),
            panic_threshold,
        }
    }
}

fn host(server: &RealServer) -> u8 {
    match server.address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => 0,
    }
}

fn check_invariants(pool: &Pool, now: Duration) -> Result<(), TestCaseError> {
    let view = pool.describe(now).remove(0);
    let service = pool.desired().services.remove(0);
    let fallback = service.real_servers.iter().any(|server| host(server) == 99);
    prop_assert_eq!(fallback, view.short && service.health.fallback.is_some());
    for server in &service.real_servers {
        prop_assert!(server.checks.is_empty() && server.weight <= lvs_common::limits::WEIGHT);
        let Some(seen) = view.servers.iter().find(|seen| seen.key.address == server.address) else {
            prop_assert_eq!(host(server), 99);
            continue;
        };
        prop_assert!(seen.mode != Mode::Disabled);
        if server.weight > 0 {
            prop_assert!(seen.mode == Mode::Enabled && !fallback);
            // Only doubt keeps a server that is down.
            prop_assert!(seen.verdict.serves() || view.doubted, "{:?}", seen);
        }
    }
    // Nobody is kept out for no reason.
    for seen in &view.servers {
        let installed = seen.installed_weight.unwrap_or(0) > 0;
        let waits = matches!(seen.phase, member::Phase::Recovering { .. });
        let up = seen.verdict.serves() && seen.mode == Mode::Enabled && !fallback && !waits;
        prop_assert!(!up || installed, "{:?}", seen);
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_wrong_is_ever_installed(health in health(), steps in prop::collection::vec(step(), 0..60)) {
        let mut www = service("www", 80, &[1, 2, 3, 4, 5]);
        www.health = health;
        let file = config(vec![www]);
        let mut now = second(10_000);
        let mut pool = Pool::new(file.clone(), now);
        let mut before = None;
        for step in steps {
            match step {
                Step::Checked(host, up) => {
                    let standing = if up { Standing::Up } else { Standing::Down };
                    pool.checked([change(host, 80, standing)], now);
                }
                Step::Maintained(host, mode) => {
                    let selection = Selection::parse(&format!("10.0.0.{host}"), None).unwrap();
                    prop_assert_eq!(maintain(&mut pool, &selection, mode, now), 1);
                }
                Step::Reloaded => pool.configure(file.clone(), now),
                Step::Passed(seconds) => {
                    now += second(seconds);
                    pool.tick(now);
                }
                Step::Restarted => {
                    pool.tick(now);
                    let mut next = Pool::new(file.clone(), now);
                    next.restore(pool.save(now), now);
                    prop_assert_eq!(next.desired(), pool.desired());
                    pool = next;
                    before = None;
                }
            }
            check_invariants(&pool, now)?;
            // A change is never missed.
            let desired = pool.desired();
            prop_assert!(pool.take_changed() || before.is_none() || before.as_ref() == Some(&desired));
            before = Some(desired);
        }
        // When all is well again for long, everything is as the file has it.
        for host in HOSTS {
            pool.checked([change(host, 80, Standing::Up)], now);
            let selection = Selection::parse(&format!("10.0.0.{host}"), None).unwrap();
            maintain(&mut pool, &selection, Mode::Enabled, now);
        }
        for _ in 0..2 {
            now += second(1_000);
            pool.tick(now);
        }
        let installed = installed(&pool);
        prop_assert_eq!(installed, vec![vec![(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]]);
    }
}
