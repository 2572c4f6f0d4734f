//! Directors that watch each other, so that one of them serves.
//!
//! [`beat`] is what they say. [`election`] decides, pure: beats, facts and the time go in, beats, leases and
//! orders come out. On the wire a beat is what [`message`] makes of it, sealed with a key ([`keys`]); [`transport`]
//! carries it.
//!
//! The active one tells the others its desired state by [`state`], and its connections by [`sync`].
//!
//! [`takeover`] does what an election has decided. [`vrrp`] is the other way to elect, and uses it too.

pub mod beat;
pub mod election;
pub mod fitness;
pub mod frame;
pub mod identity;
pub mod keys;
pub mod message;
pub mod pulse;
pub mod reach;
pub mod refusal;
pub mod state;
pub mod sync;
pub mod takeover;
pub mod transport;
mod urgency;
pub mod vrrp;
pub mod witness;
