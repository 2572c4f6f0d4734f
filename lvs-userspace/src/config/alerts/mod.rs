//! The part of the file that says who is told.

pub(super) mod raw;
pub(super) mod scalar;
pub(super) mod validate;
