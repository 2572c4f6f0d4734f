//! The changes on file, written before each of them is made.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Change, Changes, Error, Target, file_error};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    /// Inode of the network namespace the changes were made in.
    namespace: u64,
    changes: Vec<Change>,
}

/// The changes of one master, who sees to it that nobody else writes the file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    namespace: u64,
    changes: Changes,
}

impl Journal {
    /// Takes over what an earlier run left in `file` of `directory`, which is made if it is missing.
    pub(crate) fn open(directory: &Path, file: &str) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(file_error(directory))?;
        let namespace_file = Path::new("/proc/thread-self/ns/net");
        let namespace = fs::metadata(namespace_file).map_err(file_error(namespace_file))?.ino();
        let path = directory.join(file);
        let changes = load(&path, namespace)?;
        Ok(Self { path, namespace, changes: Changes::from_earlier(changes) })
    }

    /// See [`Changes::record`]. On file when this returns.
    pub(crate) fn record(&mut self, change: Change) -> Result<(), Error> {
        self.record_all([change])
    }

    /// The same for several at once.
    pub(crate) fn record_all(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), Error> {
        changes.into_iter().for_each(|change| self.changes.record(change));
        self.save()
    }

    /// See [`Changes::keep`].
    pub(crate) fn keep(&mut self, target: &Target) {
        self.changes.keep(target);
    }

    pub(crate) fn forget(&mut self, target: &Target) -> Result<(), Error> {
        self.changes.forget(target);
        self.save()
    }

    pub(crate) fn all(&self) -> Vec<Change> {
        self.changes.all()
    }

    pub(crate) fn unwanted(&self) -> Vec<Change> {
        self.changes.unwanted()
    }

    /// Removes the file, and the directory if it is empty.
    pub(crate) fn close(self) -> Result<(), Error> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file_error(&self.path)(error));
            }
            _ => {}
        }
        let Some(directory) = self.path.parent() else { return Ok(()) };
        match fs::remove_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                Err(file_error(directory)(error))
            }
            _ => Ok(()),
        }
    }

    /// Whole or not at all: a half-written file could not be undone.
    fn save(&self) -> Result<(), Error> {
        let state = State { version: VERSION, namespace: self.namespace, changes: self.changes.all() };
        let text = serde_json::to_vec_pretty(&state)
            .map_err(|source| Error::State { path: self.path.clone(), source })?;
        let new = self.path.with_extension("json.new");
        fs::write(&new, text).map_err(file_error(&new))?;
        fs::rename(&new, &self.path).map_err(file_error(&self.path))
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
