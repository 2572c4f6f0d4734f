//! VRRP, where the configuration has it: the thread that speaks it, and the task that moves addresses.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lvs_common::lease::Lease;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::Error;
use crate::cluster::identity::GroupId;
use crate::cluster::takeover::{self, Takeover, Timing};
use crate::cluster::vrrp::device;
use crate::cluster::vrrp::mover::{follow, groups};
use crate::cluster::vrrp::{Leases, Progress, RouterStatus, Vrrp as Speaker};
use crate::config::model::VrrpInstance;
use crate::dataplane::{LeaseWriter, monotonic_nanoseconds};
use crate::network::Network;

/// Without the agent's progress for so long, the machine is not active.
const WATCHDOG: Duration = Duration::from_secs(10);

pub(super) struct Vrrp {
    /// Where the kernel's settings are kept that were changed.
    directory: PathBuf,
    network: Network,
    leases: LeaseWriter,
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
    pub(super) fn new(instance: &str, network: Network, leases: LeaseWriter) -> Self {
        let directory = Path::new("/run").join(instance);
        Self { directory, network, leases, progress: Progress::new(Instant::now()), running: None }
    }

    /// Where the agent's main task says that it is at work.
    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Takes part as the agent's first configuration has it. What an earlier life has left goes before, also where this
    /// one has no virtual routers; addresses only where `has_groups`, of a cluster, does not take care of them.
    pub(super) async fn begin(&mut self, instances: &[VrrpInstance], has_groups: bool) -> Result<(), Error> {
        device::sweep(&self.network).await?;
        if instances.is_empty()
            && !has_groups
            && let Err(error) = Takeover::clear(self.network.clone(), &self.directory).await
        {
            warn!(%error, "what an earlier life has put up may be left");
        }
        self.configure(instances).await
    }

    /// Takes part as these, from now on; starts and ends the thread where it is the first or the last.
    pub(super) async fn configure(&mut self, instances: &[VrrpInstance]) -> Result<(), Error> {
        self.progress.made(Instant::now());
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
        let held = Held { writer: self.leases.clone(), takeover: takeover.clone(), names: Vec::new() };
        let speaker =
            Speaker::start(instances.to_vec(), Box::new(held), self.progress.clone(), WATCHDOG, turns);
        let speaker = Arc::new(speaker.map_err(Error::Vrrp)?);
        tokio::spawn(takeover::log(notices));
        let mover = {
            let (speaker, takeover, network) = (speaker.clone(), takeover.clone(), self.network.clone());
            tokio::spawn(async move { follow(received, &takeover, &speaker, &network).await })
        };
        Ok(Running { speaker, takeover, mover })
    }

    /// The virtual routers as this machine sees them.
    pub(super) async fn describe(&self) -> Vec<RouterStatus> {
        match &self.running {
            Some(running) => running.speaker.describe().await,
            None => Vec::new(),
        }
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

/// The data plane's leases, under the numbers that [`crate::control`] gives the instances: as they stand in the file,
/// from 1 on. Announcements end with them.
struct Held {
    writer: LeaseWriter,
    takeover: Arc<Takeover>,
    names: Vec<String>,
}

impl Held {
    fn write(&self, position: usize, lease: Lease) {
        let number = u8::try_from(position + 1).unwrap_or(u8::MAX);
        if let Err(error) = self.writer.write(number, lease) {
            error!(%error, number, "a lease is not what it should be");
        }
    }

    fn position(&self, instance: &str) -> Option<usize> {
        self.names.iter().position(|name| name == instance)
    }
}

impl Leases for Held {
    fn configure(&mut self, instances: &[VrrpInstance]) {
        let names: Vec<_> = instances.iter().map(|instance| instance.name.clone()).collect();
        for position in 0..names.len().max(self.names.len()) {
            if names.get(position) != self.names.get(position) {
                self.write(position, Lease::NONE);
            }
        }
        self.names = names;
    }

    fn renew(&mut self, instance: &str, ends: Instant, fresh_until: Instant) {
        let (now, nanoseconds) = (Instant::now(), monotonic_nanoseconds());
        let at = |time: Instant| {
            let left = time.saturating_duration_since(now).as_nanos();
            nanoseconds.saturating_add(u64::try_from(left).unwrap_or(u64::MAX))
        };
        if let Some(position) = self.position(instance) {
            self.write(position, Lease { ends: at(ends), fresh_until: at(fresh_until) });
        }
    }

    fn end(&mut self, instance: &str) {
        if let Some(position) = self.position(instance) {
            self.write(position, Lease::NONE);
        }
        self.takeover.silence(GroupId::of(instance));
    }
}
