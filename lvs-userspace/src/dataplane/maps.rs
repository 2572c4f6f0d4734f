//! Every map of the director that the agent reads or writes.

use std::path::Path;

use lvs_common::address::Address;
use lvs_common::connection::{Connection, Return};
use lvs_common::counters::Counters;
use lvs_common::destination::{Destination, Load};
use lvs_common::flow::FlowKey;
use lvs_common::names;
use lvs_common::service::{MemberChunk, Service, ServiceKey, ServiceState, Source, Vip};
use lvs_common::settings::{Interface, Settings};

use super::error::MapError;
use super::table::Table;

#[derive(Debug)]
pub(super) struct Maps {
    pub(super) settings: Table<u32, Settings>,
    pub(super) interfaces: Table<u32, Interface>,
    pub(super) services: Table<ServiceKey, Service>,
    pub(super) service_states: Table<u32, ServiceState>,
    pub(super) vips: Table<Address, Vip>,
    pub(super) sources: Table<ServiceKey, Source>,
    /// Read: ids of inner maps. Written: their descriptors.
    pub(super) rings: Table<u32, u32>,
    pub(super) members: Table<u32, MemberChunk>,
    pub(super) destinations: Table<u32, Destination>,
    pub(super) loads: Table<u32, Load>,
    pub(super) counters: Table<u32, Counters>,
    pub(super) causes: Table<u32, u64>,
    pub(super) connections: Table<FlowKey, Connection>,
    pub(super) embryonic: Table<FlowKey, Connection>,
    pub(super) embryonic_order: Table<u32, FlowKey>,
    pub(super) returns: Table<FlowKey, Return>,
}

impl Maps {
    pub(super) fn open(directory: &Path) -> Result<Self, MapError> {
        Ok(Self {
            settings: Table::open(directory, names::SETTINGS)?,
            interfaces: Table::open(directory, names::INTERFACES)?,
            services: Table::open(directory, names::SERVICES)?,
            service_states: Table::open(directory, names::SERVICE_STATES)?,
            vips: Table::open(directory, names::VIPS)?,
            sources: Table::open(directory, names::SOURCES)?,
            rings: Table::open(directory, names::RINGS)?,
            members: Table::open(directory, names::MEMBERS)?,
            destinations: Table::open(directory, names::DESTINATIONS)?,
            loads: Table::open(directory, names::LOADS)?,
            counters: Table::open(directory, names::COUNTERS)?,
            causes: Table::open(directory, names::CAUSES)?,
            connections: Table::open(directory, names::CONNECTIONS)?,
            embryonic: Table::open(directory, names::EMBRYONIC)?,
            embryonic_order: Table::open(directory, names::EMBRYONIC_ORDER)?,
            returns: Table::open(directory, names::RETURNS)?,
        })
    }
}
