//! The connections of the active director, held by the others: a thread of its own.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};
use tracing::error;

use crate::cluster::keys::{Keyring, Kind, OVERHEAD};
use crate::cluster::reach::Addresses;
use crate::cluster::refusal::Refusal;
use crate::cluster::sync::link::{Link, Parts, Status};
use crate::cluster::sync::{Directory, Options, Seal};
use crate::dataplane::{FlowReader, FlowWriter};

/// Seals with the keys that are in force; others may come with a reload.
#[derive(Clone, Debug)]
pub(super) struct Keys(Arc<RwLock<Keyring>>);

impl Keys {
    pub(super) fn new(keys: Keyring) -> Self {
        Self(Arc::new(RwLock::new(keys)))
    }

    pub(super) fn set(&self, keys: Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(super) fn current(&self) -> Keyring {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Seal for Keys {
    fn overhead(&self) -> usize {
        OVERHEAD
    }

    fn seal(&self, datagram: &mut Vec<u8>) {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        *datagram = keys.seal(Kind::Sync, datagram);
    }

    fn open<'a>(&self, datagram: &'a [u8]) -> Result<&'a [u8], Refusal> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).open(Kind::Sync, datagram)
    }
}

/// The running link. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Replication {
    directory: watch::Sender<Arc<Directory>>,
    pub(super) status: watch::Receiver<Status>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Replication {
    /// In the network namespace of the calling thread.
    pub(super) fn start(
        here: SocketAddr,
        (peers, addresses): (Vec<String>, watch::Receiver<Arc<Addresses>>),
        keys: Keys,
        (reader, writer): (FlowReader, FlowWriter),
        directory: Directory,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(here)?;
        let (directory, plan) = watch::channel(Arc::new(directory));
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("replication".to_owned()).spawn(move || {
            let run = || -> io::Result<()> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let parts = Parts {
                        socket,
                        peers,
                        addresses,
                        seal: keys,
                        reader,
                        writer,
                        directory: plan,
                        options: Options::default(),
                    };
                    let (link, status) = Link::new(parts)?;
                    told.send(status).map_err(io::Error::other)?;
                    link.run(async {
                        // Ends also when the other half is dropped.
                        stopped.await.ok();
                    })
                    .await;
                    Ok(())
                })
            };
            if let Err(error) = run() {
                error!(%error, "connections are not replicated");
            }
        })?;
        let status = started.recv().map_err(|_| io::Error::other("the thread that replicates has ended"))?;
        Ok(Self { directory, status, stop: Some(stop), thread: Some(thread) })
    }

    /// Another plan, or another role.
    pub(super) fn replan(&self, directory: Directory) {
        self.directory.send_if_modified(|former| {
            let changed = **former != directory;
            if changed {
                *former = Arc::new(directory);
            }
            changed
        });
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that replicates has panicked");
        }
    }
}
