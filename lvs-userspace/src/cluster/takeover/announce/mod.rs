//! Tells everybody on the link where an address is now, and hears who else says so.

pub(crate) mod frame;
pub(crate) mod schedule;
pub(crate) mod socket;
