//! What the XDP programs and the agent share: the layout of every map, the limits, and the pure rules
//! both sides must agree on.
//!
//! Here live plain-old-data types and functions over them: no IO, no allocation, no clock, no packet
//! pointer. A type of this crate may cross the border between kernel and user space, so it has a fixed
//! layout without padding, `bool`, `enum` or `Option` (guarded by [`shared_pod`] at compile time).
//! Changing the layout or the meaning of any of them raises [`LAYOUT_VERSION`].
#![cfg_attr(not(any(test, feature = "user")), no_std)]

#[macro_use]
mod pod;

pub mod address;
pub mod adoption;
pub mod bench;
pub mod cause;
pub mod checksum;
pub mod connection;
pub mod counters;
pub mod decapsulation;
pub mod destination;
pub mod flow;
pub mod fragment;
pub mod lease;
pub mod limits;
pub mod names;
pub mod probe;
pub mod ring;
pub mod service;
pub mod settings;
pub mod tcp_state;

/// Version of every pinned map's layout. Part of the pin path: a director never reinterprets the maps of
/// another version.
pub const LAYOUT_VERSION: u32 = 2;
