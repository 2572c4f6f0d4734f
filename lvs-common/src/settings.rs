//! What the agent tells the data plane as a whole.

use crate::connection::ticks;
use crate::tcp_state::state;

shared_pod! {
    /// The one value of `SETTINGS`.
    #[repr(align(8))]
    pub struct Settings [96] {
        /// Idle time after which a connection is over, by [`state`], in ticks.
        pub timeouts: [u32; 16],
        /// Refusals and other ICMP errors sent, at the most, per second and CPU.
        pub errors_per_second: u32,
        /// Bits of [`flags`].
        pub flags: u32,
        /// Entries of `EMBRYONIC_ORDER`; a power of two.
        pub embryonic_slots: u32,
        /// Buckets of `CONNECTIONS`.
        pub buckets: u32,
        /// Connections that may be established at one time.
        pub connections: u32,
        /// TCP connections reset, at the most, per second and CPU.
        pub resets_per_second: u32,
        /// Of the hash that names a flow's bucket.
        pub seed: u64,
    }
}

shared_pod! {
    /// Value of `INTERFACES`, under the interface's index.
    pub struct Interface [8] {
        pub mac: [u8; 6],
        pub reserved: u16,
    }
}

/// Bits of [`Settings::flags`].
pub mod flags {
    /// Some server is reached by nat: a packet for no service may be its answer.
    pub const NAT: u32 = 1 << 0;
    /// Some service is on all ports.
    pub const ANY_PORT: u32 = 1 << 1;
    /// Some server answers by itself (dr, ipip): a packet for no service may be its answer.
    pub const ANSWERS_ROUTED: u32 = 1 << 2;
    /// Some health check goes through the path: the agent's own packets may be probes.
    pub const PROBES: u32 = 1 << 3;
    /// Some address belongs to a group: nothing of it passes without the group's lease.
    pub const LEASES: u32 = 1 << 4;
    /// Somebody follows the connection table: what changes in it is marked in `DIRTY`.
    pub const FOLLOWED: u32 = 1 << 5;
}

impl Settings {
    /// IPVS's timeouts.
    pub fn defaults() -> Self {
        let mut timeouts = [0; 16];
        for (index, seconds) in [
            (state::NONE, 2),
            (state::ESTABLISHED, 900),
            (state::SYN_SENT, 120),
            (state::SYN_RECEIVED, 60),
            (state::FIN_WAIT, 120),
            (state::TIME_WAIT, 120),
            (state::CLOSE, 10),
            (state::CLOSE_WAIT, 60),
            (state::LAST_ACK, 30),
            (state::SYN_ACK, 60),
            (state::UDP, 300),
        ] {
            timeouts[index as usize & 15] = ticks::from_seconds(seconds);
        }
        Self {
            timeouts,
            errors_per_second: 1000,
            flags: 0,
            embryonic_slots: crate::limits::EMBRYONIC,
            buckets: 0,
            connections: crate::limits::CONNECTIONS,
            resets_per_second: 50_000,
            seed: 0,
        }
    }
}
