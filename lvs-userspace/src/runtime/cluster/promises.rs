//! Which holds this director has promised to others, on file: its next life must not vote against them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::kept;
use crate::cluster::election::Promised;
use crate::cluster::identity::GroupId;

/// `/run/<instance>/promises.json`: gone with the machine, as the clock is that they are of.
#[derive(Debug)]
pub(super) struct Promises {
    path: PathBuf,
    made: BTreeMap<GroupId, Promised>,
}

impl Promises {
    /// What an earlier life has left; nothing, if that cannot be read.
    pub(super) fn open(directory: &Path) -> Self {
        let path = directory.join("promises.json");
        let made: Vec<Promised> = kept::read(&path);
        let made = made.into_iter().map(|promised| (promised.group, promised)).collect();
        Self { path, made }
    }

    /// Also those that are over: they bind nobody.
    pub(super) fn of_earlier_lives(&self) -> Vec<Promised> {
        self.made.values().copied().collect()
    }

    /// One for each group: the latest.
    pub(super) fn keep(&mut self, promised: Promised) -> io::Result<()> {
        self.made.insert(promised.group, promised);
        kept::write(&self.path, &self.of_earlier_lives())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::identity::NodeId;

    #[test]
    fn the_next_life_finds_the_latest_promise_of_each_group() {
        let directory = tempfile::tempdir().unwrap();
        let promised = |group: &str, epoch| Promised {
            group: GroupId::of(group),
            to: NodeId::of("director-1"),
            epoch,
            until: Duration::from_millis(12_345),
        };
        let mut promises = Promises::open(directory.path());
        assert_eq!(promises.of_earlier_lives(), []);
        for (group, epoch) in [("www", 1), ("mail", 2), ("www", 3)] {
            promises.keep(promised(group, epoch)).unwrap();
        }
        let mut found = Promises::open(directory.path()).of_earlier_lives();
        found.sort_by_key(|promised| promised.epoch);
        assert_eq!(found, [promised("mail", 2), promised("www", 3)]);
        std::fs::write(directory.path().join("promises.json"), "nonsense").unwrap();
        assert_eq!(Promises::open(directory.path()).of_earlier_lives(), []);
    }
}
