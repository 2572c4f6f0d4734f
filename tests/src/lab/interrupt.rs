//! Ctrl-C leaves nothing behind.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::identity;
use anyhow::Result;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// As shells have it: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

static STOPPING: AtomicBool = AtomicBool::new(false);

/// Does the work. SIGINT, SIGTERM or SIGHUP meanwhile removes the labs of this process and ends it.
pub fn clean_up_on_interrupt(work: impl FnOnce() -> Result<()>) -> Result<()> {
    // Handlers, not a blocked mask: the programs that the lab starts would inherit that and never end.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        STOPPING.store(true, Ordering::SeqCst);
        eprintln!("interrupted: cleaning up");
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
