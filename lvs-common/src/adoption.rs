//! Connections that another director tells of: input and output of the program `lvs_adopt`.

use crate::address::Address;

/// What is to become of a connection. Values are part of the layout.
pub mod action {
    /// Nothing.
    pub const NONE: u8 = 0;
    /// An entry is to stand for it as the record says.
    pub const HOLD: u8 = 1;
    /// The entry at `place` is to go, if it has `version`.
    pub const DROP: u8 = 2;
}

/// What became of it.
pub mod outcome {
    /// The program did not come so far.
    pub const NONE: u8 = 0;
    pub const INSERTED: u8 = 1;
    pub const UPDATED: u8 = 2;
    pub const REMOVED: u8 = 3;
    /// [`super::action::DROP`]: another entry stands there, or none.
    pub const ABSENT: u8 = 4;
    /// The destination has another generation or service, or was taken away.
    pub const UNKNOWN_DESTINATION: u8 = 5;
    /// No room, neither in the window nor among the established.
    pub const FULL: u8 = 6;
    /// Packets have changed the entry each time it was looked at.
    pub const CONTENDED: u8 = 7;
    /// The record makes no sense.
    pub const REFUSED: u8 = 8;
}

shared_pod! {
    /// One connection for `lvs_adopt`. All indices are those of the director whose program it is.
    #[repr(align(8))]
    pub struct Adoption [48] {
        pub client: Address,
        pub client_port: u16,
        /// The port the client dialled.
        pub virtual_port: u16,
        /// Index of the service in `SERVICE_STATES`.
        pub service: u32,
        pub destination: u32,
        pub generation: u32,
        /// In [`crate::connection::ticks`] of this machine's clock.
        pub last_seen: u32,
        /// One of [`crate::tcp_state::state`].
        pub state: u8,
        /// [`UDP`](crate::connection::flags::UDP), [`EMBRYONIC`](crate::connection::flags::EMBRYONIC) and
        /// [`COUNTED`](crate::connection::flags::COUNTED) of [`crate::connection::flags`].
        pub flags: u8,
        /// One of [`action`].
        pub action: u8,
        /// Filled in: one of [`outcome`].
        pub outcome: u8,
        /// Filled in after [`action::HOLD`], given for [`action::DROP`]: where the entry stands,
        pub place: u32,
        /// and its version.
        pub version: u16,
        pub reserved: u16,
    }
}

impl Adoption {
    /// Does nothing.
    pub const NONE: Self = Self {
        client: Address::UNSPECIFIED,
        client_port: 0,
        virtual_port: 0,
        service: 0,
        destination: 0,
        generation: 0,
        last_seen: 0,
        state: 0,
        flags: 0,
        action: action::NONE,
        outcome: outcome::NONE,
        place: 0,
        version: 0,
        reserved: 0,
    };

    /// The four bytes from `state` on, with this outcome, as one number in the machine's order (little endian).
    #[inline(always)]
    pub const fn about(&self, outcome: u8) -> u32 {
        u32::from_le_bytes([self.state, self.flags, self.action, outcome])
    }

    /// Removes the entry at `place`, if it has `version`.
    pub const fn drop(place: u32, version: u16) -> Self {
        Self { action: action::DROP, place, version, ..Self::NONE }
    }
}
