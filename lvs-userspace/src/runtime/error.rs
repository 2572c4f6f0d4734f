//! Why the agent does not start, or ends.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::api::model::Failure;
use crate::cluster::takeover;
use crate::config::Diagnostics;
use crate::dataplane::object::MissingObject;
use crate::dataplane::{ApplyError, AttachError, MapError, OpenError};
use crate::network;

#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] Diagnostics),
    #[error(
        "another lvsd of instance {instance} is running ({holder}); `lvsctl --instance {instance} stop` ends it"
    )]
    Running { instance: String, holder: String },
    #[error("{}: {source}{}", path.display(), hint(source))]
    File { path: PathBuf, source: io::Error },
    #[error("cannot watch for signals: {0}")]
    Signal(#[source] io::Error),
    #[error(transparent)]
    Object(#[from] MissingObject),
    #[error(transparent)]
    Open(Box<OpenError>),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("the kernel's maps could not be written, twice; {0}")]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Takeover(#[from] takeover::Failure),
    #[error("cluster: {0}")]
    Cluster(String),
    #[error("cannot start the thread that speaks VRRP: {0}")]
    Vrrp(#[source] io::Error),
    #[error("cannot start the thread that delivers alerts: {0}")]
    Alerts(#[source] io::Error),
}

// Boxed, since it carries the loader's whole error and every result here would be as large.
impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let diagnostics = if let Error::Config(diagnostics) = error { Some(diagnostics) } else { None };
        Self { error: text, diagnostics }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; lvsd is meant to run as root",
        _ => "",
    }
}
