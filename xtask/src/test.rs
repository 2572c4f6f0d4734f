//! `cargo xtask test`: the rungs of the test ladder, cheapest first.

use std::{
    io::{BufRead, BufReader},
    ops::AddAssign,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    build, build_ebpf, command,
    packages::{self, BENCH, LAB},
    vm,
};

#[derive(Args)]
pub(crate) struct Options {
    /// What to run; everything when left out.
    #[arg(value_enum)]
    rungs: Vec<Rung>,
    /// For the test binaries: names, --nocapture, and so on.
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Rung {
    /// Unit and property tests, as the user.
    Unit,
    /// The agent's modules against this machine's kernel, as root.
    Kernel,
    /// Single packets through the programs in the kernel, as root.
    Packet,
    /// Clients, directors and real servers in network namespaces, as root.
    Lab,
    /// The packet tests on an older kernel in a virtual machine.
    Vm,
}

/// Longest time for a rung's tests, their build not counted: a test that hangs fails.
const TIME_LIMIT: Duration = Duration::from_secs(1200);
/// The package that holds what crosses processes, and its directory.
const LVS_TESTS: (&str, &str) = ("lvs-tests", "tests");
/// `timeout` says so when the time was up.
const TIMED_OUT: i32 = 124;

/// What a rung's tests came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Tally {
    /// Reads a line of the test harness such as `test result: ok. 3 passed; 0 failed; ...`.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let (_, figures) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut figures = figures.split("; ");
        let mut figure = |name| figures.next()?.strip_suffix(name)?.trim().parse().ok();
        Some(Self { passed: figure("passed")?, failed: figure("failed")? })
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut rungs = options.rungs.clone();
    if rungs.is_empty() {
        rungs.extend(Rung::value_variants());
    }
    rungs.sort();
    rungs.dedup();

    let mut total = Tally::default();
    let mut lines = Vec::new();
    let mut start = Instant::now();
    let mut report = |name: &str, outcome: &str, error: Option<anyhow::Error>| {
        let seconds = start.elapsed().as_secs_f32();
        let reason = error.map_or_else(String::new, |error| format!(": {error:#}"));
        lines.push(format!("{name:<8}{outcome} in {seconds:.1} s{reason}"));
        start = Instant::now();
    };
    match prepare(&rungs) {
        Ok(()) => {
            report("build", "done", None);
            for rung in rungs {
                println!("\n=== {rung}");
                let (tally, error) = match rung.run(&options.arguments) {
                    Ok(tally) => (tally, None),
                    // A rung that could not run, or broke off, is a failure like any other.
                    Err(error) => (Tally { passed: 0, failed: 1 }, Some(error)),
                };
                total += tally;
                report(&rung.to_string(), &tally.to_string(), error);
            }
        }
        Err(error) => {
            total.failed += 1;
            report("build", "failed", Some(error));
        }
    }

    println!();
    for line in lines {
        println!("{line}");
    }
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn prepare(rungs: &[Rung]) -> Result<()> {
    if rungs.iter().any(|rung| *rung != Rung::Unit) && !command::is_root() {
        println!("all but the unit tests run as root, through sudo");
    }
    if rungs.iter().any(|rung| [Rung::Kernel, Rung::Lab].contains(rung)) {
        packages::ensure_tools(LAB)?;
    }
    if rungs.contains(&Rung::Lab) {
        packages::ensure_tools(BENCH)?;
        build_ebpf::build_for_bench()?;
    }
    build::everything()
}

impl std::fmt::Display for Rung {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Unit => "unit",
            Self::Kernel => "kernel",
            Self::Packet => "packet",
            Self::Lab => "lab",
            Self::Vm => "vm",
        })
    }
}

impl Rung {
    fn run(self, arguments: &[String]) -> Result<Tally> {
        match self {
            Self::Unit => unit(arguments),
            Self::Kernel => as_root(("lvs-userspace", "lvs-userspace"), "*", arguments),
            Self::Packet => as_root(LVS_TESTS, "packet", arguments),
            Self::Lab => as_root(LVS_TESTS, "lab", arguments),
            Self::Vm => vm::run_tests(vm::OLDEST, arguments),
        }
    }
}

fn unit(arguments: &[String]) -> Result<Tally> {
    let which = ["test", "--workspace", "--exclude", "lvs-ebpf", "--lib", "--bins", "--no-fail-fast"];
    command::run(command::cargo().args(which).arg("--no-run"))?;
    let cargo = command::cargo();
    let mut test = limited(Command::new("timeout"), Path::new(cargo.get_program()), TIME_LIMIT);
    test.current_dir(command::workspace()).args(which).arg("--").args(arguments);
    count(&mut test, TIME_LIMIT, |_| {})
}

/// Runs the tests of a package (its name and its directory) whose name matches `pattern`.
fn as_root((package, directory): (&str, &str), pattern: &str, arguments: &[String]) -> Result<Tally> {
    let mut tally = Tally::default();
    for binary in build::tests(package, pattern)? {
        let mut test = limited(command::as_root("timeout"), &binary, TIME_LIMIT);
        // Where cargo would run it.
        test.current_dir(command::workspace().join(directory)).args(arguments);
        match count(&mut test, TIME_LIMIT, |_| {}) {
            Ok(result) => tally += result,
            Err(error) => {
                eprintln!("error: {error:#}");
                tally.failed += 1;
            }
        }
    }
    Ok(tally)
}

/// `program` under `timeout`, in the foreground so that an interrupt from the terminal reaches it.
pub(crate) fn limited(mut timeout: Command, program: &Path, limit: Duration) -> Command {
    timeout.args(["--foreground", "--kill-after=10"]).arg(limit.as_secs().to_string()).arg(program);
    timeout
}

/// Runs tests that [`limited`] bounds, passes on their output and adds up their results. `observe` sees each line.
pub(crate) fn count(command: &mut Command, limit: Duration, mut observe: impl FnMut(&str)) -> Result<Tally> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", command::show(command)))?;
    let mut tally = Tally::default();
    let mut results = 0;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("cannot read the output of the tests")?;
            let line = String::from_utf8_lossy(line.trim_ascii_end());
            println!("{line}");
            observe(&line);
            if let Some(result) = Tally::from_line(&line) {
                tally += result;
                results += 1;
            }
        }
    }
    let status = child.wait()?;
    if status.code() == Some(TIMED_OUT) {
        bail!("not finished after {} s (until then {tally})", limit.as_secs());
    }
    if results == 0 || (!status.success() && tally.failed == 0) {
        bail!("`{}` broke off ({status}; until then {tally})", command::show(command));
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_the_harness() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.1s";
        assert_eq!(Tally::from_line(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(Tally::from_line("test result: nonsense"), None);
        assert_eq!(Tally::from_line("test a ... ok"), None);
    }

    #[test]
    fn tests_that_break_off_are_no_success() {
        let sh = |script: &str| count(Command::new("sh").args(["-c", script]), TIME_LIMIT, |_| {});
        assert!(sh("exit 1").is_err());
        assert!(sh("true").is_err(), "no result line means that no test ran");
        let line = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        assert_eq!(sh(line).unwrap(), Tally { passed: 2, failed: 0 });
        assert!(sh(&format!("{line}; kill -9 $$")).is_err());
    }
}
