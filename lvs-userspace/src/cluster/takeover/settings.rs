//! Settings of the kernel on the interfaces of groups, put back when the agent ends.
//!
//! `arp_notify` and `ndisc_notify` are left alone: with them the kernel would announce every address when a link
//! comes up, on its own and at a time of its own; we do so ourselves, and only for what is held.

use std::collections::BTreeSet;
use std::path::Path;

use tracing::warn;

use crate::changes::journal::Journal;
use crate::changes::sysctl::{Setting, quiet_arp, undo};
use crate::changes::{Change, Error, Target};

const FILE: &str = "takeover.json";

/// What was changed, on file.
#[derive(Debug)]
pub(super) struct Settings(Journal);

impl Settings {
    /// Adopts what an earlier life left in `directory`.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        Journal::open(directory, FILE).map(Self)
    }

    /// Makes `interfaces` fit to have a group's addresses; tells the first failure after having tried all.
    pub(super) fn apply(&mut self, interfaces: &BTreeSet<&str>) -> Result<(), Error> {
        let promote = |interface: &&str| Setting {
            name: format!("net/ipv4/conf/{interface}/promote_secondaries"),
            // Or the kernel removes, with the first address of a network, all others: another group's among them.
            fits: |value| value == 1,
            value: 1,
        };
        let mut outcome = Ok(());
        for setting in quiet_arp(interfaces.iter().copied()).into_iter().chain(interfaces.iter().map(promote))
        {
            outcome = outcome.and(setting.apply(&mut self.0));
        }
        outcome
    }

    /// Puts back what no interface of `apply` needs any more.
    pub(super) fn undo_unwanted(&mut self) {
        let unwanted = self.0.unwanted();
        self.undo_changes(&unwanted);
    }

    /// Puts everything back.
    pub(super) fn undo(mut self) {
        let all = self.0.all();
        if self.undo_changes(&all)
            && let Err(error) = self.0.close()
        {
            warn!("{error}");
        }
    }

    /// Whether all of them are undone.
    fn undo_changes(&mut self, changes: &[Change]) -> bool {
        let mut all_done = true;
        for change in changes.iter().rev() {
            let Target::Sysctl(name) = &change.target else { continue };
            if let Err(error) = undo(name, change).and_then(|()| self.0.forget(&change.target)) {
                warn!("{error}");
                all_done = false;
            }
        }
        all_done
    }
}
