//! A processor for the measurement alone, as far as that can be had.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps the calling thread on the last processor it may use, before all ordinary threads.
pub(super) fn reserve() -> Result<()> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own).context("the processors of this thread")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.context("no processor")?)?;
    sched_setaffinity(own, &one).context("stay on one processor")?;
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: the structure outlives the call.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) } != 0 {
        return Err(std::io::Error::last_os_error()).context("real-time scheduling");
    }
    Ok(())
}
