//! What the data plane counts.

shared_pod! {
    /// Value of `COUNTERS`, one per destination and CPU, under the destination's index. No atomics:
    /// readers add up the CPUs.
    pub struct Counters [40] {
        pub connections: u64,
        /// Client -> real server.
        pub packets_in: u64,
        /// Bytes of the client's IP packet, without Ethernet and without an outer header.
        pub bytes_in: u64,
        /// Real server -> client; seen only with nat, or where the director routes the replies.
        pub packets_out: u64,
        pub bytes_out: u64,
    }
}

impl Counters {
    pub const ZERO: Self = Self { connections: 0, packets_in: 0, bytes_in: 0, packets_out: 0, bytes_out: 0 };
}
