//! What control asks the data plane to write, and what the data plane reports as installed.
//!
//! Commands are carried out in order; control orders them so that a packet never sees half a plan:
//! addresses of groups, destinations, members, rings, service last; removal in reverse.

use std::collections::BTreeMap;

use lvs_common::address::Address;
use lvs_common::destination::Destination;
use lvs_common::lease::GroupAddress;
use lvs_common::ring::Slot;
use lvs_common::service::{MemberChunk, Service, ServiceKey, Vip};
use lvs_common::settings::Settings;

/// One write to the kernel's maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    SetSettings(Settings),
    SetGroupAddress {
        address: Address,
        value: GroupAddress,
    },
    DeleteGroupAddress {
        address: Address,
    },
    SetDestination {
        index: u32,
        value: Destination,
    },
    /// Counters, load and state of an index that gets a new owner begin at zero.
    ZeroDestination {
        index: u32,
    },
    ZeroService {
        index: u32,
    },
    SetMembers {
        chunk: u32,
        value: MemberChunk,
    },
    /// A new inner map with these slots takes the place of ring `ring`. Neighbouring `SetRing`s are
    /// published by one batched update, since every single one would wait for a grace period (8 ms).
    SetRing {
        ring: u32,
        slots: Vec<Slot>,
    },
    DeleteRing {
        ring: u32,
    },
    SetVip {
        address: Address,
        value: Vip,
    },
    DeleteVip {
        address: Address,
    },
    SetService {
        key: ServiceKey,
        value: Service,
    },
    DeleteService {
        key: ServiceKey,
    },
}

/// Everything the maps hold that control decides about, read back from the kernel when the agent starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// `None` when the maps have just been created.
    pub settings: Option<Settings>,
    pub group_addresses: BTreeMap<Address, GroupAddress>,
    pub services: BTreeMap<ServiceKey, Service>,
    pub vips: BTreeMap<Address, Vip>,
    /// The chunks that services refer to.
    pub members: BTreeMap<u32, MemberChunk>,
    /// Every index that was ever used (generation above 0), retired ones included.
    pub destinations: BTreeMap<u32, Destination>,
    pub rings: BTreeMap<u32, Vec<Slot>>,
}

impl Snapshot {
    /// What the maps hold after `command`. Counters and states are no part of a snapshot.
    pub fn apply(&mut self, command: &Command) {
        match command {
            Command::SetSettings(value) => self.settings = Some(*value),
            Command::SetGroupAddress { address, value } => {
                self.group_addresses.insert(*address, *value);
            }
            Command::DeleteGroupAddress { address } => {
                self.group_addresses.remove(address);
            }
            Command::SetDestination { index, value } => drop(self.destinations.insert(*index, *value)),
            Command::ZeroDestination { .. } | Command::ZeroService { .. } => {}
            Command::SetMembers { chunk, value } => drop(self.members.insert(*chunk, *value)),
            Command::SetRing { ring, slots } => drop(self.rings.insert(*ring, slots.clone())),
            Command::DeleteRing { ring } => drop(self.rings.remove(ring)),
            Command::SetVip { address, value } => drop(self.vips.insert(*address, *value)),
            Command::DeleteVip { address } => drop(self.vips.remove(address)),
            Command::SetService { key, value } => drop(self.services.insert(*key, *value)),
            Command::DeleteService { key } => drop(self.services.remove(key)),
        }
    }
}
