//! The connection table: a flow's destination and state.

use crate::address::Address;
use crate::tcp_state::state;

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
    /// One entry of `CONNECTIONS`. Its first eight bytes change together, by compare-and-exchange only
    /// ([`Control`]); the others are written while the entry is [`crate::tcp_state::state::BUSY`] and
    /// never change until it is free again.
    #[repr(align(8))]
    pub struct Entry [48] {
        /// When the last packet passed, in [`ticks`].
        pub last_seen: u32,
        /// Raised whenever the entry is given up: what was read under another version is of another flow.
        pub version: u16,
        /// One of [`crate::tcp_state::state`]; `NONE` = free. Whoever takes an old state out settles the
        /// counts it stood for.
        pub state: u8,
        /// Bits of [`flags`].
        pub flags: u8,
        pub client: Address,
        pub client_port: u16,
        /// The port the client dialled, which of a service on all ports is any.
        pub virtual_port: u16,
        /// Index of the service in `SERVICE_STATES`: with the port it stands for the virtual address and the
        /// protocol.
        pub service: u32,
        /// Index in `DESTINATIONS`, valid while `generation` agrees.
        pub destination: u32,
        pub generation: u32,
        /// Embryonic: when it was admitted, as a number of `EMBRYONIC_ORDER`.
        pub sequence: u32,
        /// Of a bucket's first entry: see [`Displaced`].
        pub displaced: u32,
    }
}

/// Entries of one bucket. A flow's home is the bucket its client names ([`crate::flow::hash_client`]); it
/// stands there or, when that was full, in one of the buckets behind it.
pub const ENTRIES_PER_BUCKET: usize = 4;
/// Buckets in which an entry may stand, its home included.
pub const WINDOW: u32 = 16;
/// Bucket at the least, so that no window meets itself.
pub const SMALLEST_TABLE: u32 = 2 * WINDOW;

shared_pod! {
    /// Value of `CONNECTIONS`: three cache lines.
    pub struct Bucket [192] {
        pub entries: [Entry; ENTRIES_PER_BUCKET],
    }
}

/// Buckets that share a word of `DIRTY`: bit `n % 64` of word `n / 64` is of bucket `n`.
pub const BUCKETS_PER_WORD: u32 = u64::BITS;

/// Buckets for so many connections. At a load of 65 % one in 25 000 finds its window full
/// (`cargo xtask bench memory`).
pub const fn buckets_for(connections: u64) -> u32 {
    let entries = connections * 100 / 65;
    let buckets = entries.div_ceil(ENTRIES_PER_BUCKET as u64);
    if buckets < SMALLEST_TABLE as u64 {
        SMALLEST_TABLE
    } else if buckets > u32::MAX as u64 {
        u32::MAX
    } else {
        buckets as u32
    }
}

/// The first eight bytes of an [`Entry`], as the number that is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control(pub u64);

impl Control {
    #[inline(always)]
    pub const fn new(last_seen: u32, version: u16, state: u32, flags: u8) -> Self {
        Self(last_seen as u64 | (version as u64) << 32 | (state as u64 & 0xff) << 48 | (flags as u64) << 56)
    }

    #[inline(always)]
    pub const fn last_seen(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub const fn version(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// One of [`crate::tcp_state::state`].
    #[inline(always)]
    pub const fn state(self) -> u32 {
        (self.0 >> 48) as u32 & 0xff
    }

    #[inline(always)]
    pub const fn flags(self) -> u8 {
        (self.0 >> 56) as u8
    }

    #[inline(always)]
    pub const fn has(self, flag: u8) -> bool {
        self.flags() & flag != 0
    }

    #[inline(always)]
    #[must_use]
    pub const fn with_state(self, state: u32) -> Self {
        Self::new(self.last_seen(), self.version(), state, self.flags())
    }

    /// After a packet that passed at `now`.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self, now: u32) -> Self {
        Self(self.0 >> 32 << 32 | now as u64)
    }

    /// After a packet that passed at `now` and has brought about this state.
    #[inline(always)]
    #[must_use]
    pub const fn advanced(self, state: u32, now: u32) -> Self {
        self.with_state(state).seen(now)
    }

    #[inline(always)]
    #[must_use]
    pub const fn without(self, flag: u8) -> Self {
        Self(self.0 & !((flag as u64) << 56))
    }

    /// What the entry is after it was given up.
    #[inline(always)]
    #[must_use]
    pub const fn freed(self) -> Self {
        Self::new(0, self.version().wrapping_add(1), 0, 0)
    }
}

/// Which of the buckets behind a home hold entries of it: a bit for each distance, and their number above.
/// While there are any, who looks for a flow looks there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced(pub u32);

impl Displaced {
    const ONE: u32 = 1 << WINDOW;

