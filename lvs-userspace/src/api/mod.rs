//! HTTP and JSON over `/run/<instance>/lvsd.sock`: what `lvsctl` and every other program ask.
//!
//! The agent's own state is asked by [`Request`]s to its one task; counters and connections are read
//! straight from the maps, on threads of their own.

mod connections;
mod exposition;
mod health;
mod metrics;
pub mod model;
mod overview;
mod process;
mod server;
mod stats;

use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use crate::cluster::pulse::Status;
use crate::cluster::vrrp::RouterStatus;
use crate::health::journal;
use crate::health::pool::{Mode, Selection, ServiceView};
use crate::runtime::Wish;

pub use overview::{Overview, Reloads, Usage};
pub use server::{Api, serve};
pub(crate) use server::{export, listen};

/// What the agent's task is asked.
#[derive(Debug)]
pub enum Request {
    Describe(oneshot::Sender<Overview>),
    /// Who serves, service by service.
    Health(oneshot::Sender<Vec<ServiceView>>),
    /// The latest `limit` notices after that number.
    Events {
        after: u64,
        limit: usize,
        answer: oneshot::Sender<Vec<journal::Entry>>,
    },
    /// Drains, disables or enables a real server.
    Maintain {
        selection: Selection,
        mode: Mode,
        answer: oneshot::Sender<Result<model::Maintained, model::Failure>>,
    },
    /// Reads the file again; an error leaves everything as it was.
    Reload(oneshot::Sender<Result<model::Reloaded, model::Failure>>),
    /// The cluster as this director sees it; `None` without one.
    Cluster(oneshot::Sender<Option<Status>>),
    /// The virtual routers as this machine sees them; none without VRRP.
    Vrrp(oneshot::Sender<Vec<RouterStatus>>),
    /// What an operator wants of a group, or of all.
    Operate {
        wish: Wish,
        group: Option<String>,
        answer: oneshot::Sender<Result<(), model::Failure>>,
    },
    /// `keep_forwarding`: programs and maps stay, for the next agent.
    Stop {
        keep_forwarding: bool,
        done: oneshot::Sender<Result<model::Stopped, model::Failure>>,
    },
}

/// Where the agent of `instance` answers.
pub fn socket_path(instance: &str) -> PathBuf {
    Path::new("/run").join(instance).join("lvsd.sock")
}
