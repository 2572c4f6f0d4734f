//! Whole frames in, whole frames out: the director's own program under BPF_PROG_TEST_RUN, its maps filled
//! as the agent fills them.
//!
//! [`World`] is a network namespace with a director in it, [`frame`] builds what is sent and what is expected
//! (every checksum afresh, with etherparse's arithmetic instead of the project's), [`show`] prints frames.
//! Nothing here starts another program, so that the tests run where there is none.

pub mod frame;
mod place;
pub(crate) mod program;
pub mod show;
mod world;

pub use place::{Side, mac};
pub use program::Verdict;
pub use world::{Expect, Outcome, Runner, World};
