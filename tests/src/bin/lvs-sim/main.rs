//! Runs seeds of the cluster simulator and reports those in which a rule was broken.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use lvs_tests::sim::{Outcome, Scenario};

#[derive(Parser)]
#[command(about = "Runs the cluster simulator", max_term_width = 100)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Tells what happens in the first seed that breaks a rule, or in the only one.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let Arguments { first, seeds, trace } = Arguments::parse();
    let start = Instant::now();
    let next = AtomicU64::new(first);
    let messages = AtomicU64::new(0);
    let broken: Mutex<Vec<Outcome>> = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let outcome = Scenario::new(seed).run(false);
                    messages.fetch_add(outcome.messages, Ordering::Relaxed);
                    if outcome.violation.is_some()
                        && let Ok(mut broken) = broken.lock()
                    {
                        broken.push(outcome);
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap_or_default();
    broken.sort_by_key(|outcome| outcome.seed);
    if trace && let Some(seed) = broken.first().map(|outcome| outcome.seed).or((seeds == 1).then_some(first))
    {
        for line in Scenario::new(seed).run(true).trace {
            println!("{line}");
        }
    }
    for outcome in broken.iter().take(20) {
        if let Some(violation) = &outcome.violation {
            println!(
                "seed {}: at {:.3} ms: {}",
                outcome.seed,
                violation.time.as_secs_f64() * 1e3,
                violation.what
            );
        }
    }
    println!(
        "{seeds} seeds from {first}: {} broken; {} messages in {:.1} s",
        broken.len(),
        messages.load(Ordering::Relaxed),
        start.elapsed().as_secs_f64()
    );
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
