//! Health probes that take the path of the clients' packets. The agent dials a real server's own address from a
//! marked socket; what leaves is rewritten at the egress, what comes back before the kernel sees it.

use crate::address::Address;
use crate::flow::FlowKey;

/// Sockets of probes have the mark `MARK | slot` (socket(7), SO_MARK); `slot` is a key of `PROBES`.
pub const MARK: u32 = 0x6c76_0000;
/// Probes under way at one time.
pub const SLOTS: u32 = 1 << 15;

/// The slot that a mark names.
#[inline(always)]
pub const fn slot(mark: u32) -> Option<u32> {
    if mark & !(SLOTS - 1) == MARK { Some(mark & (SLOTS - 1)) } else { None }
}

shared_pod! {
    /// Value of `PROBES`: one connection of a probe.
    pub struct Probe [64] {
        /// Whom the real server is to see. dr, ipip: the VIP, in place of its own address as the destination.
        /// nat: an address off its links, in place of the director's as the source; or
        /// [`Address::UNSPECIFIED`], which leaves the packet as it is.
        pub target: Address,
        /// The flow of the answers, written when the first packet leaves: a key of `PROBE_FLOWS`.
        pub answer: FlowKey,
        /// Packets that have left on the path.
        pub packets: u32,
        /// One of [`crate::destination::forward`].
        pub forward: u8,
        pub reserved: u8,
        pub reserved_tail: u16,
    }
}

shared_pod! {
    /// Value of `PROBE_FLOWS`, under the flow of a probe's answers as they come in: what the socket knows in
    /// place of one of its addresses.
    pub struct ProbeFlow [20] {
        pub address: Address,
        /// One of [`side`].
        pub side: u32,
    }
}

/// Values of [`ProbeFlow::side`].
pub mod side {
    /// dr, ipip: the source, which is the VIP, becomes the real server's own address.
    pub const SOURCE: u32 = 0;
    /// nat: the destination becomes the director's own address.
    pub const DESTINATION: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marks_of_probes_name_slots() {
        assert_eq!(slot(MARK), Some(0));
        assert_eq!(slot(MARK | 0x7fff), Some(0x7fff));
        assert_eq!(slot(MARK + SLOTS), None);
        assert_eq!(slot(7), None);
        assert_eq!(slot(0), None);
    }
}
