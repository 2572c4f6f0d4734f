//! Reads what the maps hold: the plan for adoption, counters, connections.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use lvs_common::cause::{CAUSE_SLOTS, Cause};
use lvs_common::connection::{Connection, Return};
use lvs_common::counters::Counters;
use lvs_common::destination::Load;
use lvs_common::flow::FlowKey;
use lvs_common::ring::Slot;
use lvs_common::service::{MEMBERS_PER_CHUNK, MemberChunk, Service};

use super::error::MapError;
use super::maps::Maps;
use super::ring_maps;
use crate::control::command::Snapshot;

/// A reader of the maps, for any thread, while another one writes.
#[derive(Clone, Debug)]
pub struct Readback {
    pub(super) maps: Arc<Maps>,
}

/// One entry of the connection tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEntry {
    pub key: FlowKey,
    pub connection: Connection,
    /// In `EMBRYONIC`, else in `CONNECTIONS`.
    pub embryonic: bool,
}

impl Readback {
    /// Everything control decides about.
    ///
    /// Of the rings only those that services use. Kernels such as 6.1 wait for a grace period at every
    /// look into a map of maps: asking for all 16384 takes minutes. A ring that is left over from an agent
    /// which died is written over when its index is given out again.
    pub fn snapshot(&self) -> Result<Snapshot, MapError> {
        let services: BTreeMap<_, _> = self.maps.services.all()?.into_iter().collect();
        let settings = self.maps.settings.get(&0)?.filter(|settings| settings.timeouts != [0; 16]);
        let destinations = self.maps.destinations.range(0..self.maps.destinations.capacity())?;
        Ok(Snapshot {
            settings,
            vips: self.maps.vips.all()?.into_iter().collect(),
            sources: self.maps.sources.all()?.into_iter().collect(),
            members: self.members(services.values())?,
            destinations: (0..).zip(destinations).filter(|(_, value)| value.generation > 0).collect(),
            rings: self.rings(services.values())?,
            services,
        })
    }

    fn members<'a>(
        &self,
        services: impl Iterator<Item = &'a Service>,
    ) -> Result<BTreeMap<u32, MemberChunk>, MapError> {
        let chunks: BTreeSet<u32> = services
            .flat_map(|service| {
                let count = service.member_count.div_ceil(MEMBERS_PER_CHUNK as u32);
                service.members..service.members.saturating_add(count)
            })
            .collect();
        let mut members = BTreeMap::new();
        for chunk in chunks {
            members.extend(self.maps.members.get(&chunk)?.map(|value| (chunk, value)));
        }
        Ok(members)
    }

    fn rings<'a>(
        &self,
        services: impl Iterator<Item = &'a Service>,
    ) -> Result<BTreeMap<u32, Vec<Slot>>, MapError> {
        let mut rings: BTreeMap<u32, Vec<Slot>> = BTreeMap::new();
        for service in services.filter(|service| service.ring != Service::NO_RING) {
            if rings.contains_key(&service.ring) {
                continue;
            }
            if let Some(id) = self.maps.rings.get(&service.ring)? {
                let mut slots = ring_maps::read(id)?;
                slots.truncate(service.ring_slots as usize);
                rings.insert(service.ring, slots);
            }
        }
        Ok(rings)
    }

    /// Entries that `EMBRYONIC` and `CONNECTIONS` can hold.
    pub fn connection_capacities(&self) -> (u32, u32) {
        (self.maps.embryonic.capacity(), self.maps.connections.capacity())
    }

    /// Traffic of the destinations in `indices`, over all CPUs.
    pub fn counters(&self, indices: Range<u32>) -> Result<Vec<Counters>, MapError> {
        self.maps.counters.range_summed(indices, add)
    }

    /// Connections right now of the destinations in `indices`.
    pub fn loads(&self, indices: Range<u32>) -> Result<Vec<Load>, MapError> {
        self.maps.loads.range(indices)
    }

    /// How often each cause decided about a packet, over all CPUs.
    pub fn causes(&self) -> Result<Vec<(Cause, u64)>, MapError> {
        let sums = self.maps.causes.range_summed(0..CAUSE_SLOTS, |sum, cpu| sum.wrapping_add(*cpu))?;
        Ok(Cause::ALL.iter().map(|cause| (*cause, sums[*cause as usize])).collect())
    }

    /// Every connection, a batch at a time, embryonic ones first: one that is established meanwhile is
    /// seen twice rather than not at all.
    pub fn connections(&self) -> impl Iterator<Item = Result<Vec<ConnectionEntry>, MapError>> {
        let embryonic = self.maps.embryonic.batches().map(|batch| (batch, true));
        let established = self.maps.connections.batches().map(|batch| (batch, false));
        embryonic.chain(established).map(|(batch, embryonic)| {
            let entries = batch?.into_iter();
            Ok(entries.map(|(key, connection)| ConnectionEntry { key, connection, embryonic }).collect())
        })
    }

    /// The other direction of nat connections, a batch at a time.
    pub fn returns(&self) -> impl Iterator<Item = Result<Vec<(FlowKey, Return)>, MapError>> {
        self.maps.returns.batches()
    }
}

fn add(sum: Counters, cpu: &Counters) -> Counters {
    Counters {
        connections: sum.connections.wrapping_add(cpu.connections),
        packets_in: sum.packets_in.wrapping_add(cpu.packets_in),
        bytes_in: sum.bytes_in.wrapping_add(cpu.bytes_in),
        packets_out: sum.packets_out.wrapping_add(cpu.packets_out),
        bytes_out: sum.bytes_out.wrapping_add(cpu.bytes_out),
    }
}
