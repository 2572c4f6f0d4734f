//! Connections of health probes that take the path of the clients' packets, as the programs know them.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lvs_common::address::Address;
use lvs_common::destination::forward;
use lvs_common::flow::FlowKey;
use lvs_common::probe::{MARK, Probe, SLOTS};
use tracing::warn;

use super::error::MapError;
use super::maps::Maps;
use crate::config::model::Path;

/// Gives connections of probes their place.
#[derive(Clone, Debug)]
pub struct Probes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    maps: Arc<Maps>,
    /// Used in turn, so that a mark comes back late.
    free: Mutex<VecDeque<u32>>,
    /// See [`Probes::stand_by`].
    stands_by: AtomicBool,
}

impl Probes {
    /// Forgets those of an earlier agent.
    pub(super) fn new(maps: Arc<Maps>) -> Result<Self, MapError> {
        for (slot, _) in maps.probes.all()? {
            maps.probes.remove(&slot)?;
        }
        for (flow, _) in maps.probe_flows.all()? {
            maps.probe_flows.remove(&flow)?;
        }
        let free = Mutex::new((0..SLOTS).collect());
        Ok(Self(Arc::new(Shared { maps, free, stands_by: AtomicBool::new(false) })))
    }

    /// Whether this director stands by: the default route of nat's real servers leads to another one. Their
    /// probes then keep the director's own address, and do not find out about that route.
    pub fn stand_by(&self, stands_by: bool) {
        self.0.stands_by.store(stands_by, Ordering::Relaxed);
    }

    /// A place for one more connection. `None`: there is none left.
    pub fn open(&self, path: &Path) -> Result<Option<Passage>, MapError> {
        let Some(slot) = self.lock_free().pop_front() else { return Ok(None) };
        let passage = Passage { probes: self.clone(), slot };
        let target = |address: &IpAddr| Address::from(*address);
        let (forward, target) = match path {
            Path::Direct { vip } => (forward::DR, target(vip)),
            Path::Tunnel { vip } => (forward::IPIP, target(vip)),
            Path::Translated { .. } if self.0.stands_by.load(Ordering::Relaxed) => {
                (forward::NAT, Address::UNSPECIFIED)
            }
            Path::Translated { client } => (forward::NAT, target(client)),
        };
        let answer = FlowKey::new(Address::UNSPECIFIED, 0, Address::UNSPECIFIED, 0, 0);
        let probe = Probe { target, answer, packets: 0, forward, reserved: 0, reserved_tail: 0 };
        self.0.maps.probes.set(&slot, &probe)?;
        Ok(Some(passage))
    }

    fn lock_free(&self) -> std::sync::MutexGuard<'_, VecDeque<u32>> {
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of a probe. Dropped, it is forgotten.
#[derive(Debug)]
pub struct Passage {
    probes: Probes,
    slot: u32,
}

impl Passage {
    /// For the connection's socket (SO_MARK).
    pub const fn mark(&self) -> u32 {
        MARK | self.slot
    }

    /// Whether packets of the connection have taken the path.
    pub fn was_taken(&self) -> Result<bool, MapError> {
        let probe = self.probes.0.maps.probes.get(&self.slot)?;
        Ok(probe.is_some_and(|probe| probe.packets > 0))
    }

    fn forget(&self) -> Result<(), MapError> {
        let maps = &self.probes.0.maps;
        // First, so that the program makes no new flow.
        let probe = maps.probes.get(&self.slot)?;
        maps.probes.remove(&self.slot)?;
        if let Some(probe) = probe {
            maps.probe_flows.remove(&probe.answer)?;
        }
        Ok(())
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        match self.forget() {
            Ok(()) => self.probes.lock_free().push_back(self.slot),
            // Better one place less than two connections in one.
            Err(reason) => warn!(%reason, "a connection of a probe cannot be forgotten"),
        }
    }
}
