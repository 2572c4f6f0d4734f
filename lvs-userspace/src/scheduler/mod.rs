//! Who gets a new flow: pure functions from members and weights to rings.

pub mod columns;
