//! The part of the file that says how real servers are checked, and what follows from it.

mod probe;
pub(super) mod raw;
pub(super) mod scalar;
pub(super) mod validate;
