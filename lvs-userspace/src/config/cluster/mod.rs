//! The part of the file that says who stands in for whom.

mod groups;
mod paths;
pub(super) mod raw;
pub(super) mod scalar;
mod timing;
pub(super) mod validate;
