//! Rings: the Maglev lookup table of hashing schedulers, the walked sequence of rr and wrr.

/// Slots of one map value: one cache line.
pub const SLOTS_PER_LINE: usize = 16;

/// In `base`: a connection may hold an entry that names neither current nor base.
const UNSETTLED: u16 = 1 << 15;

shared_pod! {
    /// One slot of a ring: two positions within the service's members, and whether entries win here.
    ///
    /// | slot | a valid entry | SYN, UDP | other TCP |
    /// |---|---|---|---|
    /// | settled, `current == base` | not looked for | `current`, nothing stored | `base`, nothing stored |
    /// | unsettled, `current == base` | wins | `current`, nothing stored | `base`, nothing stored |
    /// | dual, `current != base` | wins | `current`, entry | `base`, low-class entry |
    ///
    /// An entry that does not win because its connection is closing and a SYN begins the next one is
    /// replaced in every slot, so that no entry ever names another than the flow's holder.
    pub struct Slot [4] {
        current: u16,
        base: u16,
    }
}

impl Slot {
    /// Stands where no destination can serve. Above every position, so a bounds check finds it out.
    pub const NOBODY: u16 = UNSETTLED - 1;

    #[inline(always)]
    pub const fn new(current: u16, base: u16, unsettled: bool) -> Self {
        Self { current, base: if unsettled { base | UNSETTLED } else { base } }
    }

    /// A settled slot: the ring answers alone.
    #[inline(always)]
    pub const fn single(position: u16) -> Self {
        Self::new(position, position, false)
    }

    /// Position that gets a new flow, or [`Slot::NOBODY`].
    #[inline(always)]
    pub const fn current(&self) -> u16 {
        self.current
    }

    /// Position that holds the flows without an entry, or [`Slot::NOBODY`].
    #[inline(always)]
    pub const fn base(&self) -> u16 {
        self.base & !UNSETTLED
    }

    /// A flow without an entry gets one, so that it is known before `base` is given up.
    #[inline(always)]
    pub const fn is_dual(&self) -> bool {
        self.current != self.base()
    }

    /// An entry may name neither `current` nor `base`.
    #[inline(always)]
    pub const fn is_unsettled(&self) -> bool {
        self.base & UNSETTLED != 0
    }

    /// An entry may name another than `current`: the connection table comes first.
    #[inline(always)]
    pub const fn consults_table(&self) -> bool {
        self.base != self.current
    }
}

shared_pod! {
    /// Value of a ring's inner map: slot `s` is slot `s % 16` of line `s / 16`.
    pub struct RingLine [64] {
        pub slots: [Slot; SLOTS_PER_LINE],
    }
}

const _: () = assert!(crate::limits::MEMBERS_PER_SERVICE <= Slot::NOBODY as u32);

#[cfg(test)]
mod tests {
    use super::Slot;

    #[test]
    fn the_flag_does_not_disturb_the_positions() {
        for (current, base) in [(0, 0), (3, 7), (4095, 4095), (Slot::NOBODY, 0), (0, Slot::NOBODY)] {
            for unsettled in [false, true] {
                let slot = Slot::new(current, base, unsettled);
                assert_eq!((slot.current(), slot.base(), slot.is_unsettled()), (current, base, unsettled));
                assert_eq!(slot.is_dual(), current != base);
                assert_eq!(slot.consults_table(), current != base || unsettled);
            }
        }
    }
}
