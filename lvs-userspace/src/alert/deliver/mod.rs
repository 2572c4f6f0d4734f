//! One attempt to tell somebody. All the IO of alerts but the queue is here.

mod mail;
mod program;
mod syslog;
mod webhook;

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use super::message::Message;
use crate::config::model::{Alert, AlertChannel};

/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub(super) enum Failure {
    /// Perhaps later.
    #[error("{0}")]
    Passing(String),
    /// The receiver does not want it.
    #[error("{0}")]
    Final(String),
}

impl Failure {
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Final(_))
    }

    fn passing(error: impl std::fmt::Display) -> Self {
        Self::Passing(error.to_string())
    }

    fn last(error: impl std::fmt::Display) -> Self {
        Self::Final(error.to_string())
    }
}

pub(super) async fn deliver(alert: &Alert, message: &Message) -> Result<(), Failure> {
    let attempt = async {
        match &alert.channel {
            AlertChannel::Program(program) => program::deliver(program, message).await,
            AlertChannel::Mail(mail) => mail::deliver(mail, message).await,
            AlertChannel::Webhook(webhook) => webhook::deliver(webhook, message).await,
            AlertChannel::Syslog(syslog) => syslog::deliver(syslog, message),
        }
    };
    match timeout(PATIENCE, attempt).await {
        Ok(result) => result,
        // Who knows how far a program came: it is not run twice.
        Err(_) if matches!(alert.channel, AlertChannel::Program(_)) => {
            Err(Failure::Final(format!("it was killed after {} s", PATIENCE.as_secs())))
        }
        Err(_) => Err(Failure::Passing(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}
