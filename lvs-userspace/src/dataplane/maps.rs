//! Every map of the director that the agent reads or writes.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use lvs_common::address::Address;
use lvs_common::connection::Bucket;
use lvs_common::counters::Counters;
use lvs_common::destination::{Destination, Load};
use lvs_common::flow::FlowKey;
use lvs_common::lease::{GroupAddress, Lease};
use lvs_common::limits::RING_SIZES;
use lvs_common::names;
use lvs_common::probe::{Probe, ProbeFlow};
use lvs_common::service::{MemberChunk, Service, ServiceKey, ServiceState, Vip};
use lvs_common::settings::{Interface, Settings};

use super::error::MapError;
use super::table::Table;

#[derive(Debug)]
pub(super) struct Maps {
    pub(super) shape: Shape,
    pub(super) settings: Table<u32, Settings>,
    pub(super) interfaces: Table<u32, Interface>,
    pub(super) services: Table<ServiceKey, Service>,
    /// Read: id of the inner map. Written: its descriptor.
    pub(super) service_lines: Table<u32, u32>,
    pub(super) service_states: Table<u32, ServiceState>,
    pub(super) vips: Table<Address, Vip>,
    pub(super) rings: Rings,
    pub(super) members: Table<u32, MemberChunk>,
    pub(super) destinations: Table<u32, Destination>,
    pub(super) loads: Table<u32, Load>,
    pub(super) counters: Table<u32, Counters>,
    pub(super) causes: Table<u32, u64>,
    pub(super) connections: Table<u32, Bucket>,
    pub(super) embryonic_order: Table<u32, u32>,
    pub(super) leases: Table<u32, Lease>,
    pub(super) group_addresses: Table<Address, GroupAddress>,
    pub(super) probes: Table<u32, Probe>,
    pub(super) probe_flows: Table<FlowKey, ProbeFlow>,
    pub(super) dirty: Table<u32, u64>,
    /// Somebody follows the connection table: a part of the settings that control knows nothing of.
    pub(super) followed: AtomicBool,
}

/// What the connection table keeps as long as it lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Connections that may be established.
    pub(super) connections: u32,
    /// Of the hash by which entries are found: random, and never 0.
    pub(super) seed: u64,
}

/// The outer maps of rings, under the rings' indices. Read: ids of inner maps. Written: their descriptors.
#[derive(Debug)]
pub(super) struct Rings {
    /// In the order of [`RING_SIZES`].
    sized: [Table<u32, u32>; RING_SIZES.len()],
    sequences: Table<u32, u32>,
}

impl Rings {
    /// The map for rings of so many slots.
    pub(super) fn of_size(&self, slots: usize) -> &Table<u32, u32> {
        let size = RING_SIZES.iter().position(|size| *size as usize == slots);
        size.map_or(&self.sequences, |size| &self.sized[size])
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Table<u32, u32>> {
        self.sized.iter().chain([&self.sequences])
    }
}

impl Maps {
    /// Opens what is pinned in `directory`; of tables that were not used yet, `connections` is the limit.
    pub(super) fn open(directory: &Path, connections: u32) -> Result<Self, MapError> {
        let settings: Table<u32, Settings> = Table::open(directory, names::SETTINGS)?;
        let used = settings.get(&0)?.filter(|settings| settings.seed != 0);
        let fresh = || Shape { connections, seed: RandomState::new().hash_one(connections) | 1 };
        Ok(Self {
            shape: used.map_or_else(fresh, |used| Shape { connections: used.connections, seed: used.seed }),
            settings,
            interfaces: Table::open(directory, names::INTERFACES)?,
            services: Table::open(directory, names::SERVICES)?,
            service_lines: Table::open(directory, names::SERVICE_LINES)?,
            service_states: Table::open(directory, names::SERVICE_STATES)?,
            vips: Table::open(directory, names::VIPS)?,
            rings: Rings {
                sized: [
                    Table::open(directory, names::RINGS_SMALL)?,
                    Table::open(directory, names::RINGS_MEDIUM)?,
                    Table::open(directory, names::RINGS_LARGE)?,
                ],
                sequences: Table::open(directory, names::SEQUENCES)?,
            },
            members: Table::open(directory, names::MEMBERS)?,
            destinations: Table::open(directory, names::DESTINATIONS)?,
            loads: Table::open(directory, names::LOADS)?,
            counters: Table::open(directory, names::COUNTERS)?,
            causes: Table::open(directory, names::CAUSES)?,
            connections: Table::open(directory, names::CONNECTIONS)?,
            embryonic_order: Table::open(directory, names::EMBRYONIC_ORDER)?,
            leases: Table::open(directory, names::LEASES)?,
            group_addresses: Table::open(directory, names::GROUP_ADDRESSES)?,
            probes: Table::open(directory, names::PROBES)?,
            probe_flows: Table::open(directory, names::PROBE_FLOWS)?,
            dirty: Table::open(directory, names::DIRTY)?,
            followed: AtomicBool::new(false),
        })
    }
}
