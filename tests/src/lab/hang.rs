//! A program that hangs in part: some of its threads do nothing any more, as if they waited for a disk that does not
//! answer, and the others go on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Which threads of a program hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first one.
    Main,
    /// All but those of this name (`/proc/PID/task/TID/comm`).
    AllBut(&'static str),
}

/// Threads hang for as long as the value lives.
#[derive(Debug)]
#[must_use = "nothing hangs when the value is dropped"]
pub struct Hang {
    /// Dropped at the end.
    release: Option<Sender<()>>,
    /// A thread that is traced belongs to the one that traces it.
    tracer: Option<JoinHandle<()>>,
}

impl Hang {
    /// When this returns, they hang. Nobody may ask for the exit status of the program meanwhile.
    ///
    /// # Errors
    /// The program has ended, is traced already, or has no such thread.
    pub fn begin(pid: i32, part: Part) -> Result<Self> {
        let (release, released) = channel();
        let (told, begun) = channel();
        let tracer = thread::spawn(move || trace(pid, part, &told, &released));
        begun.recv().context("the thread that traces has ended")??;
        Ok(Self { release: Some(release), tracer: Some(tracer) })
    }

    /// From here on all go on.
    pub fn end(self) {}
}

impl Drop for Hang {
    fn drop(&mut self) {
        drop(self.release.take());
        if self.tracer.take().is_some_and(|tracer| tracer.join().is_err()) {
            eprintln!("the thread that traces has panicked");
        }
    }
}

fn trace(pid: i32, part: Part, told: &Sender<Result<()>>, released: &Receiver<()>) {
    let mut held = BTreeSet::new();
    let outcome = hold(pid, part, &mut held);
    let holds = outcome.is_ok();
    if told.send(outcome).is_ok() && holds {
        // Nothing is ever sent: the other half is dropped.
        released.recv().ok();
    }
    for thread in held {
        // One that was killed meanwhile needs it no more.
        ptrace::detach(Pid::from_raw(thread), None).ok();
    }
}

fn hold(pid: i32, part: Part, held: &mut BTreeSet<i32>) -> Result<()> {
    loop {
        let before = held.len();
        for thread in threads(pid, part)? {
            if !held.contains(&thread) && stop(thread).with_context(|| format!("thread {thread}"))? {
                held.insert(thread);
            }
        }
        // One that was not stopped yet may have started another.
        match held.len() {
            0 => bail!("process {pid} has no such thread: {part:?}"),
            now if now == before => return Ok(()),
            _ => {}
        }
    }
}

/// Threads of the program that are to hang.
fn threads(pid: i32, part: Part) -> Result<Vec<i32>> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let mut threads = Vec::new();
    for entry in fs::read_dir(&tasks).with_context(|| format!("cannot read {}", tasks.display()))? {
        let path = entry?.path();
        let Some(thread) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        let hangs = match part {
            Part::Main => thread == pid,
            Part::AllBut(name) => name_of(&path).is_some_and(|own| own != name),
        };
        if hangs {
            threads.push(thread);
        }
    }
    Ok(threads)
}

/// `None`: it has ended.
fn name_of(task: &Path) -> Option<String> {
    Some(fs::read_to_string(task.join("comm")).ok()?.trim_end().to_owned())
}

/// Stops a thread alone; whether there was one.
fn stop(thread: i32) -> Result<bool> {
    let thread = Pid::from_raw(thread);
    match ptrace::seize(thread, ptrace::Options::empty()) {
        Err(Errno::ESRCH) => return Ok(false),
        outcome => outcome.context("cannot trace it")?,
    }
    ptrace::interrupt(thread).context("cannot stop it")?;
    waitpid(thread, Some(WaitPidFlag::__WALL)).context("does not stop")?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::lab::wait::wait_until;

    /// State letter of a thread in `/proc/PID/task/TID/stat`: `t` while it is traced and stopped.
    fn state(task: &Path) -> Option<char> {
        fs::read_to_string(task.join("stat")).ok()?.rsplit(") ").next()?.chars().next()
    }

    #[test]
    fn a_program_hangs_and_goes_on() {
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let task = PathBuf::from(format!("/proc/{pid}/task/{pid}"));
        let hang = Hang::begin(pid, Part::Main).unwrap();
        assert_eq!(state(&task), Some('t'));
        hang.end();
        let runs = || state(&task) == Some('R');
        wait_until("it to go on", Duration::from_secs(5), runs).unwrap();
        assert!(Hang::begin(pid, Part::AllBut("sh")).is_err(), "it has no other thread");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Hang::begin(pid, Part::Main).is_err(), "it has ended");
    }
}
