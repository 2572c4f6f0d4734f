//! What the data plane counts and reports.

use crate::address::Address;

shared_pod! {
    /// Value of `COUNTERS`, one per destination and CPU, under the destination's index. No atomics:
    /// readers add up the CPUs.
    pub struct Counters [40] {
        pub connections: u64,
        /// Client -> real server.
        pub packets_in: u64,
        /// Bytes of the client's IP packet, without Ethernet and without an outer header.
        pub bytes_in: u64,
        /// Real server -> client: nat only. Replies the director merely routes name no destination.
        pub packets_out: u64,
        pub bytes_out: u64,
    }
}

shared_pod! {
    /// Value of `ERROR_BUDGET` and `RESET_BUDGET`, one per CPU: answers of a kind sent in the current second.
    pub struct Budget [8] {
        /// The second, in units of 2^30 ns.
        pub second: u32,
        pub sent: u32,
    }
}

shared_pod! {
    /// Record of the ring buffer `EVENTS`: a packet could not leave for want of a MAC. The agent has the
    /// kernel resolve it, since only the kernel can.
    pub struct Unresolved [24] {
        /// As the kernel's routing look-up left it: an IPv4 address in the first four bytes.
        pub address: [u8; 16],
        /// Interface the address is reached by; 0 = ask the routing table.
        pub interface: u32,
        /// `AF_INET` or `AF_INET6`.
        pub family: u32,
    }
}

impl Unresolved {
    /// `AF_INET`.
    pub const INET: u32 = 2;

    pub const fn address(&self) -> Address {
        let [a, b, c, d, ..] = self.address;
        if self.family == Self::INET {
            Address::from_v4([a, b, c, d])
        } else {
            Address::from_v6(self.address)
        }
    }
}

impl Counters {
    pub const ZERO: Self = Self { connections: 0, packets_in: 0, bytes_in: 0, packets_out: 0, bytes_out: 0 };
}
