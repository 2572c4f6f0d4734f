//! A network namespace, and work inside it.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

use super::address::Family;
use super::command::{run, run_with_input};

/// One machine of the lab. Its lab's [`super::identity::Identity`] removes it.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub fn create(name: String) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.links("link set lo up")?;
        Ok(namespace)
    }

    /// A namespace that exists already.
    pub const fn existing(name: String) -> Self {
        Self { name }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that will run here. `nsenter` becomes the program, so the child's pid is the program's;
    /// unlike with `ip netns exec`, /sys and with it the pins stay visible.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a program here to its end and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.command(program).args(arguments))
    }

    /// Lines for `ip`, such as `link set eth0 up`.
    pub fn links(&self, lines: &str) -> Result<()> {
        self.ip_batch("link", lines)
    }

    /// Lines for `ip` about addresses, routes and rules of one family.
    pub fn addresses(&self, family: Family, lines: &str) -> Result<()> {
        self.ip_batch(family.ip_name(), lines)
    }

    /// The same lines later, when [`Prepared::go_together`] is called: without the time that a program takes to start.
    pub fn prepare_links(&self, lines: &str) -> Result<Prepared> {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.name, "-batch", "-"]).stdin(Stdio::piped());
        let child = ip.spawn().with_context(|| format!("cannot start ip for namespace {}", self.name))?;
        Ok(Prepared { ip: child, lines: lines.to_owned() })
    }

    fn ip_batch(&self, family: &str, lines: &str) -> Result<()> {
        run_with_input(Command::new("ip").args(["-n", &self.name, "-family", family, "-batch", "-"]), lines)
            .with_context(|| format!("in namespace {}:\n{lines}", self.name))?;
        Ok(())
    }

    /// Calls `work` on a thread of its own that has entered the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter_thread()?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter_thread(&self) -> Result<()> {
        let file = File::open(self.path()).with_context(|| format!("cannot open namespace {}", self.name))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter namespace {}", self.name))
    }

    /// Sets kernel parameters: names below `net.` with dots, as `sysctl` has them.
    pub fn sysctl(&self, values: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (name, value) in values {
                let path = PathBuf::from("/proc/sys/net").join(name.replace('.', "/"));
                fs::write(&path, value)
                    .with_context(|| format!("{}: cannot set net.{name} to {value}", self.name))?;
            }
            Ok(())
        })
    }
}

/// An `ip` that has started, and waits for what it is to do. Dropped, it has done nothing.
#[derive(Debug)]
pub struct Prepared {
    ip: Child,
    lines: String,
}

impl Prepared {
    /// Lets all of them begin at the same time, and waits until they have done it.
    pub fn go_together<const COUNT: usize>(mut prepared: [Self; COUNT]) -> Result<()> {
        prepared.iter_mut().try_for_each(Self::tell)?;
        prepared.into_iter().try_for_each(Self::finish)
    }

    fn tell(&mut self) -> Result<()> {
        // It does what it has read, and ends where its input does.
        let mut input = self.ip.stdin.take().context("it was told before")?;
        Ok(input.write_all(self.lines.as_bytes())?)
    }

    fn finish(mut self) -> Result<()> {
        let status = self.ip.wait()?;
        ensure!(status.success(), "ip failed ({status}):\n{}", self.lines);
        Ok(())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        drop(self.ip.stdin.take());
        // It has ended before, or ends with its input.
        self.ip.wait().ok();
    }
}
