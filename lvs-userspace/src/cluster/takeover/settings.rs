//! Settings of the kernel on the interfaces of groups, put back when the agent ends; and which addresses of groups are
//! there because this agent, or an earlier life of it, has put them up: no other is its to remove.
//!
//! `arp_notify` and `ndisc_notify` are left alone: with them the kernel would announce every address when a link
//! comes up, on its own and at a time of its own; we do so ourselves, and only for what is held.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use tracing::warn;

use crate::changes::journal::Journal;
use crate::changes::sysctl::{Setting, quiet_arp, undo};
use crate::changes::{Change, Error, Target};

const FILE: &str = "takeover.json";

/// Interface and address.
pub(super) type Place = (String, IpAddr);

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

    /// Whether an earlier life has left anything in `directory`.
    pub(super) fn are_left(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// These are about to be put up.
    pub(super) fn own(&mut self, places: Vec<Place>) -> Result<(), Error> {
        let change = |place| Change { target: target(place), before: None, after: None };
        let known = self.owned();
        let new: Vec<_> = places.into_iter().filter(|place| !known.contains(place)).map(change).collect();
        if new.is_empty() { Ok(()) } else { self.0.record_all(new) }
    }

    /// It has gone.
    pub(super) fn disown(&mut self, place: Place) -> Result<(), Error> {
        self.0.forget(&target(place))
    }

    /// What was put up, and has not gone.
    pub(super) fn owned(&self) -> BTreeSet<Place> {
        let place = |change: Change| match change.target {
            Target::GroupAddress { interface, address } => Some((interface, address)),
            Target::Sysctl(_) | Target::Address(_) | Target::Route(_) => None,
        };
        self.0.all().into_iter().filter_map(place).collect()
    }

    /// Puts all settings back. What is still put up stays on file.
    pub(super) fn undo(mut self) {
        let all = self.0.all();
        if self.undo_changes(&all)
            && self.owned().is_empty()
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

fn target((interface, address): Place) -> Target {
    Target::GroupAddress { interface, address }
}
