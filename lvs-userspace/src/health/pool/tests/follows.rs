//! A standby's pool becomes what the active one's is.

use super::*;

/// What happens to a pool at a second.
type Step<'a> = &'a dyn Fn(&mut Pool, u64);

fn maintained(pool: &mut Pool, host: u8, mode: Mode, at: u64) {
    let selection = Selection { address: IpAddr::from([10, 0, 0, host]), port: None, service: None };
    assert_eq!(maintain(pool, &selection, mode, second(at)), 1);
}

/// Also what the other one knows nothing special of any more, which it does not tell.
#[test]
fn whatever_the_active_one_does_the_standby_has_it() {
    let mut www = service("www", 80, &[1, 2, 3, 4]);
    www.real_servers[3].checks.clear();
    www.health = Health { slow_start: second(100), quorum: 3, quorum_recovery: 3, ..Health::default() };
    let file = config(vec![www]);
    let (mut active, mut standby) = (Pool::new(file.clone(), second(0)), Pool::new(file, second(0)));
    // What the standby's own checks have said counts for nothing.
    standby.checked([change(2, 80, Standing::Down), change(3, 80, Standing::Up)], second(1));
    let told_before = told(&mut standby).len();
    assert_eq!(told_before, 1);
    let steps: [Step<'_>; 7] = [
        &|_, _| {},
        &|pool, at| pool.checked([change(1, 80, Standing::Up), change(2, 80, Standing::Up)], second(at)),
        &|pool, at| pool.checked([change(1, 80, Standing::Down)], second(at)),
        &|pool, at| maintained(pool, 4, Mode::Drained, at),
        &|pool, at| pool.checked([change(1, 80, Standing::Up)], second(at)),
        &|pool, at| maintained(pool, 4, Mode::Enabled, at),
        // The ramp has ended.
        &|pool, at| pool.tick(second(at + 100)),
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let at = 10 + 10 * number as u64;
        step(&mut active, at);
        active.tick(second(at + 5));
        // The standby's clock is another one.
        let saved = serde_json::to_string(&active.save(second(at + 5))).unwrap();
        standby.follow(serde_json::from_str(&saved).unwrap(), second(at + 1_005));
        assert_eq!(installed(&standby), installed(&active), "step {number}");
        assert_eq!(standby.pages(), active.pages());
        assert_eq!(standby.save(second(at + 1_005)), active.save(second(at + 5)), "step {number}");
        assert!(standby.take_unsaved());
    }
    assert_eq!(told(&mut standby), [""; 0], "the active one tells people");
}

#[test]
fn evidence_says_again_what_the_checks_have_found_out() {
    let file = config(vec![service("www", 80, &[1, 2, 3])]);
    let mut pool = Pool::new(file.clone(), second(0));
    pool.checked([change(1, 80, Standing::Down), change(2, 80, Standing::Up)], second(1));
    let evidence: Vec<Change> = pool.evidence().collect();
    assert_eq!(evidence, [change(1, 80, Standing::Down), change(2, 80, Standing::Up)]);
    let mut other = Pool::new(file, second(0));
    other.checked(evidence, second(1));
    assert_eq!(other.save(second(1)), pool.save(second(1)));
}
