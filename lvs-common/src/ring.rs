//! Rings: the Maglev lookup table of hashing schedulers, the walked sequence of rr and wrr.

/// Slots of one map value: one cache line.
pub const SLOTS_PER_LINE: usize = 16;

shared_pod! {
    /// One slot of a ring. Both fields are positions within the service's members.
    pub struct Slot [4] {
        /// Who gets a new flow.
        pub current: u16,
        /// Who holds the flows that have no entry. `base == current`: the slot is single and the ring
        /// answers alone; otherwise it is dual and entries win.
        pub base: u16,
    }
}

impl Slot {
    #[inline(always)]
    pub const fn single(position: u16) -> Self {
        Self { current: position, base: position }
    }

    #[inline(always)]
    pub const fn is_dual(&self) -> bool {
        self.current != self.base
    }
}

shared_pod! {
    /// Value of a ring's inner map: slot `s` is slot `s % 16` of line `s / 16`.
    pub struct RingLine [64] {
        pub slots: [Slot; SLOTS_PER_LINE],
    }
}
