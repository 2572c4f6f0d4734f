//! Who holds which group. Pure.
