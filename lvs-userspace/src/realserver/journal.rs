//! The changes on file, written before each of them is made.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::Error;
use super::changes::{Change, Changes, Target};

const VERSION: u32 = 1;
const FILE: &str = "realserver.json";

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    /// Inode of the network namespace the changes were made in.
    namespace: u64,
    changes: Vec<Change>,
}

/// `/run/<instance>/realserver.json`, and the right to write it.
pub(super) struct Journal {
    directory: PathBuf,
    namespace: u64,
    changes: Changes,
    /// On the directory, so that no lock file is left behind.
    _lock: Flock<File>,
}

impl Journal {
    /// Takes over what an earlier run left.
    pub(super) fn open(instance: &str) -> Result<Self, Error> {
        let directory = Path::new("/run").join(instance);
        fs::create_dir_all(&directory).map_err(file_error(&directory))?;
        let lock = File::open(&directory).map_err(file_error(&directory))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => Error::Locked { instance: instance.to_owned(), path: directory.clone() },
            errno => file_error(&directory)(errno.into()),
        })?;
        let namespace_file = Path::new("/proc/thread-self/ns/net");
        let namespace = fs::metadata(namespace_file).map_err(file_error(namespace_file))?.ino();
        let changes = load(&directory.join(FILE), namespace)?;
        Ok(Self { directory, namespace, changes: Changes::from_earlier(changes), _lock: lock })
    }

    /// See [`Changes::record`]. On file when this returns.
    pub(super) fn record(&mut self, change: Change) -> Result<(), Error> {
        self.changes.record(change);
        self.save()
    }

    /// See [`Changes::keep`].
    pub(super) fn keep(&mut self, target: &Target) {
        self.changes.keep(target);
    }

    pub(super) fn forget(&mut self, target: &Target) -> Result<(), Error> {
        self.changes.forget(target);
        self.save()
    }

    pub(super) fn all(&self) -> Vec<Change> {
        self.changes.all()
    }

    pub(super) fn unwanted(&self) -> Vec<Change> {
        self.changes.unwanted()
    }

    /// Removes the file, and the directory if it is empty.
    pub(super) fn close(self) -> Result<(), Error> {
        let path = self.directory.join(FILE);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::File { path, source });
            }
            _ => {}
        }
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                Err(file_error(&self.directory)(error))
            }
            _ => Ok(()),
        }
    }

    /// Whole or not at all: a half-written file could not be undone.
    fn save(&self) -> Result<(), Error> {
        let state = State { version: VERSION, namespace: self.namespace, changes: self.changes.all() };
        let path = self.directory.join(FILE);
        let text = serde_json::to_vec_pretty(&state)
            .map_err(|source| Error::State { path: path.clone(), source })?;
        let new = path.with_extension("json.new");
        fs::write(&new, text).map_err(file_error(&new))?;
        fs::rename(&new, &path).map_err(file_error(&path))
    }
}

fn load(path: &Path, namespace: u64) -> Result<Vec<Change>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error(path)(error)),
    };
    let broken = |source| Error::State { path: path.to_owned(), source };
    let state: State = serde_json::from_slice(&text).map_err(broken)?;
    if state.version != VERSION {
        let message = format!("its version is {}, expected {VERSION}", state.version);
        return Err(broken(serde::de::Error::custom(message)));
    }
    if state.namespace != namespace {
        warn!(
            path = %path.display(),
            "the changes an earlier run left on file were made in another network namespace: forgotten"
        );
        return Ok(Vec::new());
    }
    if !state.changes.is_empty() {
        info!(changes = state.changes.len(), "taking over from a run that could not undo its changes");
    }
    Ok(state.changes)
}

pub(super) fn file_error(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { path: path.to_owned(), source }
}
