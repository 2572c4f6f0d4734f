//! The two columns of a hashing ring: who gets new flows, and who holds those without an entry.
//!
//! # What must hold
//!
//! A director stores nothing for most flows of a hashing service, and yet no change of its pool may move
//! a live flow whose server lives. Two statements keep that true; every operation here preserves them:
//!
//! 1. a live flow without an entry in the connection table is held by its slot's `base`;
//! 2. an entry names its flow's holder, and is consulted wherever that may not be `current`.
//!
//! # The life of a slot
//!
//! - **settled** `{A, A}`: the ring answers, nothing is stored, nothing is looked up.
//! - A change gives new flows to B: **dual** `{B, A}`. Every flow gets an entry with its next packet: new
//!   ones name B, old ones A. Further changes move `current` only.
//! - After the longest timeout every live flow of A has sent a packet and is known, so the slot retires:
//!   `base := current`. When A's server died its flows are gone, and the same happens at once.
//!
//! A retired slot `{B, B}` is not settled yet: flows of A live on, as entries. The same is true of
//! `{A, A}` when the change is taken back: flows that began at B live on. The flag **unsettled** says
//! so: entries may name servers beside `current` and `base`, and so they are still consulted, but no new
//! ones are made. No time makes such a slot settle, since a flow may last for ever; what does is a walk
//! through the connection table that finds no entry of another server in the slot
//! ([`Columns::settle`]). Until then it costs a look-up for each packet, never a flow.
//!
//! # What callers owe
//!
//! - [`Columns::update`] is called at every change of weight and at every death, and with the death the
//!   destination's generation is raised: an entry of an earlier life is no valid entry.
//! - A low-class entry (made for a packet without SYN) is kept for the established timeout.
//! - A position that left the pool is given to another server only when no ring of the service
//!   [references](Columns::references) it any more *and* that ring has been published.
//! - A flow without an entry is found by its slot, so as long as there are such flows, the number of
//!   slots, the hash (sh, dh, mh) and the hashing itself stay. To change them, track the service for the
//!   longest timeout, then begin a new ring with [`Columns::unsettled`]; likewise when a service comes
//!   to hashing from another scheduler. To track a service, or to stop, is free at any time.
//! - Two services share columns only while their members and their history are the same; when one of
//!   them changes, it goes on with a clone.
//!
//! UDP has no SYN: a datagram without an entry goes to `current`, so a change moves the UDP flows of the
//! slots it touches, once; `track: always` keeps them.

use std::collections::BTreeMap;
use std::time::Duration;

use lvs_common::ring::Slot;

/// A ring as it is published, and since when each slot is in its state.
///
/// Times are counted from any fixed moment of a monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    slots: Vec<Slot>,
    /// Per slot, in whole seconds: a dual slot became dual, an unsettled single slot became single,
    /// before this time. Rounded up by one to two seconds: publication takes some milliseconds.
    since: Vec<u32>,
}

/// An update for a ring of another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ring of {slots} slots cannot become one of {wanted}: every flow would change its slot")]
pub struct SlotsChanged {
    pub slots: usize,
    pub wanted: usize,
}

impl Columns {
    /// The ring of a service that has no flows yet.
    pub fn new(current: &[u16]) -> Self {
        Self {
            slots: current.iter().map(|&position| Slot::single(position)).collect(),
            since: vec![0; current.len()],
        }
    }

    /// The ring of a service all of whose flows have entries, which may name any server.
    pub fn unsettled(current: &[u16], now: Duration) -> Self {
        Self::adopt(current.iter().map(|&position| Slot::new(position, position, true)).collect(), now)
    }

    /// A ring found in the kernel or sent by the other director. How old its states are is unknown:
    /// they begin anew.
    pub fn adopt(slots: Vec<Slot>, now: Duration) -> Self {
        let since = vec![published_by(now); slots.len()];
        Self { slots, since }
    }

    /// What the kernel's ring must hold.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// `position` is a holder of new flows or of flows without an entry.
    pub fn references(&self, position: u16) -> bool {
        self.slots.iter().any(|slot| slot.current() == position || slot.base() == position)
    }

