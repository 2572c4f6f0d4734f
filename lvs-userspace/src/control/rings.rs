//! What a ring holds, and who may share one. The tables themselves are the scheduler's work.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lvs_common::address::Address;
use lvs_common::ring::Slot;
use lvs_common::service::scheduler;

use super::history::Told;
use super::mirror::Seat;
use crate::scheduler::{Columns, Member, StableKey, maglev, sequence};

/// How a ring is read; services of one class read the same table in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// By a hash (sh, dh, mh).
    Hashed,
    /// In turn (rr, wrr).
    Walked,
}

impl Class {
    /// `None` for lc and wlc, which scan the members and have no ring.
    pub(super) const fn of(scheduler: u8) -> Option<Self> {
        match scheduler {
            scheduler::RR | scheduler::WRR => Some(Self::Walked),
            scheduler::SH | scheduler::DH | scheduler::MH => Some(Self::Hashed),
            _ => None,
        }
    }
}

/// One seat as a ring sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PoolMember {
    position: u16,
    address: Address,
    port: u16,
    /// Divided by the greatest common divisor of the pool: only ratios matter. 0 = takes no new flow,
    /// but may still hold the base of a slot.
    weight: u32,
}

/// All that decides a ring beside its history. Services with equal pools can share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pool {
    pub class: Class,
    /// Number of slots of a hashed ring; the length of a walked one follows from its members.
    hashed_slots: u32,
    members: Vec<PoolMember>,
}

impl Pool {
    /// The pool of a service, `None` when it needs no ring: its scheduler has none, or nobody takes new
    /// flows and there are no old ones. `slots` is the size of its hashed ring, if it has one: a ring of
    /// another size would send every flow without an entry elsewhere, so a service keeps the first.
    pub(super) fn of(scheduler: u8, seats: &[Option<Seat>], slots: Option<u32>) -> Option<Self> {
        let class = Class::of(scheduler)?;
        let weight_of =
            |seat: &Seat| if scheduler == scheduler::RR { seat.weight.min(1) } else { seat.weight };
        let divisor = seats.iter().flatten().map(weight_of).fold(0, greatest_common_divisor);
        let has_flows = class == Class::Hashed && slots.is_some() && seats.iter().any(Option::is_some);
        if divisor == 0 && !has_flows {
            return None;
        }
        let members = (0..)
            .zip(seats)
            .filter_map(|(position, seat)| Some((position, seat.as_ref()?)))
            .map(|(position, seat)| PoolMember {
                position,
                address: seat.server.address,
                port: seat.server.port,
                weight: weight_of(seat) / divisor.max(1),
            })
            .collect();
        let mut pool = Self { class, hashed_slots: 0, members };
        if class == Class::Hashed {
            pool.hashed_slots = slots.unwrap_or_else(|| maglev::ring_size(&pool.scheduler_members()));
        }
        Some(pool)
    }

    /// Address and port of each member.
    pub(super) fn members(&self) -> impl Iterator<Item = (Address, u16)> + '_ {
        self.members.iter().map(|member| (member.address, member.port))
    }

    /// Who gets new flows, by slot. When nobody does, a walked ring has no slots.
    pub(super) fn table(&self) -> Vec<u16> {
        let members = self.scheduler_members();
        match self.class {
            Class::Hashed if members.iter().all(|member| member.weight == 0) => {
                vec![Slot::NOBODY; self.hashed_slots as usize]
            }
            Class::Hashed => maglev::build(&members, self.hashed_slots),
            Class::Walked => sequence::weighted(&members),
        }
    }

    /// Whether `position` has a server, be it one that takes no new flows.
    pub(super) fn seats(&self, position: u16) -> bool {
        self.members.binary_search_by_key(&position, |member| member.position).is_ok()
    }

    /// Where this server sits.
    pub(super) fn position(&self, address: Address, port: u16) -> Option<u16> {
        let member = self.members.iter().find(|member| (member.address, member.port) == (address, port))?;
        Some(member.position)
    }

    /// Slots of the ring where it is hashed, else 0.
    pub(super) fn hashed_slots(&self) -> u32 {
        self.hashed_slots
    }

    /// The smallest weight gets so few slots that a larger ring is worth the change.
    pub(super) fn is_outgrown(&self) -> bool {
        let members = self.scheduler_members();
        self.class == Class::Hashed
            && maglev::smallest_share(&members, self.hashed_slots)
                .is_some_and(|share| share < maglev::FEWEST_SLOTS)
            && maglev::ring_size(&members) > self.hashed_slots
    }

    /// Why the shares of this pool are not quite its weights, if they are not.
    pub(super) fn coarse(&self) -> Option<String> {
        let members = self.scheduler_members();
        match self.class {
            Class::Hashed => {
                let slots = self.hashed_slots;
                let share = maglev::smallest_share(&members, slots)?;
                (share < maglev::FEWEST_SLOTS).then(|| {
                    format!(
                        "the smallest weight gets {share} of {slots} slots, good are {} and more",
                        maglev::FEWEST_SLOTS
                    )
                })
            }
            Class::Walked => {
                let sum: u64 = self.members.iter().map(|member| u64::from(member.weight)).sum();
                (sum > u64::from(sequence::LENGTH)).then(|| {
                    format!(
                        "weights in lowest terms add up to {sum}, and are rounded to a sequence of {}",
                        sequence::LENGTH
                    )
                })
            }
        }
    }

    fn scheduler_members(&self) -> Vec<Member> {
        self.members
            .iter()
            .map(|member| Member {
                key: StableKey::new(IpAddr::from(member.address), member.port),
                position: member.position,
                weight: member.weight,
            })
            .collect()
    }
}

/// One ring as it is, or is about to be, published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// `None` for a ring found in the kernel that was not compared with its readers' pool yet.
    pub pool: Option<Pool>,
    pub columns: Columns,
    /// What another director told of it, and is in it.
    pub told: Option<Arc<Told>>,
    /// Since when the longest dual slot is dual.
    dual_since: Option<Duration>,
}

impl Ring {
    pub(super) fn new(pool: Option<Pool>, columns: Columns, told: Option<Arc<Told>>) -> Self {
        let dual_since = columns.next_retirement(Duration::ZERO);
        Self { pool, columns, told, dual_since }
    }

    /// Whether it is what `pool`, and what was told, make of it.
    pub(super) fn is_for(&self, pool: &Pool, told: Option<&Arc<Told>>) -> bool {
        self.pool.as_ref() == Some(pool) && told.is_none_or(|told| self.told.as_ref() == Some(told))
    }

    /// Gives up what slots that are dual for `longest` remember; whether any changed.
    pub(super) fn retire(&mut self, longest: Duration, now: Duration) -> bool {
        if self.dual_since.is_none_or(|since| since + longest > now) {
            return false;
        }
        let changed = self.columns.retire(longest, now) > 0;
        self.dual_since = self.columns.next_retirement(Duration::ZERO);
        changed
    }
}

const fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
