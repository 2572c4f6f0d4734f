//! Ctrl-C leaves nothing behind.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use lvs_tests::lab::identity;
use nix::sys::signal::{SigSet, Signal};

/// As shells have it: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

static STOPPING: AtomicBool = AtomicBool::new(false);

/// Does the work. SIGINT, SIGTERM or SIGHUP meanwhile removes the labs of this process and ends it.
pub(crate) fn clean_up_on_interrupt(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    // Before any other thread is there, so that every one inherits it; the programs the lab starts do not.
    signals.thread_block()?;
    thread::spawn(move || {
        let signal = signals.wait();
        STOPPING.store(true, Ordering::SeqCst);
        if let Ok(signal) = signal {
            eprintln!("{signal}: cleaning up");
        }
        if let Err(error) = identity::remove_mine() {
            eprintln!("not all is gone: {error:#}");
        }
        exit(INTERRUPTED);
    });
    let result = work();
    while STOPPING.load(Ordering::SeqCst) {
        // What failed just now failed since the lab is being removed; that thread has the last word.
        thread::park();
    }
    result
}
