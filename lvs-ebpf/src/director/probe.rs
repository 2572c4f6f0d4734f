//! What comes back to a health probe that took the path of the clients' packets: the kernel is to see it as its
//! socket expects it, from the real server's own address or to the director's. Before steering and
//! translation, and for the kernel whether or not the VIP is the director's own.

use lvs_common::cause::Cause;
use lvs_common::probe::{ProbeFlow, side};
use lvs_ebpf::packet::Packet;

use crate::maps::PROBE_FLOWS;
use crate::rewrite::{self, Side};
use crate::scratch::Scratch;

/// `Ok`: it is no probe's, and as it was.
#[inline(always)]
pub(crate) fn answer(packet: &Packet, scratch: &Scratch) -> Result<u32, Cause> {
    let Some(flow) = find(scratch) else { return Ok(0) };
    let side = if flow.side == side::SOURCE { Side::Source } else { Side::Destination };
    rewrite::endpoint(packet, &scratch.network, side, &flow.address, 0)?;
    Err(Cause::ProbeAnswered)
}

/// The probe whose answers the key in the scratch value is the flow of.
#[inline(always)]
pub(crate) fn find(scratch: &Scratch) -> Option<&'static ProbeFlow> {
    // SAFETY: plain data, which stays memory of this map while the program runs. It is deleted when the socket is
    // closed: nobody would hear a packet that is given the address of another probe.
    unsafe { PROBE_FLOWS.get(&scratch.key) }
}
