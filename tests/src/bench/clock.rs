//! Processor time of the calling thread, which others on the machine hardly touch.

use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

/// Calls `work` and says how much processor time it took.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> Result<(T, Duration)> {
    let before = used()?;
    let result = work();
    Ok((result, used()?.saturating_sub(before)))
}

fn used() -> Result<Duration> {
    // Not getrusage(2), which knows whole ticks of the kernel's timer only.
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
