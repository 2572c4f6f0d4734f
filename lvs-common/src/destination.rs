//! Destinations: one real server within one service.

use crate::address::Address;

/// Forwarding methods. Values are part of the layout.
pub mod forward {
    /// Direct routing: only the frame's addresses change.
    pub const DR: u8 = 1;
    /// Addresses and ports are translated, in both directions.
    pub const NAT: u8 = 2;
    /// The packet travels inside another IP header.
    pub const IPIP: u8 = 3;
    /// The director itself serves: the packet is passed to its own stack.
    pub const LOCAL: u8 = 4;
}

/// Bits of [`Destination::flags`].
pub mod destination_flags {
    /// `interface`, `next_hop` and `source` are valid; without it `bpf_fib_lookup` decides.
    pub const NEXT_HOP_KNOWN: u8 = 1 << 0;
    /// The next hop is a router: the director routes even when the packet leaves where it came in.
    pub const BEHIND_ROUTER: u8 = 1 << 1;
    /// Taken out of its service: its flows are steered anew.
    pub const REMOVED: u8 = 1 << 2;
    /// Down: its TCP connections are reset, and all else is steered anew.
    pub const RESETS: u8 = 1 << 3;
}

shared_pod! {
    /// Value of `DESTINATIONS`: one cache line. Each MAC shares an aligned 8-byte word with a field that
    /// changes with it, so that a reader never sees half of one.
    #[repr(align(8))]
    pub struct Destination [64] {
        /// MAC of the next hop, kept by the agent from the kernel's neighbour table.
        pub next_hop: [u8; 6],
        /// Port on the real server (nat only), machine's order; 0 = the one the client dialled.
        pub port: u16,
        /// MAC of the interface the packet leaves by.
        pub source: [u8; 6],
        /// Largest IP packet the path to the real server takes, in bytes; 0 = unknown.
        pub mtu: u16,
        /// Index of the interface the packet leaves by.
        pub interface: u32,
        /// Raised whenever the index gets another real server: a reference carries index and generation,
        /// and a flow of an earlier life never reaches a stranger.
        pub generation: u32,
        /// The real server.
        pub address: Address,
        /// What the director writes as the source: ipip, of the outer header; nat, of the answers, which is
        /// the VIP.
        pub source_address: Address,
        /// Index of the service in `SERVICE_STATES`.
        pub service: u32,
        /// One of [`forward`].
        pub forward: u8,
        /// Bits of [`destination_flags`].
        pub flags: u8,
        /// Nat: index in `LEASES` of `source_address`'s group; 0 = none.
        pub lease: u8,
        pub reserved: u8,
    }
}

impl Destination {
    /// `next_hop` with `port`, and `source` with `mtu`, each as one number in the machine's order.
    #[inline(always)]
    pub const fn link_words(&self) -> (u64, u64) {
        let words: &[u64; 8] = zerocopy::transmute_ref!(self);
        (words[0], words[1])
    }

    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

shared_pod! {
    /// Value of `LOADS`, beside `DESTINATIONS` under the same index: connections right now, over all CPUs.
    pub struct Load [8] {
        /// Connections that count in full for lc and wlc (handshake begun, established).
        pub active: u32,
        /// Connections that are closing, and UDP flows.
        pub inactive: u32,
    }
}

impl Load {
    /// What lc and wlc compare: an active connection weighs as 256 inactive ones (IPVS's own rule).
    #[inline(always)]
    pub const fn overhead(&self) -> u64 {
        ((self.active as u64) << 8) + self.inactive as u64
    }
}
