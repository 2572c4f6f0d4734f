//! Some hundred seeds in each run; `cargo xtask sim --seeds 100000` runs as many as one likes.

use super::Scenario;

fn hold(seeds: impl IntoIterator<Item = u64>) {
    seeds.into_iter().for_each(|seed| holds(&Scenario::new(seed)));
}

fn holds(scenario: &Scenario) {
    let (seed, outcome) = (scenario.seed, scenario.clone().run(false));
    assert!(outcome.messages > 0, "seed {seed} simulates nothing");
    if let Some(violation) = outcome.violation {
        let trace = scenario.clone().run(true).trace.join("\n");
        panic!("seed {seed}, at {:?}: {}\n{trace}", violation.time, violation.what);
    }
}

/// Each has broken a rule once: a lapsed lease that went on alone, an answer to a probe that never came, a term that
/// two had come to, votes that were split again and again.
#[test]
fn seeds_that_have_found_something() {
    hold([
        11150, 38750, 13953, 14183, 33647, 50736, 80549, 94321, 76, 267, 829, 1205, 1243, 1283, 1590, 1680,
        1804, 2283, 2554, 2947, 4993, 5958, 87221, 799, 1216, 1863, 2615,
    ]);
}

#[test]
fn seeds_of_every_run() {
    hold(0..120);
}

#[test]
fn more_seeds_of_every_run() {
    hold(100_000..100_120);
}

/// Questions that cross: neither director has anything to answer yet.
#[test]
fn two_that_begin_apart_do_not_both_serve() {
    let mut crossed = 0;
    for seed in 0..100 {
        let scenario = Scenario::new(seed).of_two_apart();
        holds(&scenario);
        let trace = scenario.run(true).trace;
        crossed += u32::from(trace.iter().any(|line| line.contains("Contended")));
    }
    assert!(crossed > 20, "in {crossed} of 100 runs only");
}

/// Nobody is fenced that serves; whoever is comes back.
#[test]
fn programs_that_fence_shoot_nobody_that_serves() {
    let mut shot = 0;
    for seed in 0..100 {
        let scenario = Scenario::new(seed).that_fences();
        holds(&scenario);
        let trace = scenario.run(true).trace;
        shot += u32::from(trace.iter().any(|line| line.contains("is shot")));
    }
    assert!(shot > 20, "in {shot} of 100 runs only");
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    let [one, other] = [(); 2].map(|()| Scenario::new(7).run(true));
    assert_eq!(one.trace, other.trace);
}
