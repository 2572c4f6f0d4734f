//! Processor time of the calling thread and of the kernel's thread that takes over its soft interrupts.
//!
//! Unlike the wall's clock it hardly moves when others use the machine. A kernel that accounts interrupts
//! apart (CONFIG_IRQ_TIME_ACCOUNTING) charges soft interrupts to neither; there the figures are too low.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};

const SETTLING: Duration = Duration::from_millis(20);

/// The calling thread, bound to one processor.
#[derive(Debug)]
pub(super) struct Processor {
    accounts: [PathBuf; 2],
}

impl Processor {
    /// Binds the calling thread to the processor with this number.
    pub(super) fn bind(number: usize) -> Result<Self> {
        let mut set = CpuSet::new();
        set.set(number)?;
        sched_setaffinity(Pid::from_raw(0), &set)
            .with_context(|| format!("cannot bind to processor {number}"))?;
        let own = PathBuf::from(format!("/proc/self/task/{}/schedstat", gettid()));
        Ok(Self { accounts: [own, kernel_thread(&format!("ksoftirqd/{number}"))?.join("schedstat")] })
    }

    /// What both have used so far. Waits a little first: the accounts are brought up to date when a thread
    /// gives way, and what the kernel's thread has taken over comes to its end meanwhile.
    pub(super) fn used(&self) -> Result<Duration> {
        thread::sleep(SETTLING);
        self.accounts.iter().try_fold(Duration::ZERO, |sum, path| {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
            let nanoseconds = nanoseconds.with_context(|| format!("{} holds {text:?}", path.display()))?;
            Ok(sum + Duration::from_nanos(nanoseconds))
        })
    }
}

/// The directory in /proc of the kernel's thread with this name.
fn kernel_thread(name: &str) -> Result<PathBuf> {
    let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let is_it =
        |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
    processes.into_iter().find(is_it).with_context(|| format!("the kernel has no thread {name}"))
}
