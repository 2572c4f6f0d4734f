//! The desired state on disk: what survives the agent and the machine.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::alert::SavedProblem;
use crate::control::RingHistory;
use crate::health::legible;
use crate::health::pool::Saved;

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    #[serde(flatten)]
    pub(super) pool: Saved,
    /// What people were told of, and what not yet.
    #[serde(default, deserialize_with = "legible::list")]
    pub(super) problems: Vec<SavedProblem>,
    /// For other directors: here the maps have them.
    #[serde(default, deserialize_with = "legible::list", skip_serializing_if = "Vec::is_empty")]
    pub(super) rings: Vec<RingHistory>,
}

/// `state.json` in the state directory.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    const FILE: &str = "state.json";
    /// Larger than the state of as many real servers as there can be.
    const LARGEST: u64 = 1 << 30;

    pub(super) const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(Self::FILE)
    }

    /// What was saved last. A file that makes no sense is told and left out of account: to refuse the start
    /// for it would be worse than to check all real servers anew.
    pub(super) fn load(&self) -> Option<State> {
        let path = self.path();
        let read = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
            Ok(file) => read(&file),
        };
        match read {
            Ok(saved) => Some(saved),
            Err(reason) => {
                warn!(path = %path.display(), "verdicts and maintenance of before are lost: {reason}");
                None
            }
        }
    }

    /// Replaces what was saved; a crash leaves the one or the other. Nothing is made for nothing.
    pub(super) fn save(&self, saved: &State) -> io::Result<()> {
        let path = self.path();
        if saved.pool.is_empty() && saved.problems.is_empty() && !path.exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.directory)?;
        let new = self.directory.join(format!("{}.new", Self::FILE));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(saved)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.directory)?.sync_all()
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

fn read(file: &File) -> Result<State, String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    if length > Store::LARGEST {
        return Err(format!("it has {length} bytes"));
    }
    serde_json::from_reader(io::BufReader::new(file)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_left_out_of_account() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("lvs"));
        assert_eq!(store.load(), None);
        fs::create_dir(store.directory()).unwrap();
        for text in ["", "{", "[]", r#"{"version": 2, "servers": [], "services": [], "checks": []}"#] {
            fs::write(store.path(), text).unwrap();
            assert_eq!(store.load(), None, "{text}");
        }
        let text = r#"{"version": 1, "servers": [], "services": [], "checks": []}"#;
        fs::write(store.path(), text).unwrap();
        let saved = store.load().unwrap();
        assert!(saved.pool.is_empty());
        store.save(&saved).unwrap();
        assert_eq!(store.load(), Some(saved));
    }

    #[test]
    fn nothing_is_written_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("lvs"));
        let empty = r#"{"version": 1, "servers": [], "services": [], "checks": []}"#;
        store.save(&serde_json::from_str(empty).unwrap()).unwrap();
        assert!(!store.directory().exists());
    }
}
