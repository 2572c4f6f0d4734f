//! What the callers of [`super::Takeover`] and its task share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::address::{self, Before, Present};
use super::announce::frame;
use super::announce::schedule::{Schedule, Timing};
use super::announce::socket::Sender;
use super::settings::{Place, Settings};
use super::wire::{Wire, Wires};
use super::{Failure, GroupId};
use crate::config::model::{Group, GroupAddress};
use crate::network::{Mac, Network};

/// A group and what is done for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) group: Group,
    /// The announcements to come; `None` while the group is not held.
    schedule: Mutex<Option<Schedule>>,
}

impl Entry {
    pub(super) fn is_held(&self) -> bool {
        lock(&self.schedule).is_some()
    }

    /// Announces from the start. It is held from now on.
    pub(super) fn schedule_announcements(&self, now: Instant) {
        *lock(&self.schedule) = Some(Schedule::start(now));
    }

    pub(super) fn let_go(&self) {
        *lock(&self.schedule) = None;
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) network: Network,
    sender: Sender,
    timing: Timing,
    wires: Mutex<Wires>,
    /// Locked from reading what interfaces there are until that is known: what was read earlier is not to come later.
    looking: tokio::sync::Mutex<()>,
    groups: Mutex<BTreeMap<GroupId, Arc<Entry>>>,
    /// Those of earlier configurations whose addresses may be there still.
    dropped: Mutex<Vec<Arc<Entry>>>,
    /// Locked by whoever changes addresses, from reading what is there to the end.
    pub(super) addresses: tokio::sync::Mutex<()>,
    settings: Mutex<Option<Settings>>,
    /// A schedule was changed.
    pub(super) wake: Notify,
    pub(super) groups_changed: Notify,
}

/// Nobody panics while holding one of these; were it so, what they guard is whole at any moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn place(address: &GroupAddress) -> Place {
    (address.interface.clone(), address.address)
}

impl Shared {
    pub(super) fn new(network: Network, timing: Timing, settings: Settings) -> Result<Self, Failure> {
        Ok(Self {
            network,
            sender: Sender::open().map_err(Failure::Open)?,
            timing,
            wires: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            groups: Mutex::default(),
            dropped: Mutex::default(),
            addresses: tokio::sync::Mutex::default(),
            settings: Mutex::new(Some(settings)),
            wake: Notify::new(),
            groups_changed: Notify::new(),
        })
    }

    /// A group that is held stays so, and is announced anew where it differs. What is no more is to be cleared away.
    pub(super) fn set_groups(&self, groups: Vec<Group>, now: Instant) {
        let mut entries = lock(&self.groups);
        let mut old = std::mem::take(&mut *entries);
        for group in groups {
            let id = GroupId::of(&group.name);
            let same = old.get(&id).filter(|entry| entry.group == group).cloned();
            let schedule = old.get(&id).filter(|entry| entry.is_held()).map(|_| Schedule::start(now));
            let entry = same.unwrap_or_else(|| Arc::new(Entry { group, schedule: Mutex::new(schedule) }));
            entries.insert(id, entry);
        }
        // Nobody must put back what the new ones do not have.
        old.retain(|id, entry| entries.get(id).is_none_or(|new| !Arc::ptr_eq(new, entry)));
        old.values().for_each(|entry| entry.let_go());
        lock(&self.dropped).extend(old.into_values());
    }

    /// Removes what groups of earlier configurations had and no held one has; tells the first failure after having
    /// tried all. Needs [`Self::addresses`] locked.
    pub(super) async fn clear_dropped(&self) -> Result<(), Failure> {
        let dropped = lock(&self.dropped).clone();
        if dropped.is_empty() {
            return Ok(());
        }
        let present = Present::read(&self.network).await?;
        let held = self.held_addresses();
        let is_held = |address: &GroupAddress| held.contains(&place(address));
        let mut outcome = Ok(());
        for entry in dropped {
            let mut cleared = Ok(());
            for address in entry.group.addresses.iter().filter(|address| !is_held(address)) {
                cleared = cleared.and(self.take_off(&present, address).await.map(drop));
            }
            if cleared.is_ok() {
                lock(&self.dropped).retain(|other| !Arc::ptr_eq(other, &entry));
            }
            outcome = outcome.and(cleared);
        }
        outcome
    }

