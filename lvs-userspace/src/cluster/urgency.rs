//! Threads that must not be late.

/// `SCHED_FIFO`, above everything that is not as urgent: a late beat looks like a dead director, a late vote like none.
const PRIORITY: i32 = 50;

/// The calling thread runs before others. That may be forbidden; then it does its work as well as it can.
pub(super) fn be_urgent() {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    #[allow(unsafe_code, reason = "no crate that the project has wraps sched_setscheduler")]
    // SAFETY: the pointer is to a value that outlives the call.
    let outcome = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
    if outcome != 0 {
        let error = std::io::Error::last_os_error();
        tracing::warn!(%error, "a thread that others wait for has no real-time priority: it may be late under load");
    }
}
