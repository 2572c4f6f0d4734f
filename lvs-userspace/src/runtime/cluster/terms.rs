//! Which terms of office this director holds, on file: its next life goes on with those whose lease has not ended.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kept;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Term {
    pub(super) epoch: u64,
    /// The group's place in `LEASES`, which another file may give to another group.
    pub(super) lease: u8,
}

/// `/run/<instance>/terms.json`: gone with the machine, as the leases are.
#[derive(Debug)]
pub(super) struct Terms {
    path: PathBuf,
    held: BTreeMap<String, Term>,
}

impl Terms {
    /// What an earlier life has left; nothing, if that cannot be read: then it begins as others do.
    pub(super) fn open(directory: &Path) -> Self {
        let path = directory.join("terms.json");
        let held = kept::read(&path);
        Self { path, held }
    }

    pub(super) fn of(&self, group: &str) -> Option<Term> {
        self.held.get(group).copied()
    }

    pub(super) fn hold(&mut self, group: &str, term: Term) -> io::Result<()> {
        if self.held.insert(group.to_owned(), term) == Some(term) {
            return Ok(());
        }
        kept::write(&self.path, &self.held)
    }

    pub(super) fn give_up(&mut self, group: &str) -> io::Result<()> {
        match self.held.remove(group) {
            Some(_) => kept::write(&self.path, &self.held),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_life_finds_what_was_held() {
        let directory = tempfile::tempdir().unwrap();
        let term = Term { epoch: 7, lease: 1 };
        let mut terms = Terms::open(directory.path());
        assert_eq!(terms.of("www"), None);
        terms.hold("www", term).unwrap();
        terms.hold("mail", Term { epoch: 1, lease: 2 }).unwrap();
        terms.give_up("mail").unwrap();
        let next = Terms::open(directory.path());
        assert_eq!((next.of("www"), next.of("mail")), (Some(term), None));
        std::fs::write(directory.path().join("terms.json"), "nonsense").unwrap();
        assert_eq!(Terms::open(directory.path()).of("www"), None);
    }
}
