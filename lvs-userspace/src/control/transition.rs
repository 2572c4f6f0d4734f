//! Changes that would send every flow without an entry elsewhere: another hash, another number of slots,
//! or no hashing any more.
//!
//! The service first tracks, for as long as a connection can be idle. When the change comes, every live
//! flow has an entry, and keeps its destination by it.

use std::time::Duration;

use lvs_common::service::{Service, ServiceKey};

use super::diff::Target;
use super::mirror::hashed_ring;
use super::plan::{Wanted, display};
use super::rings::Pool;
use super::state::State;
use super::view::scheduler_name;

/// What a service may become now.
pub(super) struct Stage {
    pub scheduler: u8,
    /// Slots of the hashed ring it keeps.
    pub slots: Option<u32>,
    /// Every live flow has an entry.
    known: bool,
    learning: bool,
}

impl State {
    pub(super) fn stage(
        &self,
        key: &ServiceKey,
        previous: Option<&Service>,
        wanted: &Wanted,
        now: Duration,
    ) -> Stage {
        if let Some(told) = self.told.get(key) {
            // As the director does that serves: it knows more flows.
            let learning = told.scheduler != wanted.scheduler;
            return Stage { scheduler: told.scheduler, slots: Some(told.slots), known: false, learning };
        }
        let ring = previous.filter(|service| hashed_ring(service).is_some());
        let known = ring.is_none_or(|service| {
            let since = self.holdings.tracked_since.get(key);
            service.is_tracked() && since.is_none_or(|since| *since + self.longest_timeout() <= now)
        });
        let former = ring.map(|service| service.scheduler).filter(|former| *former != wanted.scheduler);
        // Without servers there are no flows to keep.
        let learning = former.is_some() && !known && !wanted.servers.is_empty();
        let scheduler = former.filter(|_| learning).unwrap_or(wanted.scheduler);
        let slots = ring.filter(|service| service.scheduler == scheduler).map(|service| service.ring_slots);
        Stage { scheduler, slots, known, learning }
    }

    /// The pool under `stage`, in a larger ring where that is due, and whether the service must track.
    pub(super) fn staged_pool(
        &mut self,
        key: &ServiceKey,
        wanted: &Wanted,
        stage: &Stage,
        seats: &super::mirror::Seats,
        now: Duration,
    ) -> (Option<Pool>, bool) {
        let mut pool = Pool::of(stage.scheduler, seats, stage.slots);
        let outgrown = pool.as_ref().is_some_and(Pool::is_outgrown);
        if outgrown && stage.known {
            pool = Pool::of(stage.scheduler, seats, None);
        }
        let learning = stage.learning || (outgrown && !stage.known);
        if learning {
            let since = self.holdings.tracked_since.get(key).copied().unwrap_or(now);
            self.learning.insert(*key, since + self.longest_timeout());
            let change = if stage.learning { scheduler_name(wanted.scheduler) } else { "a larger ring" };
            self.warnings.push(format!(
                "service {} ({}) changes to {change} when all its connections are known, in {} s at the latest",
                wanted.name,
                display(key),
                self.longest_timeout().as_secs()
            ));
        }
        (pool, learning || wanted.tracked)
    }

    /// Remembers since when services with a hashed ring track. One that did from its beginning, or for
    /// long enough, is not in the list.
    pub(super) fn note_tracking(&mut self, targets: &[Target<'_>], now: Duration) {
        let longest = self.longest_timeout();
        let mut former = std::mem::take(&mut self.holdings.tracked_since);
        for target in targets {
            if hashed_ring(&target.value).is_none() || !target.value.is_tracked() {
                continue;
            }
            let begins = target
                .previous
                .as_ref()
                .is_some_and(|(previous, _)| hashed_ring(previous).is_some() && !previous.is_tracked());
            // The director that is followed has not said since when it does.
            let follows = self.told.contains_key(&target.key) && !target.wanted.tracked;
            let since = former.remove(&target.key).or((begins || follows).then_some(now));
            if let Some(since) = since.filter(|since| *since + longest > now) {
                self.holdings.tracked_since.insert(target.key, since);
            }
        }
    }
}
