//! Processor time of the calling thread, which others on the machine hardly touch.

use std::time::Duration;

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Calls `work` and says how much processor time it took.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> Result<(T, Duration)> {
    let before = used()?;
    let result = work();
    Ok((result, used()?.saturating_sub(before)))
}

fn used() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(microseconds)?))
}
