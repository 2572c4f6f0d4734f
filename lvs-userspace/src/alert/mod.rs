//! Tells people: notices go in, messages come out, and are delivered even if that takes a while.
//!
//! [`engine`] decides which notice is told to whom and when ([`period`]); both are pure. The [`courier`]
//! keeps messages on disk ([`queue`]) until they are delivered ([`deliver`]: IO only).

pub mod concern;
pub mod courier;
mod deliver;
pub mod engine;
pub mod message;
pub mod period;
mod queue;

pub use concern::{Concern, Course, Topic};
pub use courier::Courier;
pub use engine::{Engine, SavedProblem};
pub use message::Message;
pub use queue::Queue;
