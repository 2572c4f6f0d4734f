//! The connection table, kept in step by all directors.
//!
//! Each tells all others of the connections of the services it is active for ([`Senders`]), and takes over those of the
//! services that others are active for ([`Receivers`]): a session with each, in either direction. Both are pure:
//! datagrams, the time and a door to the table ([`Source`], [`Target`]) go in, datagrams come out. [`link`] puts a
//! socket and the data plane to them.
//!
//! # How the receiver comes to hold what the sender holds
//! The sender's table is an array of *cells* ([`ENTRIES_PER_BUCKET`] to a bucket). It tells what stands in a cell, or
//! that nothing does any more; the receiver remembers where the connection of each cell stands in its own table, which
//! may be of another size. So a message about a cell can be repeated or be made anew at any time, and always says what
//! is: nothing is kept to be sent again. What was not acknowledged is looked at again instead.
//!
//! A *session* begins when the receiver asks for one, and begins with all there is (*bulk*); its end costs no more than
//! another bulk. Services and destinations are named by numbers of the session, which the sender explains by their keys
//! first; neither side's indices cross the wire.
//!
//! # Several directors
//! What has changed is marked for each session by itself, a bit for each bucket: one that is slow, or dead, keeps its
//! marks, and costs the others nothing. All sessions share what may be sent in a second, datagram by datagram in turn.
//!
//! A connection belongs to the director that told of it last, and is taken away only by that one. Who is active for a
//! service is known from the election ([`Active`]): what others say of it is left out of account.

mod directory;
mod kernel;
pub mod link;
mod marks;
mod receiver;
mod seal;
mod sender;
#[cfg(test)]
mod tests;
pub mod view;
pub mod wire;

pub use directory::{Active, DestinationKey, Directory};
pub use receiver::{ReceiverStats, Receivers};
pub use seal::{Key, Seal};
pub use sender::{Options, SenderStats, Senders, Step};

use std::time::Duration;

use lvs_common::adoption::Adoption;
use lvs_common::connection::{ENTRIES_PER_BUCKET, Entry, ticks};

use super::reach::Peer;
use crate::dataplane::MapError;

/// The sender's table.
pub trait Source {
    /// The entries of a bucket; `None` while they change too fast to be read.
    fn read(&self, bucket: u32) -> Option<[Option<Entry>; ENTRIES_PER_BUCKET]>;
}

/// The receiver's table.
pub trait Target {
    /// Places of the table: an entry's is below.
    fn places(&self) -> u32;
    /// The entry at `place`, if one stands there.
    fn entry(&self, place: u32) -> Option<Entry>;
    /// Carries out the records in order and fills in what became of them.
    fn apply(&mut self, records: &mut [Adoption]) -> Result<(), MapError>;
}

/// A session ends when nothing was heard for so long; the receiver then asks for another.
pub const SILENCE: Duration = Duration::from_secs(3);

/// The moment on the clock of [`Entry::last_seen`]: moments are those of CLOCK_MONOTONIC.
fn to_ticks(now: Duration) -> u32 {
    ticks::from_nanoseconds(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// A connection's last packet is told again when it is so much later than the one that was told: a quarter of the
/// timeout.
const fn refreshed_after(timeout: u32) -> u32 {
    timeout / 4
}

/// How long the sender takes to look through its whole table for such.
const SWEEP: Duration = Duration::from_secs(4);

/// So much longer does the receiver keep a connection that it hears no more of, in ticks: until then the sender would
/// have told of its packets. Without it a connection would be over here while it goes on there.
fn grace(timeout: u32) -> u32 {
    refreshed_after(timeout).saturating_add(to_ticks(SWEEP + Duration::from_secs(1)))
}
