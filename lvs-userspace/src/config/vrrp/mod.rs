//! The part of the file that says which virtual routers this machine is one of.

pub(super) mod raw;
mod scalar;
pub(super) mod validate;
