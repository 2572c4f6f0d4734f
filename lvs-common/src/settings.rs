//! What the agent tells the data plane as a whole.

use crate::connection::ticks;
use crate::tcp_state::state;

shared_pod! {
    /// The one value of `SETTINGS`.
    pub struct Settings [80] {
        /// Idle time after which a connection is over, by [`state`], in ticks.
        pub timeouts: [u32; 16],
        /// Refusals and other ICMP errors sent, at the most, per second and CPU.
        pub errors_per_second: u32,
        /// Time to live (hop limit) of outer headers.
        pub tunnel_ttl: u32,
        /// Bits of [`flags`].
        pub flags: u32,
        /// Entries of `EMBRYONIC_ORDER`; a power of two.
        pub embryonic_slots: u32,
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
    /// `SOURCES` is not empty: packets for no service are looked up by their source.
    pub const SOURCES: u32 = 1 << 0;
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
            tunnel_ttl: 64,
            flags: 0,
            embryonic_slots: crate::limits::EMBRYONIC,
        }
    }
}
