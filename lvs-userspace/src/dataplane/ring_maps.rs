//! Inner maps of `RINGS`: one for each published ring, made whole and never touched again.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::maps::MapData;
use lvs_common::names::RINGS;
use lvs_common::ring::{RingLine, SLOTS_PER_LINE, Slot};

use super::error::MapError;
use super::syscall::RawMap;
use super::table::Table;

/// Makes inner maps that carry type information, so that bpftool prints slots and not bytes.
#[derive(Debug)]
pub(super) struct RingMaker {
    /// The object's definition of an inner map, with the ids of its types in `btf`.
    pub(super) definition: aya_obj::Map,
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

impl RingMaker {
    /// A new map that holds `slots`; the rest of its last line repeats the last slot.
    pub(super) fn make(&self, ring: u32, slots: &[Slot]) -> Result<InnerMap, MapError> {
        let mut definition = self.definition.clone();
        definition.set_max_entries(slots.len().div_ceil(SLOTS_PER_LINE).max(1) as u32);
        let failed =
            |reason| MapError::Aya { map: RINGS, action: "make an inner map for", reason: Box::new(reason) };
        let data =
            MapData::create(definition, &format!("ring_{ring}"), Some(self.btf.as_fd())).map_err(failed)?;
        let id = data.info().map_err(failed)?.id();
        let lines = to_lines(slots);
        let keys: Vec<u32> = (0..lines.len() as u32).collect();
        open(id)?.set_all(&keys, &lines).map_err(|(_, error)| error)?;
        Ok(InnerMap { data })
    }
}

/// Every slot of the inner map with this id, those that fill up its last line included.
pub(super) fn read(id: u32) -> Result<Vec<Slot>, MapError> {
    let table = open(id)?;
    let lines = table.range(0..table.capacity())?;
    Ok(lines.iter().flat_map(|line| line.slots).collect())
}

fn open(id: u32) -> Result<Table<u32, RingLine>, MapError> {
    let raw = MapData::from_id(id).and_then(RawMap::new);
    let raw = raw.map_err(|reason| MapError::Aya {
        map: RINGS,
        action: "open an inner map of",
        reason: Box::new(reason),
    })?;
    Table::new(raw, RINGS)
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
