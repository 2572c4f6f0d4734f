//! What is known of the packet under way: one value per CPU instead of the stack, which is 512 bytes for
//! all functions together. Nothing else runs this program on this CPU meanwhile.

use lvs_common::adoption::Adoption;
use lvs_common::cause::Cause;
use lvs_common::flow::FlowKey;
use lvs_common::service::Service;
use lvs_ebpf::parse::Network;

use crate::connection::Admission;
use crate::icmp::error::Quoted;
use crate::maps::SCRATCH;
use crate::next_hop::{FibLookup, NextHop};
use crate::table::Wanted;

/// Value of `SCRATCH`. A field is valid from the step that fills it in.
pub(crate) struct Scratch {
    /// Filled in by the parser.
    pub(crate) network: Network,
    /// The client's direction of the flow, or that of a packet from a real server; by the pipeline.
    pub(crate) key: FlowKey,
    /// The service the flow belongs to; by the pipeline.
    pub(crate) service: Service,
    /// What an ICMP error quotes.
    pub(crate) quoted: Quoted,
    /// With [`Cause::TooBig`]: the size that fits.
    pub(crate) mtu: u32,
    /// Room for the kernel's routing look-up,
    pub(crate) fib: FibLookup,
    /// for what it answers,
    pub(crate) next_hop: NextHop,
    /// and for what the connection table is asked for.
    pub(crate) wanted: Wanted,
    /// A flow to be remembered; by the stage `steer`.
    pub(crate) admission: Admission,
    /// A connection of another director; by `lvs_adopt`.
    pub(crate) adoption: Adoption,
}

/// Each field is written by one step and only read afterwards, so callers keep no reference to a field
/// that a later step fills in.
#[inline(always)]
pub(crate) fn scratch() -> Result<&'static mut Scratch, Cause> {
    let scratch = SCRATCH.get_ptr_mut(0).ok_or(Cause::Inconsistent)?;
    // SAFETY: a per-CPU map value, used by one program run at a time.
    Ok(unsafe { &mut *scratch })
}
