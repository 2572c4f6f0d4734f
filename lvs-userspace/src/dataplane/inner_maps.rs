//! Inner maps of the rings and of `SERVICE_LINES`: made whole, published, and never touched again.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::maps::MapData;
use lvs_common::limits::{self, RING_SIZES};
use lvs_common::names::SERVICE_LINES;
use lvs_common::ring::{RingLine, SLOTS_PER_LINE, Slot};
use lvs_common::service::ServiceLine;

use super::error::MapError;
use super::syscall::RawMap;
use super::table::{Plain, Table};

/// What error messages call the maps of rings.
const RINGS: &str = "RINGS_*";

/// Makes inner maps that carry type information, so that bpftool prints fields and not bytes.
#[derive(Debug)]
pub(super) struct InnerMaker {
    /// The object's definitions of inner maps, with the ids of their types in `btf`.
    pub(super) ring: aya_obj::Map,
    pub(super) sequence: aya_obj::Map,
    pub(super) service_lines: aya_obj::Map,
    pub(super) btf: OwnedFd,
}

/// A map that is not published yet; it lives as long as this or until it is.
pub(super) struct InnerMap {
    data: MapData,
}

impl InnerMap {
    /// What the kernel takes as the value of the outer map.
    pub(super) fn descriptor(&self) -> u32 {
        self.data.fd().as_fd().as_raw_fd() as u32
    }
}

impl InnerMaker {
    /// A new map that holds `slots`; the rest of its last line repeats the last slot.
    pub(super) fn ring(&self, ring: u32, slots: &[Slot]) -> Result<InnerMap, MapError> {
        let sized = RING_SIZES.iter().any(|size| *size as usize == slots.len());
        let mut definition = if sized { &self.ring } else { &self.sequence }.clone();
        definition.set_max_entries(slots.len().div_ceil(SLOTS_PER_LINE).max(1) as u32);
        let lines = to_lines(slots);
        let keys: Vec<u32> = (0..lines.len() as u32).collect();
        self.make(RINGS, &format!("ring_{ring}"), definition, &keys, &lines)
    }

    /// A new table with these lines and otherwise empty ones.
    pub(super) fn service_lines(&self, lines: &BTreeMap<u32, ServiceLine>) -> Result<InnerMap, MapError> {
        let (keys, values): (Vec<u32>, Vec<ServiceLine>) = lines.iter().map(|(k, v)| (*k, *v)).unzip();
        let mut definition = self.service_lines.clone();
        definition.set_max_entries(limits::SERVICE_LINES);
        self.make(SERVICE_LINES, "service_lines", definition, &keys, &values)
    }

    fn make<V: Plain>(
        &self,
        outer: &'static str,
        name: &str,
        definition: aya_obj::Map,
        keys: &[u32],
        values: &[V],
    ) -> Result<InnerMap, MapError> {
        let failed =
            |reason| MapError::Aya { map: outer, action: "make an inner map for", reason: Box::new(reason) };
        let data = MapData::create(definition, name, Some(self.btf.as_fd())).map_err(failed)?;
        let id = data.info().map_err(failed)?.id();
        open(outer, id)?.set_all(keys, values).map_err(|(_, error)| error)?;
        Ok(InnerMap { data })
    }
}

/// Every slot of the inner map with this id, those that fill up its last line included.
pub(super) fn read_ring(id: u32) -> Result<Vec<Slot>, MapError> {
    let table: Table<u32, RingLine> = open(RINGS, id)?;
    let lines = table.range(0..table.capacity())?;
    Ok(lines.iter().flat_map(|line| line.slots).collect())
}

fn open<V: Plain>(outer: &'static str, id: u32) -> Result<Table<u32, V>, MapError> {
    let raw = MapData::from_id(id).and_then(RawMap::new);
    let raw = raw.map_err(|reason| MapError::Aya {
        map: outer,
        action: "open an inner map of",
        reason: Box::new(reason),
    })?;
    Table::new(raw, outer)
}

fn to_lines(slots: &[Slot]) -> Vec<RingLine> {
    let filler = slots.last().copied().unwrap_or(Slot::single(0));
    let lines = slots.chunks(SLOTS_PER_LINE).map(|chunk| {
        let mut line = RingLine { slots: [filler; SLOTS_PER_LINE] };
        line.slots[..chunk.len()].copy_from_slice(chunk);
        line
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_every_slot_in_order() {
        let slots: Vec<Slot> = (0..35).map(Slot::single).collect();
        let lines = to_lines(&slots);
        assert_eq!(lines.len(), 3);
        let flat: Vec<Slot> = lines.iter().flat_map(|line| line.slots).collect();
        assert_eq!(flat[..35], slots);
        assert!(flat[35..].iter().all(|slot| *slot == Slot::single(34)));
        assert!(to_lines(&[]).is_empty());
    }
}
