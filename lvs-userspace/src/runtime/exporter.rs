//! The listener for Prometheus, where the file wants it.

use std::net::SocketAddr;

use tokio::sync::oneshot;
use tracing::{error, info};

use crate::api::{self, Api};
use crate::web;

pub(super) struct Exporter {
    api: Api,
    /// Where it listens; dropped, it ends.
    running: Option<(SocketAddr, oneshot::Sender<()>)>,
    /// Why it does not, for people.
    trouble: Option<String>,
}

impl Exporter {
    pub(super) const fn new(api: Api) -> Self {
        Self { api, running: None, trouble: None }
    }

    /// Listens there and nowhere else. What fails is tried at the next call.
    pub(super) fn follow(&mut self, wanted: Option<SocketAddr>) {
        if self.running.as_ref().map(|(address, _)| *address) == wanted {
            return;
        }
        self.running = None;
        let Some(address) = wanted else {
            self.trouble = None;
            return;
        };
        match web::listen(address) {
            Ok(listener) => {
                let (end, ends) = oneshot::channel();
                let ended = async {
                    // Nothing is ever sent: the other half is dropped.
                    ends.await.unwrap_or(());
                };
                tokio::spawn(api::export(listener, self.api.clone(), ended));
                self.running = Some((address, end));
                self.trouble = None;
                info!(%address, "metrics are served");
            }
            Err(reason) => {
                let trouble = format!("metrics cannot be served at {address}: {reason}");
                if self.trouble.as_ref() != Some(&trouble) {
                    error!("{trouble}; trying again");
                }
                self.trouble = Some(trouble);
            }
        }
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.trouble.iter().cloned()
    }
}
