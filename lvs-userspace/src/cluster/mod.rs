//! Directors that watch each other, so that one of them serves.
//!
//! [`beat`] is what they say. [`election`] decides, pure: beats, facts and the time go in, beats, leases and
//! orders come out.

pub mod beat;
pub mod election;
pub mod identity;
pub mod sync;
