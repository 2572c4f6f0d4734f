//! Fragments follow their first one, which alone carries the ports.

use crate::address::Address;

shared_pod! {
    /// Key of `FRAGMENTS`: what the fragments of one datagram share (RFC 791 section 3.2, RFC 8200
    /// section 4.5).
    pub struct FragmentKey [40] {
        pub source: Address,
        pub destination: Address,
        pub identification: u32,
        pub protocol: u8,
        pub reserved: u8,
        /// Apart from `reserved`, since three bytes would be cleared by a call of `memset`.
        pub reserved_tail: u16,
    }
}

shared_pod! {
    /// Value of `FRAGMENTS`: what the first fragment decided.
    pub struct FragmentHead [16] {
        pub source_port: u16,
        pub destination_port: u16,
        /// Reference to the destination, or [`FragmentHead::REPLY`] or [`FragmentHead::KERNEL`].
        pub destination: u32,
        pub generation: u32,
        /// When the first fragment passed, in ticks.
        pub seen: u32,
    }
}

impl FragmentHead {
    /// In place of a destination: from a real server to a client.
    pub const REPLY: u32 = u32::MAX;
    /// In place of a destination: to a VIP, but for no service, and so the kernel's.
    pub const KERNEL: u32 = u32::MAX - 1;
}
