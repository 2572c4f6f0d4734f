//! Directors that watch each other, so that one of them serves.
//!
//! [`beat`] is what they say. [`election`] decides, pure: beats, facts and the time go in, beats, leases and
//! orders come out. On the wire a beat is what [`message`] makes of it, sealed with a key ([`keys`]); [`transport`]
//! carries it.

pub mod beat;
pub mod election;
pub mod frame;
pub mod identity;
pub mod keys;
pub mod message;
pub mod refusal;
pub mod takeover;
pub mod transport;
pub mod vrrp;
