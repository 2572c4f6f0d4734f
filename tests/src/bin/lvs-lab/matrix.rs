//! Every way in which a director fails, with every method and scheduler, under load, and in the middle of a drain.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use lvs_tests::lab::fault::Fault;
use lvs_tests::lab::pair::DEADTIME;
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::trial::{Burden, Seen, Trial};

use crate::table::render;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Forwarding methods.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "dr,ipip,nat")]
    forward: Vec<Forward>,
    /// Schedulers, each with every method.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "mh,wlc,rr")]
    scheduler: Vec<Scheduler>,
    /// Faults of the active director, one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kill,stop,pull,pull-early,crash")]
    fault: Vec<Fault>,
    /// Whether a real server is being drained meanwhile.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "no,yes")]
    drain: Vec<Drain>,
    /// Established connections, half of them over each family.
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// New connections a second.
    #[arg(long, default_value_t = 200)]
    new: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Forward {
    Dr,
    Ipip,
    Nat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scheduler {
    Mh,
    Wlc,
    Rr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Drain {
    No,
    Yes,
}

/// What was seen with one method and one scheduler.
struct Combination {
    names: (&'static str, &'static str),
    seen: Vec<Seen>,
}

/// Of the time without service: the dead time, and what a takeover takes.
const GOAL: Duration = DEADTIME.saturating_add(Duration::from_millis(100));

/// # Errors
/// An established connection broke, or a director was not replaced or did not come back.
pub(crate) fn run(options: &Options) -> Result<()> {
    let begin = Instant::now();
    let burden = Burden { established: options.connections, new_per_second: options.new };
    let mut combinations = Vec::new();
    let mut failures = Vec::new();
    for forward in &options.forward {
        for scheduler in &options.scheduler {
            let mut combination = Combination { names: (forward.name(), scheduler.name()), seen: Vec::new() };
            println!("{} with {}", combination.names.0, combination.names.1);
            if let Err(error) = try_out(&mut combination, options, burden) {
                println!("  failed: {error:#}");
                failures.push(combination.names);
            }
            combinations.push(combination);
        }
    }
    println!(
        "\nwithout service in ms, in the middle of a drain in brackets\n\n{}",
        summary(options, &combinations)
    );
    let seen: Vec<_> = combinations.iter().flat_map(|combination| &combination.seen).collect();
    let broken: usize = seen.iter().map(|seen| seen.broken).sum();
    let prompt = seen.iter().filter(|seen| seen.gap <= GOAL).count();
    println!(
        "{} faults in {:.0} s; {prompt} within the goal of {} ms without service; {broken} established connections broke",
        seen.len(),
        begin.elapsed().as_secs_f64(),
        GOAL.as_millis(),
    );
    ensure!(failures.is_empty(), "it was not seen through with {failures:?}");
    ensure!(broken == 0, "{broken} established connections broke");
    Ok(())
}

fn try_out(combination: &mut Combination, options: &Options, burden: Burden) -> Result<()> {
    let (forward, scheduler) = combination.names;
    let mut stage = Stage::start(scheduler, forward, |_| Ok(()))?;
    let mut trial = Trial::begin(&mut stage, burden)?;
    for drain in &options.drain {
        for fault in &options.fault {
            let seen = trial.run(*fault, matches!(drain, Drain::Yes))?;
            println!("  {seen}");
            let broke = seen.broken > 0;
            combination.seen.push(seen);
            // What follows would only tell the same connections again.
            ensure!(!broke, "established connections broke");
        }
    }
    trial.end()?.expect_none_broken().context("at the end")
}

/// A line for each combination, a column for each fault.
fn summary(options: &Options, combinations: &[Combination]) -> String {
    let mut heading = vec!["method".to_owned(), "scheduler".to_owned()];
    heading.extend(options.fault.iter().map(Fault::to_string));
    heading.extend(["broken", "new", "failed"].map(str::to_owned));
    let mut rows = vec![heading];
    for Combination { names: (forward, scheduler), seen } in combinations {
        let mut row = vec![(*forward).to_owned(), (*scheduler).to_owned()];
        row.extend(options.fault.iter().map(|fault| gaps(seen, *fault)));
        let broken: usize = seen.iter().map(|seen| seen.broken).sum();
        let new: u64 = seen.iter().map(|seen| seen.new_answered + seen.new_failed).sum();
        let failed: u64 = seen.iter().map(|seen| seen.new_failed).sum();
        row.extend([format!("{broken} of {}", options.connections), new.to_string(), failed.to_string()]);
        rows.push(row);
    }
    render(&rows)
}

/// `161 (158)`: without and with a drain.
fn gaps(seen: &[Seen], fault: Fault) -> String {
    let of = |in_drain: bool| {
        let seen = seen.iter().find(|seen| seen.fault == fault && seen.in_drain == in_drain);
        seen.map(|seen| seen.gap.as_millis())
    };
    match (of(false), of(true)) {
        (Some(plain), Some(drain)) => format!("{plain} ({drain})"),
        (Some(plain), None) => plain.to_string(),
        (None, Some(drain)) => format!("({drain})"),
        (None, None) => "-".to_owned(),
    }
}

impl Forward {
    const fn name(self) -> &'static str {
        match self {
            Self::Dr => "dr",
            Self::Ipip => "ipip",
            Self::Nat => "nat",
        }
    }
}

impl Scheduler {
    const fn name(self) -> &'static str {
        match self {
            Self::Mh => "mh",
            Self::Wlc => "wlc",
            Self::Rr => "rr",
        }
    }
}
