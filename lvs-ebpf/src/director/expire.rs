//! Retires connections the agent found idle, or without a destination. Looking again and retiring happen here,
//! in the kernel, so that a flow which has just gone on is kept.

use lvs_common::cause::Cause;
use lvs_common::limits::EXPIRE_PLACES;
use lvs_ebpf::packet::{Bytes as _, Packet};

use crate::connection::Found;
use crate::{helpers, lookup};

#[inline(always)]
pub(crate) fn run(packet: &Packet) -> Result<(), Cause> {
    let settings = lookup::settings()?;
    let now = helpers::now();
    for index in 0..EXPIRE_PLACES {
        let Ok(place) = packet.read::<u32>(index * size_of::<u32>()) else { break };
        let Some(found) = Found::at(place) else { continue };
        if found.is_expired(now, settings) || found.destination().is_none() {
            found.retire_unchanged();
        }
    }
    Ok(())
}
