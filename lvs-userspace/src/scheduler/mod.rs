//! Who gets a new flow: pure functions from members and weights to rings.

pub mod columns;
pub mod maglev;
pub mod member;
pub mod sequence;

pub use columns::Columns;
pub use member::{Member, StableKey};

use crate::config::model::Scheduler;

/// What a scheduler wants its service's ring to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingPlan {
    /// Length of `current`; 0 = no ring: the scheduler uses none, or no member takes new flows.
    pub slots: u32,
    /// Position of each slot.
    pub current: Vec<u16>,
}

/// The ring of a service that has none yet.
pub fn plan(scheduler: Scheduler, members: &[Member]) -> RingPlan {
    plan_with_slots(scheduler, members, maglev::ring_size(members))
}

/// The ring of a service that has one: a hashing scheduler keeps the number of slots, which must be a
/// prime, since flows without an entry are found by their slot. The others do not look at `slots`.
pub fn plan_with_slots(scheduler: Scheduler, members: &[Member], slots: u32) -> RingPlan {
    let current = match scheduler {
        Scheduler::Rr => sequence::round_robin(members),
        Scheduler::Wrr => sequence::weighted(members),
        Scheduler::Sh | Scheduler::Dh | Scheduler::Mh => maglev::build(members, slots),
        Scheduler::Lc | Scheduler::Wlc => Vec::new(),
    };
    RingPlan { slots: u32::try_from(current.len()).unwrap_or(u32::MAX), current }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(index, &weight): (usize, &u32)| Member {
            key: StableKey::new(std::net::IpAddr::from([10, 0, 0, index as u8]), 80),
            position: index as u16,
            weight,
        };
        weights.iter().enumerate().map(member).collect()
    }

    #[test]
    fn each_scheduler_gets_its_kind_of_ring() {
        let pool = members(&[2, 0, 1]);
        for (scheduler, slots) in [
            (Scheduler::Rr, 2),
            (Scheduler::Wrr, 3),
            (Scheduler::Lc, 0),
            (Scheduler::Wlc, 0),
            (Scheduler::Sh, 4093),
            (Scheduler::Dh, 4093),
            (Scheduler::Mh, 4093),
        ] {
            let plan = plan(scheduler, &pool);
            assert_eq!((plan.slots, plan.current.len()), (slots, slots as usize), "{scheduler:?}");
            assert!(!plan.current.contains(&1), "weight 0 under {scheduler:?}");
        }
    }

    #[test]
    fn a_ring_keeps_its_size() {
        let plan = plan_with_slots(Scheduler::Mh, &members(&[1; 3]), 65_537);
        assert_eq!(plan.slots, 65_537);
    }

    #[test]
    fn nobody_with_a_weight_means_no_ring() {
        for scheduler in [Scheduler::Rr, Scheduler::Wrr, Scheduler::Mh] {
            assert_eq!(plan(scheduler, &members(&[0, 0])), RingPlan::default());
            assert_eq!(plan(scheduler, &[]), RingPlan::default());
        }
    }
}
