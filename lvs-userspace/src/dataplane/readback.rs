//! Reads what the maps hold: the plan for adoption, counters, connections.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use lvs_common::cause::{CAUSE_SLOTS, Cause};
use lvs_common::connection::{Bucket, Connection, Entry, flags};
use lvs_common::counters::Counters;
use lvs_common::destination::Load;
use lvs_common::flow::FlowKey;
use lvs_common::ring::Slot;
use lvs_common::service::{MEMBERS_PER_CHUNK, MemberChunk, Service, ServiceKey};
use lvs_common::settings;

use super::error::MapError;
use super::inner_maps;
use super::maps::Maps;
use crate::control::command::Snapshot;

/// A reader of the maps, for any thread, while another one writes.
#[derive(Clone, Debug)]
pub struct Readback {
    pub(super) maps: Arc<Maps>,
}

/// One entry of the connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEntry {
    pub key: FlowKey,
    pub connection: Connection,
    /// Of which one packet was seen.
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
        let mut settings = self.maps.settings.get(&0)?.filter(|settings| settings.timeouts != [0; 16]);
        if let Some(settings) = &mut settings {
            // No part of the plan.
            settings.flags &= !settings::flags::FOLLOWED;
        }
        let destinations = self.maps.destinations.range(0..self.maps.destinations.capacity())?;
        Ok(Snapshot {
            settings,
            group_addresses: self.maps.group_addresses.all()?.into_iter().collect(),
            vips: self.maps.vips.all()?.into_iter().collect(),
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
            let map = self.maps.rings.of_size(service.ring_slots as usize);
            if let Some(id) = map.get(&service.ring)? {
                let mut slots = inner_maps::read_ring(id)?;
                slots.truncate(service.ring_slots as usize);
                rings.insert(service.ring, slots);
            }
        }
        Ok(rings)
    }

    /// Embryonic and established connections there may be.
    pub fn connection_capacities(&self) -> (u32, u32) {
        (self.maps.embryonic_order.capacity(), self.maps.shape.connections)
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

    /// Every connection, a batch at a time. Those of services that are gone are left out: what they dialled
    /// is not known any more.
    pub fn connections(
        &self,
    ) -> Result<impl Iterator<Item = Result<Vec<ConnectionEntry>, MapError>> + '_, MapError> {
        let services = self.maps.services.all()?;
        let services: BTreeMap<u32, ServiceKey> =
            services.into_iter().map(|(key, service)| (service.index, key)).collect();
        Ok(bucket_batches(&self.maps).map(move |batch| {
            let (_, buckets) = batch?;
            let entries = buckets.iter().flat_map(|bucket| &bucket.entries);
            Ok(entries.filter_map(|entry| decode(entry, services.get(&entry.service)?)).collect())
        }))
    }
}

/// Buckets read at once: so many kilobytes as fit a processor's cache.
const BATCH: u32 = 2048;

/// All buckets of the connection table in batches, each with the number of its first.
pub(super) fn bucket_batches(maps: &Maps) -> impl Iterator<Item = Result<(u32, Vec<Bucket>), MapError>> + '_ {
    let end = maps.connections.capacity();
    (0..end).step_by(BATCH as usize).map(move |first| {
        let batch = maps.connections.range(first..end.min(first.saturating_add(BATCH)))?;
        Ok((first, batch))
    })
}

fn decode(entry: &Entry, service: &ServiceKey) -> Option<ConnectionEntry> {
    let connection = entry.connection()?;
    Some(ConnectionEntry {
        key: FlowKey::new(
            entry.client,
            entry.client_port,
            service.address,
            entry.virtual_port,
            service.protocol,
        ),
        connection,
        embryonic: entry.flags & flags::EMBRYONIC != 0,
    })
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
