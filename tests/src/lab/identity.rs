//! One lab's name, and the removal of everything that carries it.
//!
//! A lab `lvs-ID` owns: the namespaces `lvs-ID-*` and the processes in them, the directory `lvs-lab/ID`
//! under the system's temporary directory, and whatever an agent instance `lvs-ID*` pins in the BPF file
//! system or keeps under /run. A lock on a file of the directory says that the owner lives; the kernel
//! drops it with the process, so a lab without lock is a leftover of a killed run and is swept away.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::run;
use super::wait::wait_until;

/// Where pins are; the agent mounts it when nobody has.
pub const BPF_FILE_SYSTEM: &str = "/sys/fs/bpf";
const RUN: &str = "/run";
/// Where agents keep what survives them.
const STATE: &str = "/var/lib";
const NAMESPACES: &str = "/run/netns";
const PREFIX: &str = "lvs-";
/// Says, in a lab's directory, that it outlives its maker: only `lvs-lab down` removes it.
const KEPT: &str = "kept";
const LOCK: &str = "lock";

/// Labs of this process, so that a signal can remove them.
static MINE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static REMOVING: Mutex<()> = Mutex::new(());
static SWEPT: Once = Once::new();

/// A name of its own, taken for as long as the value lives.
#[derive(Debug)]
pub struct Identity {
    id: String,
    kept: bool,
    /// Held, not read.
    _lock: File,
}

impl Identity {
    /// Takes a free name, after sweeping away what killed runs left (once per process).
    pub fn take() -> Result<Self> {
        SWEPT.call_once(|| {
            if let Err(error) = sweep() {
                eprintln!("leftovers of an earlier lab stay: {error:#}");
            }
        });
        let _guard = guard()?;
        let mut seed = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64;
        loop {
            // Five letters out of a clock that no two calls under the guard see alike.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let id = letters(seed >> 33);
            let directory = base().join(&id);
            if directory.exists() {
                continue;
            }
            fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
            let lock = File::create(directory.join(LOCK))?;
            lock.lock()?;
            mine().insert(id.clone());
            return Ok(Self { id, kept: false, _lock: lock });
        }
    }

    /// `lvs-ID`: the agent's instance name, and what namespaces begin with.
    pub fn name(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    /// Files of the lab.
    pub fn directory(&self) -> PathBuf {
        base().join(&self.id)
    }

    /// The lab outlives this process; `note` is for whoever comes back to it.
    pub fn keep(&mut self, note: &str) -> Result<()> {
        fs::write(self.directory().join(KEPT), note)?;
        mine().remove(&self.id);
        self.kept = true;
        Ok(())
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = remove(&self.id) {
            eprintln!("lab {} is not all gone: {error:#}", self.id);
        }
        mine().remove(&self.id);
    }
}

/// Removes all labs of this process: for a signal handler's thread, just before the process ends.
pub fn remove_mine() -> Result<()> {
    let ids = mine().clone();
    ids.iter().try_for_each(|id| remove(id))
}

/// Kept labs: the name and the note of each.
pub fn kept() -> Result<Vec<(String, String)>> {
    let mut labs = Vec::new();
    for id in children(&base())? {
        if let Ok(note) = fs::read_to_string(base().join(&id).join(KEPT)) {
            labs.push((id, note));
        }
    }
    Ok(labs)
}

/// Removes a lab by its id, whoever made it. What is gone already is no error.
pub fn remove(id: &str) -> Result<()> {
    // Ctrl-C's thread and a value that is dropped may come at the same time.
    let _one_at_a_time = REMOVING.lock().unwrap_or_else(PoisonError::into_inner);
    let name = format!("{PREFIX}{id}");
    let namespaces: Vec<String> = children(Path::new(NAMESPACES))?
        .into_iter()
        .filter(|child| child.starts_with(&format!("{name}-")))
        .collect();
    for namespace in &namespaces {
        end_processes(namespace)?;
    }
    for namespace in &namespaces {
        run(Command::new("ip").args(["netns", "del", namespace]))?;
    }
    for place in [BPF_FILE_SYSTEM, RUN, STATE] {
        for child in children(Path::new(place))? {
            // An agent of the lab is called as the lab, or has a name that goes on with a dash.
            if child == name || child.starts_with(&format!("{name}-")) {
                let path = Path::new(place).join(&child);
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
    }
    let directory = base().join(id);
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}

/// Removes every lab whose maker is gone, kept ones excepted.
pub fn sweep() -> Result<()> {
    let _guard = guard()?;
    for id in children(&base())? {
        let directory = base().join(&id);
        if !directory.is_dir() || directory.join(KEPT).exists() {
            continue;
        }
        match File::open(directory.join(LOCK)).map(|lock| lock.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => {}
            _ => remove(&id)?,
        }
    }
    Ok(())
}

/// Ends what runs in a namespace of the lab: only programs the lab started are there.
fn end_processes(namespace: &str) -> Result<()> {
    let list = || -> Vec<i32> {
        run(Command::new("ip").args(["netns", "pids", namespace]))
            .map(|list| list.lines().filter_map(|line| line.trim().parse().ok()).collect())
            .unwrap_or_default()
    };
    let own = Pid::this().as_raw();
    for pid in list().into_iter().filter(|pid| *pid != own) {
        // It may have ended by itself meanwhile.
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
    // A child that its parent has not waited for yet has left its namespace already.
    wait_until(&format!("the processes in {namespace} to end"), Duration::from_secs(5), || {
        list().into_iter().all(|pid| pid == own)
    })
}

/// Serialises taking and sweeping over all processes: a directory without its lock yet is no leftover.
fn guard() -> Result<File> {
    fs::create_dir_all(base()).with_context(|| format!("cannot make {}", base().display()))?;
    let file = File::create(base().join("guard"))?;
    file.lock()?;
    Ok(file)
}

fn base() -> PathBuf {
    std::env::temp_dir().join("lvs-lab")
}

fn children(directory: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(Vec::new());
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn mine() -> std::sync::MutexGuard<'static, BTreeSet<String>> {
    MINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn letters(mut number: u64) -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut text = String::new();
    for _ in 0..5 {
        text.push(LETTERS[(number % 32) as usize] as char);
        number /= 32;
    }
    text
}
