//! What the bench and its wrapper program share. No part of a director.

/// 64-bit words of the longest frame.
pub const FRAME_WORDS: usize = 10;

shared_pod! {
    /// The one value of `PLAN`: the packets of a run.
    pub struct Plan [128] {
        /// The frame of flow 0, in memory order.
        pub frame: [u64; FRAME_WORDS],
        /// The last flow's number, or the random generator's state; by [`Order`].
        pub state: u64,
        /// Flows to choose from.
        pub flows: u32,
        /// Services to choose from: their addresses follow the frame's.
        pub services: u32,
        /// One of [`Order`].
        pub order: u32,
        /// Rounds of the run, and those done.
        pub rounds: u32,
        pub done: u32,
        pub reserved: u32,
        /// The monotonic clock when the first round began and when the last one did, in nanoseconds.
        pub began: u64,
        pub ended: u64,
    }
}

impl Plan {
    /// Flow `f` has port `FIRST_PORT + f % 2^PORT_BITS`, and an address `f / 2^PORT_BITS` after the frame's.
    pub const PORT_BITS: u32 = 14;
    pub const PORT_MASK: u16 = (1 << Self::PORT_BITS) - 1;
    pub const FIRST_PORT: u16 = 1024;
}

/// In which order the flows come.
pub struct Order;

impl Order {
    /// One after the other, each once, without end.
    pub const SEQUENTIAL: u32 = 0;
    /// Any of `flows` each time.
    pub const RANDOM: u32 = 1;
}
