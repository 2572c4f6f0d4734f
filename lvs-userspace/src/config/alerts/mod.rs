//! The part of the file that says who is told.

pub(super) mod raw;
mod scalar;
pub(super) mod validate;
