//! Leases: a director of a cluster answers for the addresses of a group only while it holds the group's lease.
//!
//! Without it nothing of those addresses passes: what comes for them and what leaves from them is dropped. So
//! two directors never answer for one address, whatever they believe of each other.

shared_pod! {
    /// Value of `LEASES`, under the group's index. Times are of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`), in
    /// nanoseconds; 0 = over since the machine started.
    #[repr(align(8))]
    pub struct Lease [16] {
        /// The group is held before this time.
        pub ends: u64,
        /// Before this time, and while the group is held, new connections are taken that need an entry in the
        /// connection table. Later ones might not reach another director's table any more.
        pub fresh_until: u64,
    }
}

impl Lease {
    /// Not held.
    pub const NONE: Self = Self { ends: 0, fresh_until: 0 };
    /// In place of an index: the address belongs to no group.
    pub const NOT_NEEDED: u8 = 0;

    /// What the lease allows at `now`, one of [`standing`].
    #[inline(always)]
    pub const fn standing(&self, now: u64) -> u64 {
        if now >= self.ends {
            standing::NOT_HELD
        } else if now >= self.fresh_until {
            standing::STALE
        } else {
            standing::FRESH
        }
    }

    /// Fresh also `later` nanoseconds after `now`.
    #[inline(always)]
    pub const fn is_fresh_until(&self, now: u64, later: u64) -> bool {
        let end = if self.ends < self.fresh_until { self.ends } else { self.fresh_until };
        now.saturating_add(later) < end
    }
}

/// The exact clock costs nearly as much as all else that a plain packet needs, so most packets take the time of the last
/// timer tick, which is behind. It decides only where that cannot matter; that it is not further behind, since the
/// machine was paused or its tick stands still, is found out within a few packets.
pub mod tick {
    /// Nanoseconds by which the last tick is behind at the most, while all is well: two ticks of 10 ms, the longest
    /// there are, and some.
    pub const BEHIND: u64 = 25_000_000;
    /// So many packets a CPU takes the tick's time before it compares it with the exact clock again.
    pub const PACKETS: u32 = 32;
}

/// What a lease allows.
pub mod standing {
    pub const NOT_HELD: u64 = 0;
    /// Held, but not renewed lately: no new connection that needs an entry.
    pub const STALE: u64 = 1;
    pub const FRESH: u64 = 2;
}

shared_pod! {
    /// Value of `GROUP_ADDRESSES`: an address of a group, whether or not a service listens on it.
    pub struct GroupAddress [4] {
        /// Index in `LEASES`.
        pub lease: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::Lease;
    use super::standing::{FRESH, NOT_HELD, STALE};

    #[test]
    fn a_lease_ends_at_its_time_and_is_fresh_before() {
        let lease = Lease { ends: 100, fresh_until: 60 };
        let standings = [0, 59, 60, 99, 100, u64::MAX].map(|now| lease.standing(now));
        assert_eq!(standings, [FRESH, FRESH, STALE, STALE, NOT_HELD, NOT_HELD]);
    }

    #[test]
    fn fresh_beyond_doubt_is_what_is_fresh_later_too() {
        let lease = Lease { ends: 100, fresh_until: 60 };
        assert!(lease.is_fresh_until(0, 59) && !lease.is_fresh_until(0, 60) && !lease.is_fresh_until(59, 1));
        let mistaken = Lease { ends: 60, fresh_until: 100 };
        assert!(mistaken.is_fresh_until(0, 59) && !mistaken.is_fresh_until(0, 60));
        assert!(!Lease { ends: u64::MAX, fresh_until: u64::MAX }.is_fresh_until(u64::MAX - 5, 25));
    }

    #[test]
    fn what_is_not_held_is_not_fresh() {
        assert_eq!(Lease { ends: 10, fresh_until: 20 }.standing(15), NOT_HELD);
        assert_eq!(Lease::NONE.standing(0), NOT_HELD);
    }
}
