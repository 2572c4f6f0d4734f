//! One attempt, one outcome. All the IO of health checks is here, and nothing is decided.

mod dial;
mod http;
mod tcp;

use std::io;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::time::timeout;

use super::watch::Outcome;
use crate::config::model::{Check, Probe};

/// Why a probe did not pass.
#[derive(Debug, Error)]
enum Failure {
    #[error("no connection within {} s", .0.as_secs_f64())]
    NoConnection(Duration),
    #[error("no answer within {} s", .0.as_secs_f64())]
    NoAnswer(Duration),
    /// The agent's own side: no socket, no such interface, no such source address.
    #[error("{what}: {}", .error.kind())]
    Local { what: &'static str, error: io::Error },
    #[error("{}", .0.kind())]
    Connecting(io::Error),
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server has answered, but not as it should.
    #[error("{0}")]
    Unexpected(String),
}

/// Probes once; takes as long as the check's timeout allows and no longer.
pub async fn run(check: &Check) -> Outcome {
    let begun = Instant::now();
    let result = timeout(check.timing.timeout, attempt(check)).await;
    let result = result.unwrap_or(Err(Failure::NoAnswer(check.timing.timeout)));
    let (passed, summary) = match result {
        Ok(answer) => (true, format!("{} {answer}", check.probe.word())),
        Err(Failure::Unexpected(answer)) => (false, format!("{} {answer}", check.probe.word())),
        Err(failure) => (false, format!("{}: {failure}", check.probe.word())),
    };
    Outcome { passed, summary, took: begun.elapsed() }
}

/// What was found to be right, in a few words.
async fn attempt(check: &Check) -> Result<String, Failure> {
    match &check.probe {
        Probe::Tcp => tcp::probe(check).await,
        Probe::Http(http) => http::probe(check, http).await,
    }
}
