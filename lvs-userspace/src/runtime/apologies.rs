//! Keeps a listener for each page that is to be served, and for no other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::apology::{self, Page};
use crate::web;

#[derive(Default)]
pub(super) struct Apologies {
    /// Dropped, a page is served no longer.
    served: BTreeMap<SocketAddr, watch::Sender<Arc<Page>>>,
    /// Where listening has failed, and people know.
    refused: BTreeSet<SocketAddr>,
}

impl Apologies {
    /// Listens where nobody does yet: before packets come. What fails is tried at the next call.
    pub(super) fn begin(&mut self, wanted: &BTreeMap<SocketAddr, PathBuf>) {
        self.refused.retain(|address| wanted.contains_key(address));
        for (address, path) in wanted {
            if self.served.contains_key(address) {
                continue;
            }
            match web::listen(*address) {
                Ok(listener) => {
                    let (page, pages) = watch::channel(read(path));
                    tokio::spawn(apology::serve(listener, pages));
                    self.served.insert(*address, page);
                    self.refused.remove(address);
                    info!(%address, page = %path.display(), "the fallback page is served");
                }
                Err(error) if self.refused.insert(*address) => {
                    error!(%address, %error, "the fallback page cannot be served; trying again");
                }
                Err(_) => {}
            }
        }
    }

    /// Ends what is no longer wanted: when packets go elsewhere again.
    pub(super) fn end(&mut self, wanted: &BTreeMap<SocketAddr, PathBuf>) {
        self.served.retain(|address, _| {
            let stays = wanted.contains_key(address);
            if !stays {
                info!(%address, "the fallback page is served no longer");
            }
            stays
        });
    }

    /// Reads the pages again, after a reload.
    pub(super) fn read_again(&self, wanted: &BTreeMap<SocketAddr, PathBuf>) {
        for (address, path) in wanted {
            if let Some(page) = self.served.get(address) {
                // Nobody hears it when the listener has just ended.
                page.send_replace(read(path));
            }
        }
    }
}

/// The page; a sentence, if it cannot be read.
fn read(path: &Path) -> Arc<Page> {
    Arc::new(Page::read(path).unwrap_or_else(|reason| {
        warn!(page = %path.display(), reason, "the fallback page cannot be read; one sentence is served instead");
        Page::plain()
    }))
}
