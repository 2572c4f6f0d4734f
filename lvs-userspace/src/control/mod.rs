//! Decides everything, does nothing: events and the time go in, commands come out.
//!
//! No clock, no socket and no file is read here, so every decision can be replayed in a test.
//!
//! [`State`] holds the `plan` (what the owners of services want) and the `mirror` (what the kernel's
//! maps hold: read back at the start, then every command applied to it). `diff` finds the commands that
//! lead from one to the other. On the way `seating` hands out positions, destinations and chunks,
//! `sharing` rings, and `transition` delays what would move flows that nobody knows. `history` is what
//! directors have to tell each other of that.
//!
//! # How to drive it
//!
//! 1. [`State::adopt_with`] what the maps hold; report [`State::warnings`].
//! 2. For every event: [`State::handle`], then carry out all commands in order. Where that fails, begin
//!    again with 1 and the last [`Event::Desired`].
//! 3. [`Event::Tick`] about once a second, [`Event::Swept`] after every ageing sweep, and a
//!    [`State::census`] now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::model::Config;

mod adopt;
mod allocate;
pub mod census;
pub mod command;
mod diff;
pub mod history;
mod mirror;
pub mod next_hop;
mod plan;
mod rings;
mod seating;
mod sharing;
mod state;
pub mod summary;

mod transition;
pub mod view;
mod warnings;

pub use census::Census;
pub use command::{Command, Snapshot};
pub use history::{Member, Reader, RingHistory};
pub use next_hop::NextHop;
pub use state::{Capacity, State};
pub use summary::Summary;

/// What `control` decides upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file was read and found valid; it replaces what the file wanted before.
    Desired(Config),
    /// Where a real server is; `None` when no route leads to it.
    NextHop { address: IpAddr, next_hop: Option<NextHop> },
    /// The ageing sweep went through all connections and has ended. The index of a removed destination
    /// is free after a sweep that began after the removal and met no connection of it.
    Swept {
        /// Connections per index in `DESTINATIONS`, of whatever generation; an index without any may be
        /// left out.
        references: BTreeMap<u32, u32>,
    },
    /// A census is complete: it has seen every connection.
    Counted(Census),
    /// What other directors have told of their rings, as far as this one follows them; `None` when it follows nobody.
    Followed(Option<Vec<RingHistory>>),
    /// The groups that this director holds, by the indices of their leases. Without a cluster it never comes.
    Held(BTreeSet<u8>),
    /// Time has passed (about once a second): what may be retired or used again by now is.
    Tick,
}

#[cfg(test)]
mod tests;
