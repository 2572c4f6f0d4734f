//! Retires connections the agent found idle, or without a destination. Looking again and retiring happen here, in the kernel, so
//! that a flow which has just gone on is kept.

use lvs_common::cause::Cause;
use lvs_common::flow::FlowKey;
use lvs_common::limits::EXPIRE_KEYS;
use lvs_ebpf::packet::Packet;

use crate::{connection, helpers, lookup};

#[inline(always)]
pub(crate) fn run(packet: &Packet) -> Result<(), Cause> {
    let settings = lookup::settings()?;
    let now = helpers::now();
    for index in 0..EXPIRE_KEYS {
        let Ok(bytes) = packet.read::<[u64; 5]>(index * size_of::<FlowKey>()) else { break };
        // SAFETY: a flow key is plain data of this size.
        let key: FlowKey = unsafe { core::mem::transmute(bytes) };
        if let Some(entry) = connection::find(&key)
            && (entry.is_expired(now, settings) || entry.destination().is_none())
        {
            entry.retire(&key);
        }
    }
    Ok(())
}
