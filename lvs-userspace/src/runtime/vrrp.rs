//! VRRP, where the configuration has it: the thread that speaks it, and the task that moves addresses.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::Error;
use crate::cluster::identity::GroupId;
use crate::cluster::takeover::{Notice, Takeover, Timing};
use crate::cluster::vrrp::mover::{follow, groups};
use crate::cluster::vrrp::{Leases, Progress, Vrrp as Speaker};
use crate::config::model::VrrpInstance;
use crate::network::Network;

/// Without the agent's progress for so long, the machine is not active.
const WATCHDOG: Duration = Duration::from_secs(10);

pub(super) struct Vrrp {
    /// Where the kernel's settings are kept that were changed.
    directory: PathBuf,
    network: Network,
    progress: Arc<Progress>,
    /// `None` without virtual routers.
    running: Option<Running>,
}

struct Running {
    speaker: Arc<Speaker>,
    takeover: Arc<Takeover>,
    mover: JoinHandle<()>,
}

impl Vrrp {
    pub(super) fn new(instance: &str, network: Network) -> Self {
        let directory = Path::new("/run").join(instance);
        Self { directory, network, progress: Progress::new(Instant::now()), running: None }
    }

    /// The agent's main task is at work.
    pub(super) fn progress(&self) {
        self.progress.made(Instant::now());
    }

    /// Takes part as these, from now on; starts and ends the thread where it is the first or the last.
    pub(super) async fn configure(&mut self, instances: &[VrrpInstance]) -> Result<(), Error> {
        self.progress();
        match &self.running {
            None if instances.is_empty() => Ok(()),
            None => {
                self.running = Some(self.start(instances).await?);
                Ok(())
            }
            Some(_) if instances.is_empty() => {
                self.end().await;
                Ok(())
            }
            Some(running) => {
                let configured = running.takeover.configure(groups(instances)).await;
                running.speaker.configure(instances.to_vec());
                Ok(configured?)
            }
        }
    }

    async fn start(&self, instances: &[VrrpInstance]) -> Result<Running, Error> {
        let groups = groups(instances);
        let (takeover, notices) =
            Takeover::open(self.network.clone(), &self.directory, groups, Timing::default()).await?;
        // A machine that begins holds nothing; what an earlier life has left, somebody else may have by now.
        takeover.sweep(&Default::default()).await?;
        let (turns, received) = mpsc::unbounded_channel();
        let takeover = Arc::new(takeover);
        let (instances, leases) = (instances.to_vec(), Box::new(Silence(takeover.clone())));
        let speaker = Speaker::start(instances, leases, self.progress.clone(), WATCHDOG, turns);
        let speaker = Arc::new(speaker.map_err(Error::Vrrp)?);
        tokio::spawn(log(notices));
        let mover = {
            let (speaker, takeover) = (speaker.clone(), takeover.clone());
            tokio::spawn(async move { follow(received, &takeover, &speaker).await })
        };
        Ok(Running { speaker, takeover, mover })
    }

    /// Resigns, gives the addresses back, and puts the kernel's settings back.
    pub(super) async fn end(&mut self) {
        let Some(Running { speaker, takeover, mover }) = self.running.take() else { return };
        speaker.stop();
        if let Err(error) = mover.await {
            error!(%error, "addresses may be left behind");
        }
        // With its thread, whose leases share it; the mover's has gone already.
        drop(speaker);
        if let Some(takeover) = Arc::into_inner(takeover) {
            takeover.close();
        }
    }
}

/// The data plane knows no leases: it answers for what has its way to this machine, so that must end at once.
struct Silence(Arc<Takeover>);

impl Leases for Silence {
    fn renew(&mut self, _: &str, _: Instant, _: Instant) {}

    fn end(&mut self, instance: &str) {
        self.0.silence(GroupId::of(instance));
    }
}

async fn log(mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Conflict { group, address, by } => {
                let by = by.map(|byte| format!("{byte:02x}")).join(":");
                warn!(group, %address, by, "another machine claims an address that this one holds");
            }
            Notice::Restored { group, address } => info!(group, %address, "was put back on its interface"),
        }
    }
}
