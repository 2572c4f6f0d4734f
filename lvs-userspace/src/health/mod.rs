//! Watches real servers and decides who serves.
//!
//! [`supervisor`] starts the probes that are due ([`probe`]: IO only) and hands each result to [`watch`],
//! where [`threshold`] turns results in a row into a standing, up or down. [`pool`] makes of the standings
//! of all checks, and of what the file says, the configuration that is installed. [`experience`] is what the
//! directors of a cluster are compared by. All but the supervisor and the probes is pure: time comes in as an
//! argument.

pub mod evidence;
pub mod experience;
mod hexadecimal;
pub mod journal;
pub(crate) mod legible;
pub mod pool;
pub mod probe;
mod schedule;
pub mod supervisor;
pub mod threshold;
pub mod watch;

pub use evidence::{Counted, Evidence};
pub use experience::Experience;
pub use journal::Journal;
pub use pool::{Notice, Pool};
pub use supervisor::{Instruction, Supervisor};
pub use threshold::Standing;
pub use watch::{Certificate, Change, CheckView, Finding, Pace};
