//! What a director does on the network when a group comes and goes: addresses, announcements, programs.
//!
//! [`Takeover`] decides nothing. Whoever calls it holds the lease first, and gives it up last; the fence in the data
//! plane is what keeps two directors from answering, and this is what makes one of them answer.

mod address;
pub mod announce;
mod driver;
mod probe;
mod resource;
mod settings;
mod shared;
mod wire;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::changes;
use crate::config::model::{Group, GroupAddress};
use crate::network::{self, Mac, Network};

use super::identity::GroupId;
use address::Present;
pub use announce::frame::Claim;
pub use announce::schedule::Timing;
use driver::Driver;
pub use probe::{Answer, Probed, Probing};
use settings::Settings;
use shared::{Entry, Shared, place};

/// Notices that may wait.
const NOTICES: usize = 64;

/// What somebody should be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Somebody else claims an address that this director holds, and goes on to hold: once in ten seconds for each.
    Conflict { group: String, address: IpAddr, by: Mac },
    /// An address that this director holds had gone from its interface and was put back.
    Restored { group: String, address: IpAddr },
}

impl Notice {
    /// Says it in the log.
    pub fn log(&self) {
        match self {
            Self::Conflict { group, address, by } => {
                let by = by.map(|byte| format!("{byte:02x}")).join(":");
                warn!(group, %address, by, "another machine claims an address that this one holds");
            }
            Self::Restored { group, address } => info!(group, %address, "was put back on its interface"),
        }
    }
}

