//! The connection table: a flow's destination and state.

use crate::address::Address;

/// Time in the data plane: the monotonic clock in ticks of 2^26 ns (67 ms), without a division. Wraps
/// after 9 years; only differences are used.
pub mod ticks {
    pub const SHIFT: u32 = 26;

    #[inline(always)]
    pub const fn from_nanoseconds(nanoseconds: u64) -> u32 {
        (nanoseconds >> SHIFT) as u32
    }

    /// Rounded up: a timeout is never shorter than asked for.
    pub const fn from_seconds(seconds: u32) -> u32 {
        ((seconds as u64 * 1_000_000_000).div_ceil(1 << SHIFT)) as u32
    }

    pub const fn to_milliseconds(ticks: u32) -> u64 {
        ((ticks as u64) << SHIFT) / 1_000_000
    }
}

shared_pod! {
    /// Value of `CONNECTIONS` and `EMBRYONIC`, under the key of the client's direction.
    pub struct Connection [24] {
        /// Index in `DESTINATIONS`, valid while `generation` agrees.
        pub destination: u32,
        pub generation: u32,
        /// When the last packet passed, in [`ticks`].
        pub last_seen: u32,
        /// One of [`crate::tcp_state::state`]. Changed by atomic exchange only: whoever takes an old
        /// state out settles the counts it stood for.
        pub state: u32,
        /// Bits of [`flags`].
        pub flags: u32,
        /// Embryonic: the entry's place in `EMBRYONIC_ORDER`. Established: room for the cursor of
        /// connection synchronisation.
        pub sequence: u32,
    }
}

/// Bits of [`Connection::flags`].
pub mod flags {
    /// A nat connection: `RETURNS` holds its other direction.
    pub const NAT: u32 = 1 << 0;
    /// Counted in `LOADS`.
    pub const COUNTED: u32 = 1 << 1;
}

shared_pod! {
    /// Value of `RETURNS`, under the key real server -> client of a nat connection.
    pub struct Return [20] {
        /// What the client dialled, to be put back as the source.
        pub virtual_address: Address,
        pub virtual_port: u16,
        pub reserved: u16,
    }
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn a_timeout_is_never_shorter_than_asked_for() {
        for seconds in [1, 2, 10, 60, 120, 300, 900, 86_400] {
            let milliseconds = ticks::to_milliseconds(ticks::from_seconds(seconds));
            assert!((0..=68).contains(&(milliseconds as i64 - i64::from(seconds) * 1000)), "{seconds} s");
        }
    }
}
