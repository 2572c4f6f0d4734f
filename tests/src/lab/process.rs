//! A program that runs in the background, and ends with the value that stands for it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;

use super::wait::{wait_for, wait_until};

/// How long a program may take to end after SIGTERM before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Bytes in the log that an earlier program of the name has written.
    log_begin: usize,
    detached: bool,
}

impl Process {
    /// Starts the program; what it says goes to `NAME.log` in `directory`, added to what is there.
    pub fn start(name: &str, command: &mut Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let log_begin = usize::try_from(output.metadata()?.len())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for the lab alone: it ends its programs in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log, log_begin, detached: false })
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What the program has said so far.
    pub fn log(&self) -> String {
        read_log(&self.log, self.log_begin)
    }

    /// Waits for a condition, and fails at once, with its log, when the program ends instead.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<()> {
        let what = format!("{}: {what}", self.name);
        let mut ended = None;
        wait_until(&what, limit, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some() || condition()
        })
        .with_context(|| format!("it said: {}", self.log()))?;
        match ended {
            Some(status) => bail!("{what}: the program ended ({status}): {}", self.log()),
            None => Ok(()),
        }
    }

    /// Waits until the program has said `words`.
    pub fn wait_for_words(&mut self, words: &str, limit: Duration) -> Result<()> {
        let (log, begin) = (self.log.clone(), self.log_begin);
        self.wait_until(&format!("to say \"{words}\""), limit, || read_log(&log, begin).contains(words))
    }

    /// Waits for the program to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait_for(&format!("{} to end", self.name), limit, || self.child.try_wait().ok().flatten())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid()), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// SIGTERM, and the exit status.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.end_by(Signal::SIGTERM)
    }

    /// A signal that ends it in order, and the exit status.
    pub fn end_by(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.signal(signal)?;
        self.wait(PATIENCE).with_context(|| format!("it said: {}", self.log()))
    }

    /// SIGKILL: the program learns nothing of it.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The program goes on when the value is gone: for labs that are kept.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

fn read_log(log: &Path, begin: usize) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(begin..).unwrap_or_default()).into_owned()
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.detached || matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.terminate().is_err()
            && let Err(error) = self.kill()
        {
            eprintln!("{} does not end: {error:#}", self.name);
        }
    }
}
