//! Programs that want a processor for themselves, and a program that has to share it with them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::process::Process;

/// The kernel ends a hog that has used so many seconds of a processor, whatever becomes of the lab.
const MOST: u32 = 30;

/// One program that does nothing, as fast as it can, on one processor.
#[derive(Debug)]
pub struct Hog(Process);

impl Hog {
    /// `number` tells hogs apart.
    pub fn start(number: usize, processor: usize, directory: &Path) -> Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &processor.to_string(), "sh", "-c"]);
        command.arg(format!("ulimit -t {MOST}; while :; do :; done"));
        Ok(Self(Process::start(&format!("hog-{number}"), &mut command, directory)?))
    }

    /// Time of a processor that it has used.
    pub fn used(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.pid()))?;
        // Field 14 of proc_pid_stat(5); the second one is a name, and ends with a bracket.
        let fields = stat.rsplit_once(')').context("no name")?.1;
        let ticks: u64 = fields.split_whitespace().nth(11).context("no time of use")?.parse()?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock")?;
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }
}

/// All threads that a process has now run on one processor from now on, and those that they start.
pub fn bind(pid: i32, processor: usize) -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(processor)?;
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = entry?.file_name();
        let thread = name.to_str().and_then(|name| name.parse().ok()).context("a thread has no number")?;
        sched_setaffinity(Pid::from_raw(thread), &processors)?;
    }
    Ok(())
}

/// A processor that this program may use.
pub fn a_processor() -> Result<usize> {
    let all = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
    let mut processors = (0..CpuSet::count()).filter(|number| all.is_set(*number).unwrap_or(false));
    processors.next_back().context("this program may run nowhere")
}