    pub(super) fn entry(&self, group: GroupId) -> Result<Arc<Entry>, Failure> {
        lock(&self.groups).get(&group).cloned().ok_or(Failure::NoGroup(group))
    }

    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        lock(&self.groups).values().cloned().collect()
    }

    pub(super) fn held_addresses(&self) -> BTreeSet<Place> {
        let held = self.entries().into_iter().filter(|entry| entry.is_held());
        held.flat_map(|entry| entry.group.addresses.iter().map(place).collect::<Vec<_>>()).collect()
    }

    /// Gives the interfaces as they were before.
    pub(super) async fn look_at_interfaces(&self) -> Result<Wires, Failure> {
        let _alone = self.looking.lock().await;
        let wires = Wires::new(self.network.links().await?);
        Ok(std::mem::replace(&mut lock(&self.wires), wires))
    }

    pub(super) fn wire(&self, interface: &str) -> Result<Wire, Failure> {
        let wire = lock(&self.wires).get(interface);
        wire.ok_or_else(|| Failure::NoInterface { interface: interface.to_owned() })
    }

    pub(super) fn is_own(&self, mac: Mac) -> bool {
        lock(&self.wires).is_own(mac)
    }

    pub(super) fn send(&self, interface: &str, index: u32, frame: &[u8]) -> Result<(), Failure> {
        let failed = |source| Failure::Send { interface: interface.to_owned(), source };
        self.sender.send(index, frame).map_err(failed)
    }

    /// One round for one address.
    pub(super) fn announce_address(&self, address: &GroupAddress) -> Result<(), Failure> {
        let wire = self.wire(&address.interface)?;
        frame::announcements(address.address, wire.mac, wire.is_router)
            .iter()
            .try_for_each(|frame| self.send(&address.interface, wire.index, frame))
    }

    /// Sends the rounds that are due.
    pub(super) fn announce_due(&self, now: Instant) {
        for entry in self.entries() {
            let mut schedule = lock(&entry.schedule);
            if !schedule.as_mut().is_some_and(|schedule| schedule.take_due(&self.timing, now)) {
                continue;
            }
            // With the lock held, so that nothing goes out after `let_go`.
            for address in &entry.group.addresses {
                if let Err(error) = self.announce_address(address) {
                    // There are more rounds, and another burst when the link is back.
                    debug!(group = entry.group.name, address = %address.address, %error, "not announced");
                }
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries().iter().filter_map(|entry| lock(&entry.schedule).as_ref()?.next()).min()
    }

    /// Puts all addresses of the group on their interfaces; tells the first failure after having tried all.
    pub(super) async fn put(&self, entry: &Entry) -> Result<(), Failure> {
        let present = Present::read(&self.network).await?;
        self.own_missing(&present, &entry.group);
        let owned = self.owned();
        let mut outcome = Ok(());
        for wanted in &entry.group.addresses {
            let is_own = owned.contains(&place(wanted));
            let put = async {
                let index = self.wire(&wanted.interface)?.index;
                Ok::<_, Failure>(address::add(&self.network, &present, index, wanted, is_own).await?)
            };
            let (group, address) = (&entry.group.name, wanted.address);
            match put.await {
                Ok(Before::Absent | Before::Same) => {}
                Ok(Before::Other { prefix, label }) if is_own => {
                    info!(group, %address, prefix, label, "stood on its interface otherwise: replaced");
                }
                Ok(Before::Other { prefix, label }) => {
                    warn!(group, %address, prefix, label, "stands on its interface otherwise, put there by somebody else: left so");
                }
                Err(failure) => outcome = outcome.and(Err(failure)),
            }
        }
        outcome
    }

    /// Before they are put up, so that the next life knows them whenever this one is killed.
    fn own_missing(&self, present: &Present, group: &Group) {
        let is_missing = |wanted: &&GroupAddress| {
            self.wire(&wanted.interface).is_ok_and(|wire| !present.has(wire.index, wanted.address))
        };
        let missing = group.addresses.iter().filter(is_missing).map(place).collect();
        if let Some(settings) = lock(&self.settings).as_mut()
            && let Err(error) = settings.own(missing)
        {
            warn!(%error, "the next start may not know which addresses this one has put up");
        }
    }

    /// What this life or an earlier one has put up.
    pub(super) fn owned(&self) -> BTreeSet<Place> {
        lock(&self.settings).as_ref().map(Settings::owned).unwrap_or_default()
    }

    fn disown(&self, unwanted: &GroupAddress) {
        if let Some(settings) = lock(&self.settings).as_mut()
            && let Err(error) = settings.disown(place(unwanted))
        {
            warn!(%error, "the next start may remove what somebody else puts up");
        }
    }

    /// Whether it has gone by this; what somebody else has put up stays.
    pub(super) async fn take_off(&self, present: &Present, unwanted: &GroupAddress) -> Result<bool, Failure> {
        if !self.owned().contains(&place(unwanted)) {
            return Ok(false);
        }
        // Without its interface the address is gone already.
        let was_there = match self.wire(&unwanted.interface) {
            Ok(wire) => address::remove(&self.network, present, wire.index, unwanted).await?,
            Err(_) => false,
        };
        self.disown(unwanted);
        Ok(was_there)
    }

    pub(super) async fn take_off_all(&self, group: &Group) -> Vec<Failure> {
        let present = match Present::read(&self.network).await {
            Ok(present) => present,
            Err(error) => return vec![error.into()],
        };
        let mut failures = Vec::new();
        for address in &group.addresses {
            failures.extend(self.take_off(&present, address).await.err());
        }
        failures
    }

    /// For the interfaces that are there.
    pub(super) fn apply_settings(&self) {
        let entries = self.entries();
        let addresses = entries.iter().flat_map(|entry| &entry.group.addresses);
        let interfaces: BTreeSet<_> = addresses
            .map(|address| address.interface.as_str())
            .filter(|interface| self.wire(interface).is_ok())
            .collect();
        if let Some(settings) = lock(&self.settings).as_mut()
            && let Err(error) = settings.apply(&interfaces)
        {
            warn!(%error, "the kernel may answer for addresses where it should not");
        }
    }

    /// Those that an earlier life needed and this one does not.
    pub(super) fn forget_settings(&self) {
        if let Some(settings) = lock(&self.settings).as_mut() {
            settings.undo_unwanted();
        }
    }

    pub(super) fn undo_settings(&self) {
        if let Some(settings) = lock(&self.settings).take() {
            settings.undo();
        }
    }
}