    #[inline(always)]
    pub const fn may_stand_at(self, distance: u32) -> bool {
        self.0 >> (distance & (WINDOW - 1)) & 1 != 0
    }

    #[inline(always)]
    #[must_use]
    pub const fn plus(self, distance: u32) -> Self {
        Self(self.0.wrapping_add(Self::ONE) | 1 << (distance & (WINDOW - 1)))
    }

    /// One less. Bits stay until the last one is gone.
    #[inline(always)]
    #[must_use]
    pub const fn minus_one(self) -> Self {
        if self.0 < 2 * Self::ONE { Self(0) } else { Self(self.0 - Self::ONE) }
    }
}

/// Bits of [`Entry::flags`].
pub mod flags {
    /// A nat connection: packets from the real server are translated back by it.
    pub const NAT: u8 = 1 << 0;
    /// Counted in `LOADS`.
    pub const COUNTED: u8 = 1 << 1;
    /// Only one packet of the flow was seen: the entry makes room when too many such come.
    pub const EMBRYONIC: u8 = 1 << 2;
    /// UDP, else TCP.
    pub const UDP: u8 = 1 << 3;
}

shared_pod! {
    /// The one value of `TABLE`: two cache lines, for numbers that all CPUs change.
    #[repr(align(8))]
    pub struct TableState [128] {
        /// Entries that were admitted so far: the last one's `sequence`, plus 1.
        pub admitted: u64,
        pub reserved: [u64; 7],
        /// Entries that are not embryonic.
        pub established: u64,
        pub reserved_tail: [u64; 7],
    }
}

/// A connection as it is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    pub destination: u32,
    pub generation: u32,
    /// In [`ticks`].
    pub last_seen: u32,
    /// One of [`crate::tcp_state::state`].
    pub state: u32,
    /// [`flags::NAT`] and [`flags::COUNTED`].
    pub flags: u8,
    pub sequence: u32,
}

impl Entry {
    #[inline(always)]
    pub const fn control(&self) -> Control {
        Control::new(self.last_seen, self.version, self.state as u32, self.flags)
    }

    /// The connection it holds, if it holds one.
    pub const fn connection(&self) -> Option<Connection> {
        let state = self.state as u32;
        if !state::is_live(state) {
            return None;
        }
        Some(Connection {
            destination: self.destination,
            generation: self.generation,
            last_seen: self.last_seen,
            state,
            flags: self.flags & (flags::NAT | flags::COUNTED),
            sequence: self.sequence,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Control, Displaced, Entry, SMALLEST_TABLE, WINDOW, buckets_for, ticks};
    use crate::address::Address;
    use zerocopy::IntoBytes;

    /// The kernel's side exchanges a number, people read fields.
    #[test]
    fn the_control_word_is_the_first_fields() {
        let entry = Entry {
            last_seen: 0x0102_0304,
            version: 0x0506,
            state: 7,
            flags: 8,
            client: Address::UNSPECIFIED,
            client_port: 0,
            virtual_port: 0,
            service: 0,
            destination: 0,
            generation: 0,
            sequence: 0,
            displaced: 0,
        };
        let word = u64::from_ne_bytes(entry.as_bytes()[..8].try_into().unwrap());
        assert_eq!(entry.control(), Control(word));
        let control = entry.control();
        let fields = (control.last_seen(), control.version(), control.state(), control.flags());
        assert_eq!(fields, (0x0102_0304, 0x0506, 7, 8));
        assert_eq!(control.with_state(9).state(), 9);
        assert_eq!(control.freed(), Control::new(0, 0x0507, 0, 0));
    }

    #[test]
    fn displaced_entries_are_looked_for_until_the_last_is_gone() {
        let two = Displaced(0).plus(3).plus(WINDOW - 1);
        assert!(two.may_stand_at(3) && two.may_stand_at(WINDOW - 1) && !two.may_stand_at(4));
        let one = two.minus_one();
        assert!(one.may_stand_at(3) && one.may_stand_at(WINDOW - 1));
        assert_eq!(one.minus_one(), Displaced(0));
        assert_eq!(Displaced(0).minus_one(), Displaced(0));
    }

    #[test]
    fn a_table_is_large_enough_and_never_too_small() {
        assert_eq!(buckets_for(8), SMALLEST_TABLE);
        assert_eq!(buckets_for(65_000), 25_000);
        assert_eq!(buckets_for(u64::from(u32::MAX) * 16), u32::MAX);
    }

    #[test]
    fn a_timeout_is_never_shorter_than_asked_for() {
        for seconds in [1, 2, 10, 60, 120, 300, 900, 86_400] {
            let milliseconds = ticks::to_milliseconds(ticks::from_seconds(seconds));
            assert!((0..=68).contains(&(milliseconds as i64 - i64::from(seconds) * 1000)), "{seconds} s");
        }
    }
}
