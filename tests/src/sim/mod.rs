//! A cluster of directors in one thread: seeded losses, cuts, pauses and crashes, and what must hold after every
//! step.
//!
//! The election is the agent's own. What is simulated is the world around it: a network that loses, delays,
//! doubles and reorders messages, clocks that differ and stop, and the data plane's leases, which go on when an
//! agent is stopped or killed and end by the director's own clock.

mod check;
mod clock;
mod director;
mod fault;
mod network;
mod random;
mod scenario;
mod wire;
mod world;

#[cfg(test)]
mod tests;

pub use scenario::{Outcome, Scenario};
