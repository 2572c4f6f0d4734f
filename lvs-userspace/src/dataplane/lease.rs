//! Writes the leases of the cluster's groups, from a thread of its own beside all other writers.

use std::sync::Arc;

use lvs_common::lease::Lease;

use super::error::MapError;
use super::maps::Maps;

/// Says until when groups are held. For a thread with a deadline: each call is one system call, takes no lock
/// and allocates nothing. It outlives the [`Dataplane`](super::Dataplane) it came from.
#[derive(Clone, Debug)]
pub struct LeaseWriter {
    pub(super) maps: Arc<Maps>,
}

impl LeaseWriter {
    /// Packets heed `lease` when this returns; one that another CPU looks at meanwhile, the former or this one.
    /// Index 0 stands for "no lease needed" and is refused, as is one beyond the map's end.
    pub fn write(&self, index: u8, lease: Lease) -> Result<(), MapError> {
        self.maps.leases.set_element(checked(&self.maps, index)?, &lease)
    }

    /// The lease as packets see it; one that was never written is not held.
    pub fn read(&self, index: u8) -> Result<Lease, MapError> {
        Ok(self.maps.leases.get(&checked(&self.maps, index)?)?.unwrap_or(Lease::NONE))
    }
}

fn checked(maps: &Maps, index: u8) -> Result<u32, MapError> {
    let (index, capacity) = (u32::from(index), maps.leases.capacity());
    if index != u32::from(Lease::NOT_NEEDED) && index < capacity {
        return Ok(index);
    }
    Err(MapError::OutOfRange { map: lvs_common::names::LEASES, index, capacity })
}
