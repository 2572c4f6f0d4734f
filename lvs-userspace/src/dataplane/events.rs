//! What the program asks the agent for, packet by packet: next hops to be resolved.

use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use aya::maps::{Map, MapData, RingBuf};
use lvs_common::counters::Unresolved;
use lvs_common::names::EVENTS;
use zerocopy::FromBytes;

use super::error::MapError;

/// The reading end of `EVENTS`. Its descriptor is readable when there is something to take.
pub struct Events {
    buffer: RingBuf<MapData>,
}

impl Events {
    pub(super) fn open(directory: &Path) -> Result<Self, MapError> {
        let buffer = MapData::from_pin(directory.join(EVENTS)).and_then(Map::from_map_data);
        let buffer = buffer.and_then(RingBuf::try_from);
        let failed =
            |reason| MapError::Aya { map: EVENTS, action: "open the pinned", reason: Box::new(reason) };
        Ok(Self { buffer: buffer.map_err(failed)? })
    }

    /// The next request, oldest first; `None` when all are taken.
    pub fn take(&mut self) -> Option<Unresolved> {
        let record = self.buffer.next()?;
        Unresolved::read_from_prefix(&record).ok().map(|(unresolved, _)| unresolved)
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.buffer.as_raw_fd()
    }
}
