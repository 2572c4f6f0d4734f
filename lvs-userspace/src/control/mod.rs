//! Decides everything, does nothing: events and the time go in, commands come out.
//!
//! No clock, no socket and no file is read here, so every decision can be replayed in a test.

pub mod command;
