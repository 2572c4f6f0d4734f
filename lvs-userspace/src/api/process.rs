//! What the agent's own process takes, as the kernel tells it.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

/// Each is `None` where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) processor_time: Option<Duration>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) descriptors: Option<usize>,
    pub(super) descriptor_limit: Option<u64>,
    /// In seconds since 1970.
    pub(super) started: Option<f64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let number = |variable| sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok());
        let file = |path| fs::read_to_string(path).ok();
        let time = |time: TimeVal| {
            let microseconds = u64::try_from(time.tv_usec()).unwrap_or_default();
            Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or_default())
                + Duration::from_micros(microseconds)
        };
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let pages = file("/proc/self/statm").and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        Self {
            processor_time: usage.map(|usage| time(usage.user_time()) + time(usage.system_time())),
            resident_bytes: pages.and_then(|pages| Some(pages * number(SysconfVar::PAGE_SIZE)?)),
            descriptors: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            descriptor_limit: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
            started: (|| {
                started(&file("/proc/self/stat")?, &file("/proc/stat")?, number(SysconfVar::CLK_TCK)?)
            })(),
        }
    }
}

/// From the process's start in ticks since the machine's (field 22 of proc_pid_stat(5)), and that in seconds since 1970
/// (`btime` of proc_stat(5)).
fn started(process: &str, machine: &str, ticks_a_second: u64) -> Option<f64> {
    // The name before it may hold anything.
    let (_, fields) = process.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let booted = machine.lines().find_map(|line| line.strip_prefix("btime "))?;
    let booted: u64 = booted.trim().parse().ok()?;
    Some(booted as f64 + ticks as f64 / ticks_a_second as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 250 20";
        let process = format!("4711 (a ) (b) {fields}\n");
        assert_eq!(started(&process, "cpu 1\nbtime 1700000000\n", 100), Some(1_700_000_002.5));
        assert_eq!(started("4711 (a) S 1", "btime 1", 100), None);
    }

    #[test]
    fn this_process_is_told() {
        let Process { processor_time, resident_bytes, descriptors, descriptor_limit, started } =
            Process::read();
        assert!(processor_time.is_some_and(|time| time > Duration::ZERO));
        assert!(resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(descriptors.is_some_and(|count| count >= 3));
        assert!(descriptor_limit.is_some_and(|limit| limit >= 3));
        assert!(started.is_some_and(|time| time > 1.6e9));
    }
}