    /// Gives new flows to `current` (one position per slot; empty: nobody can serve) and takes dead
    /// servers out of `base`. `is_alive` is false for a position whose flows are gone: its server was
    /// found dead since the last update, or removed. A drained server (weight 0) is alive.
    ///
    /// Returns how many slots changed, to be published if any did.
    pub fn update(
        &mut self,
        current: &[u16],
        is_alive: impl Fn(u16) -> bool,
        now: Duration,
    ) -> Result<usize, SlotsChanged> {
        if !current.is_empty() && current.len() != self.slots.len() {
            return Err(SlotsChanged { slots: self.slots.len(), wanted: current.len() });
        }
        let holds_flows = |position| position != Slot::NOBODY && is_alive(position);
        let mut wanted = current.iter().copied();
        Ok(self.change(now, |slot, _| {
            let current = wanted.next().unwrap_or(Slot::NOBODY);
            let base = if holds_flows(slot.base()) { slot.base() } else { current };
            let forgotten =
                slot.current() != current && slot.current() != base && holds_flows(slot.current());
            Slot::new(current, base, slot.is_unsettled() || forgotten)
        }))
    }

    /// Gives up `base` in slots that have been dual for `longest_timeout`: each of its live flows has an
    /// entry by now. Returns how many slots changed.
    pub fn retire(&mut self, longest_timeout: Duration, now: Duration) -> usize {
        self.change(now, |slot, since| {
            if slot.is_dual() && seconds(since) + longest_timeout <= now {
                Slot::new(slot.current(), slot.current(), true)
            } else {
                slot
            }
        })
    }

    /// When [`Columns::retire`] will next find something to do.
    pub fn next_retirement(&self, longest_timeout: Duration) -> Option<Duration> {
        let dual = self.slots.iter().zip(&self.since).filter(|(slot, _)| slot.is_dual());
        dual.map(|(_, &since)| seconds(since) + longest_timeout).min()
    }

    /// Some slot waits for a walk through the connection table.
    pub fn is_unsettled(&self) -> bool {
        self.slots.iter().any(|slot| !slot.is_dual() && slot.is_unsettled())
    }

    /// Settles the slots in which every entry names `current`, after a walk through the whole connection
    /// table that began at `began`. `holders`: slot and position of every valid entry of the services
    /// that use this ring. Returns how many slots changed.
    pub fn settle(
        &mut self,
        holders: impl IntoIterator<Item = (usize, u16)>,
        began: Duration,
        now: Duration,
    ) -> usize {
        let mut foreign = vec![false; self.slots.len()];
        for (index, position) in holders {
            if let (Some(foreign), Some(slot)) = (foreign.get_mut(index), self.slots.get(index)) {
                *foreign |= position != slot.current();
            }
        }
        let mut foreign = foreign.into_iter();
        self.change(now, |slot, since| {
            let occupied = foreign.next().unwrap_or(true);
            if slot.is_dual() || occupied || seconds(since) > began {
                slot
            } else {
                Slot::single(slot.current())
            }
        })
    }

    /// Gives the flows without an entry of each slot in `bases` to that position, and of all others to `current`, as
    /// another director has it. Entries may name others where that is new. Returns how many slots changed.
    pub fn follow(&mut self, bases: &BTreeMap<usize, u16>, now: Duration) -> usize {
        let mut number = 0..;
        self.change(now, |slot, _| {
            let base = number.next().and_then(|number| bases.get(&number)).copied().unwrap_or(slot.current());
            Slot::new(slot.current(), base, slot.is_unsettled() || base != slot.base())
        })
    }

    /// Entries that name anyone may come from now on. Returns how many slots changed.
    pub fn unsettle(&mut self, now: Duration) -> usize {
        let changed = self.change(now, |slot, _| {
            if slot.is_dual() { slot } else { Slot::new(slot.current(), slot.base(), true) }
        });
        // What was unsettled already begins anew: a census under way has not seen what comes.
        for (slot, since) in self.slots.iter().zip(&mut self.since) {
            if !slot.is_dual() {
                *since = published_by(now);
            }
        }
        changed
    }

    /// Replaces each slot by what `next` makes of it and of its time. A slot that stays dual keeps its
    /// time: its flows without an entry are the same as before.
    fn change(&mut self, now: Duration, mut next: impl FnMut(Slot, u32) -> Slot) -> usize {
        let mut changed = 0;
        for (slot, since) in self.slots.iter_mut().zip(&mut self.since) {
            let new = next(*slot, *since);
            if new == *slot {
                continue;
            }
            changed += 1;
            if !(slot.is_dual() && new.is_dual()) {
                *since = published_by(now);
            }
            *slot = new;
        }
        changed
    }
}

/// A whole second by which a change decided at `now` has reached the kernel.
fn published_by(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX).saturating_add(2)
}

fn seconds(whole: u32) -> Duration {
    Duration::from_secs(u64::from(whole))
}

#[cfg(test)]
mod tests;