/// Says in the log what is noticed, until the [`Takeover`] is gone.
pub async fn log(mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        notice.log();
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("there is no Ethernet interface {interface} in this network namespace (`ip link` lists them)")]
    NoInterface { interface: String },
    #[error("cannot hear on interface {interface} whether somebody has its addresses: {source}")]
    Deaf { interface: String, source: io::Error },
    #[error("cannot open a packet socket: {0}")]
    Open(#[source] io::Error),
    #[error("cannot send on interface {interface}: {source}")]
    Send { interface: String, source: io::Error },
    #[error("there is no group {0:?} in the configuration")]
    NoGroup(GroupId),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Settings(#[from] changes::Error),
    #[error(transparent)]
    Resource(#[from] resource::Failure),
}

/// The groups' addresses and programs on this host. May be used by several tasks at once.
///
/// Dropped, it leaves everything as it is, for the next start to adopt.
#[derive(Debug)]
pub struct Takeover {
    shared: Arc<Shared>,
    driver: JoinHandle<()>,
}

impl Drop for Takeover {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Takeover {
    /// Opens all sockets, makes the interfaces fit, and starts the task that announces and listens. `directory`
    /// (`/run/<instance>`) keeps on file what was changed; the caller sees to it that it is the only one there.
    /// Must be called within a tokio runtime, in the network namespace of the groups.
    pub async fn open(
        network: Network,
        directory: &Path,
        groups: Vec<Group>,
        timing: Timing,
    ) -> Result<(Self, mpsc::Receiver<Notice>), Failure> {
        let changes = Network::watch_interfaces()?;
        let (notices, receiver) = mpsc::channel(NOTICES);
        let shared = Arc::new(Shared::new(network, timing, Settings::open(directory)?)?);
        shared.set_groups(groups, Instant::now());
        let mut driver = Driver::new(shared.clone(), changes, notices);
        driver.follow().await?;
        shared.forget_settings();
        let driver = tokio::spawn(driver.run());
        Ok((Self { shared, driver }, receiver))
    }

    /// Puts the addresses of other configurations in place: those that are new in a held group come, those that
    /// are gone from one go. Groups that are gone should have been withdrawn before: only their addresses go.
    /// Tells the first failure after having tried all; what could not be removed is tried again at the next change.
    pub async fn configure(&self, groups: Vec<Group>) -> Result<(), Failure> {
        let _alone = self.shared.addresses.lock().await;
        self.shared.set_groups(groups, Instant::now());
        let mut outcome = self.shared.clear_dropped().await;
        for entry in self.shared.entries().into_iter().filter(|entry| entry.is_held()) {
            outcome = outcome.and(self.shared.put(&entry).await);
        }
        self.shared.groups_changed.notify_one();
        self.shared.wake.notify_one();
        outcome
    }

    /// Is any of the group's addresses in use by somebody else, or about to be? Takes [`Probing::length`] if it is not in
    /// use. A failure says nothing about that.
    pub async fn probe(&self, group: GroupId, probing: Probing) -> Result<Probed, Failure> {
        let entry = self.shared.entry(group)?;
        probe::probe(&self.shared, &entry.group, probing).await
    }

    /// Knows the interfaces as they are now, and not as soon as the kernel's message of a change has come.
    pub async fn look_at_interfaces(&self) -> Result<(), Failure> {
        self.shared.look_at_interfaces().await.map(drop)
    }

    /// Serves a group: its addresses, the first announcements, then its programs. What is there already is left
    /// alone. The addresses are there and announced within a few milliseconds; the programs take what they take.
    ///
    /// After a failure (of a program, say) the rest is as far as it came: [`Self::withdraw`] clears it away. The
    /// same holds if the future is dropped: a program that was being started is killed.
    pub async fn serve(&self, group: GroupId) -> Result<(), Failure> {
        self.appear(group).await?;
        Ok(resource::start(&self.shared.entry(group)?.group).await?)
    }

    /// The part of [`Self::serve`] that nothing may delay: the addresses, and the first announcements. It may be done while
    /// [`Self::withdraw`] waits for programs, which then leaves the addresses where they are.
    pub async fn appear(&self, group: GroupId) -> Result<(), Failure> {
        let entry = self.shared.entry(group)?;
        let _alone = self.shared.addresses.lock().await;
        let put = self.shared.put(&entry).await;
        entry.schedule_announcements(Instant::now());
        self.shared.announce_due(Instant::now());
        self.shared.wake.notify_one();
        put
    }

    /// Ends the announcements of a group at once, for those who cannot wait; [`Self::withdraw`] has to follow.
    pub fn silence(&self, group: GroupId) {
        if let Ok(entry) = self.shared.entry(group) {
            entry.let_go();
        }
    }

    /// Stops serving a group: announcements, programs in reverse, then the addresses. Goes through all of it
    /// whatever fails, and tells what did. The future must not be dropped before it is done, or be made again.
    pub async fn withdraw(&self, group: GroupId) -> Vec<Failure> {
        let entry = match self.shared.entry(group) {
            Ok(entry) => entry,
            Err(failure) => return vec![failure],
        };
        entry.let_go();
        let stopped = resource::stop(&entry.group).await;
        let mut failures: Vec<_> = stopped.into_iter().map(Failure::from).collect();
        let _alone = self.shared.addresses.lock().await;
        // Served again by another task meanwhile.
        if !entry.is_held() {
            failures.extend(self.shared.take_off_all(&entry.group).await);
        }
        failures
    }

    /// Announces a held group from the start, first round at once: after every heal of the network.
    pub fn announce(&self, group: GroupId) -> Result<(), Failure> {
        let entry = self.shared.entry(group)?;
        if entry.is_held() {
            entry.schedule_announcements(Instant::now());
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Removes addresses that an earlier life has put up, but for those of groups in `held`: of groups, too, that are no
    /// more. Gives them, or the first failure after having tried all. What others have put up is told of, and stays.
    pub async fn sweep(&self, held: &BTreeSet<GroupId>) -> Result<Vec<IpAddr>, Failure> {
        let _alone = self.shared.addresses.lock().await;
        let present = Present::read(&self.shared.network).await?;
        let entries = self.shared.entries();
        let is_held = |entry: &Entry| held.contains(&GroupId::of(&entry.group.name)) || entry.is_held();
        let (held, idle): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| is_held(entry));
        let kept: BTreeSet<_> = held.iter().flat_map(|entry| &entry.group.addresses).map(place).collect();
        let owned = self.shared.owned();
        for entry in &idle {
            for address in entry.group.addresses.iter().filter(|address| !owned.contains(&place(address))) {
                let wire = self.shared.wire(&address.interface);
                if wire.is_ok_and(|wire| present.has(wire.index, address.address)) {
                    let (group, interface, address) =
                        (&entry.group.name, &address.interface, address.address);
                    warn!(
                        group,
                        interface,
                        %address,
                        "the address is there, and not by lvsd, which leaves it: take it out of the network's configuration"
                    );
                }
            }
        }
        let mut removed = Vec::new();
        let mut outcome = Ok(());
        for (interface, address) in owned.difference(&kept) {
            // The way in which it stands there does not matter.
            let unwanted =
                GroupAddress { address: *address, prefix: 0, interface: interface.clone(), label: None };
            match self.shared.take_off(&present, &unwanted).await {
                Ok(false) => {}
                Ok(true) => {
                    info!(interface, %address, "removed: left by an earlier life");
                    removed.push(*address);
                }
                Err(failure) => outcome = outcome.and(Err(failure)),
            }
        }
        outcome.map(|()| removed)
    }

    /// Clears away what an earlier life has left in `directory`, for an agent that has no groups.
    pub async fn clear(network: Network, directory: &Path) -> Result<(), Failure> {
        if !Settings::are_left(directory) {
            return Ok(());
        }
        let (takeover, _notices) = Self::open(network, directory, Vec::new(), Timing::default()).await?;
        takeover.sweep(&BTreeSet::new()).await?;
        takeover.close();
        Ok(())
    }

    /// Puts the kernel's settings back. Groups are not withdrawn.
    pub fn close(self) {
        self.driver.abort();
        self.shared.undo_settings();
    }
}
