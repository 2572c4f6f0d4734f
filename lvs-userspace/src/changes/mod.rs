//! What was changed on this machine, and what was there before, so that it can be undone: even by the next
//! start, where this one is killed. [`journal`] keeps it on file, [`sysctl`] makes such changes; the rest is pure.

pub(crate) mod journal;
pub(crate) mod sysctl;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{} was not written by this version of lvsd: stop the version that wrote it cleanly, or remove the file: {source}",
        path.display()
    )]
    State { path: PathBuf, source: serde_json::Error },
}

pub(crate) fn file_error(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { path: path.to_owned(), source }
}

/// One thing that can be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// A file below /proc/sys that holds a number.
    Sysctl(String),
    /// An address added to lo.
    Address(IpAddr),
    /// An address of a group, added to an interface.
    GroupAddress { interface: String, address: IpAddr },
    /// The advertised segment size of a route.
    Route(RouteKey),
}

/// What the kernel tells routes of the main table apart by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RouteKey {
    /// `0.0.0.0` or `::` with length 0 for the default route.
    pub(crate) destination: IpAddr,
    pub(crate) length: u8,
    /// The metric.
    pub(crate) priority: u32,
    /// Index of the interface; 0 if there are several.
    pub(crate) interface: u32,
}

/// A change: what to put back, and only if `after` still stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) target: Target,
    pub(crate) before: Option<u32>,
    pub(crate) after: Option<u32>,
}

/// Every change that stands, oldest first: those of this run and those an earlier one left.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    entries: Vec<(Change, Origin)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Earlier,
    /// Made, or found made and wanted, by this run.
    Wanted,
}

impl Changes {
    pub(crate) fn from_earlier(changes: Vec<Change>) -> Self {
        Self { entries: changes.into_iter().map(|change| (change, Origin::Earlier)).collect() }
    }

    /// A change about to be made. What was there before the first change of a target stays on record.
    pub(crate) fn record(&mut self, change: Change) {
        match self.entry(&change.target) {
            Some((known, origin)) => {
                known.after = change.after;
                *origin = Origin::Wanted;
            }
            None => self.entries.push((change, Origin::Wanted)),
        }
    }

    /// The target is as wanted already; if that is an earlier run's doing, it is this run's from now on.
    pub(crate) fn keep(&mut self, target: &Target) {
        if let Some((_, origin)) = self.entry(target) {
            *origin = Origin::Wanted;
        }
    }

    pub(crate) fn forget(&mut self, target: &Target) {
        self.entries.retain(|(change, _)| change.target != *target);
    }

    pub(crate) fn all(&self) -> Vec<Change> {
        self.entries.iter().map(|(change, _)| change.clone()).collect()
    }

    /// What only an earlier run wanted.
    pub(crate) fn unwanted(&self) -> Vec<Change> {
        self.entries
            .iter()
            .filter(|(_, origin)| *origin == Origin::Earlier)
            .map(|(change, _)| change.clone())
            .collect()
    }

    fn entry(&mut self, target: &Target) -> Option<&mut (Change, Origin)> {
        self.entries.iter_mut().find(|(change, _)| change.target == *target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysctl(name: &str, before: u32, after: u32) -> Change {
        Change { target: Target::Sysctl(name.into()), before: Some(before), after: Some(after) }
    }

    #[test]
    fn the_oldest_value_is_what_is_put_back() {
        let mut changes = Changes::from_earlier(vec![sysctl("a", 0, 1)]);
        changes.record(sysctl("a", 1, 2));
        changes.record(sysctl("a", 2, 3));
        assert_eq!(changes.all(), [sysctl("a", 0, 3)]);
        assert_eq!(changes.unwanted(), []);
    }

    #[test]
    fn an_earlier_run_s_change_is_kept_or_unwanted() {
        let mut changes = Changes::from_earlier(vec![sysctl("a", 0, 1), sysctl("b", 0, 1)]);
        changes.keep(&Target::Sysctl("a".into()));
        changes.keep(&Target::Sysctl("never changed".into()));
        assert_eq!(changes.unwanted(), [sysctl("b", 0, 1)]);
        changes.forget(&Target::Sysctl("b".into()));
        assert_eq!(changes.all(), [sysctl("a", 0, 1)]);
    }
}
