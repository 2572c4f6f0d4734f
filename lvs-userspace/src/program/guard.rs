//! A process of its own that ends the programs of an agent that was killed.
//!
//! The kernel ends a child with its parent (PR_SET_PDEATHSIG), but not the child's own children. So a guard
//! is forked before the agent has threads: it hears over a pipe which process groups there are, and when the pipe
//! ends, however the agent has, it kills those that are left.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::sync::OnceLock;

use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, killpg, signal};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

static GUARD: OnceLock<PipeWriter> = OnceLock::new();

/// A process group that begins or ends: its number, negative at the end.
type Record = [u8; 4];

/// Starts the guard of this process. It must have one thread only.
#[allow(
    unsafe_code,
    reason = "fork: the caller promises that there are no threads whose locks would stay locked"
)]
pub(super) fn start() -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    // SAFETY: there is one thread, so the child may do whatever the parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => {
            // There was none before: it is started once.
            GUARD.set(writer).ok();
            Ok(())
        }
        ForkResult::Child => {
            drop(writer);
            // An error leaves the agent with what the kernel does, and has nobody to be told to.
            std::process::exit(i32::from(stand(reader).is_err()));
        }
    }
}

/// A group has begun.
pub(super) fn watch(group: Pid) {
    tell(group.as_raw());
}

/// A group was killed.
pub(super) fn forget(group: Pid) {
    tell(-group.as_raw());
}

fn tell(number: i32) {
    if let Some(mut guard) = GUARD.get() {
        // A pipe takes so few bytes whole. A guard that is gone can do no more.
        guard.write_all(&number.to_ne_bytes()).ok();
    }
}

fn stand(mut reader: PipeReader) -> io::Result<()> {
    // What is meant for the agent, and for the terminal it runs on, is not for the guard.
    setsid()?;
    for kind in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2] {
        ignore(kind)?;
    }
    prctl::set_name(c"lvsd-guard")?;
    let null: File = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    let mut groups = BTreeSet::new();
    let mut record = Record::default();
    while reader.read_exact(&mut record).is_ok() {
        note(&mut groups, i32::from_ne_bytes(record));
    }
    for group in groups {
        killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
    }
    Ok(())
}

fn note(groups: &mut BTreeSet<i32>, number: i32) {
    match number {
        // No group has these numbers, and killpg would take them for others.
        ..=-2 => drop(groups.remove(&-number)),
        -1..=1 => {}
        2.. => drop(groups.insert(number)),
    }
}

#[allow(unsafe_code, reason = "signal: only a handler that does something could do wrong")]
fn ignore(kind: Signal) -> io::Result<()> {
    // SAFETY: nothing is called when the signal comes.
    unsafe { signal(kind, SigHandler::SigIgn) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_and_go() {
        let mut groups = BTreeSet::new();
        for number in [700, 800, -700, 1, 0, -1, i32::MIN + 1, 900] {
            note(&mut groups, number);
        }
        assert_eq!(groups.into_iter().collect::<Vec<_>>(), [800, 900]);
    }
}
