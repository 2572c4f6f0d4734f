//! From what is installed to what is wanted: the commands, in the order of publication.
//!
//! Additions go first, what they need before what needs them; the services switch; removals follow in
//! reverse. While a ring changes in place its service's members hold the old seats and the new ones, so
//! that no slot ever names a position without a destination.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::BitOr;
use std::time::Duration;

use lvs_common::address::Address;
use lvs_common::destination::{
    Destination,
    destination_flags::{REMOVED, RESETS},
    forward,
};
use lvs_common::lease::Lease;
use lvs_common::ring::Slot;
use lvs_common::service::{Service, ServiceKey, Vip, service_flags};
use lvs_common::settings::{Settings, flags};

use super::allocate::Region;
use super::command::Command;
use super::mirror::{Seats, chunks, region_of, ring_of};
use super::next_hop::located;
use super::plan::{self, Plan, Server, Wanted};
use super::rings::Pool;
use super::state::State;
use super::warnings;

/// What one service becomes.
pub(super) struct Target<'a> {
    pub key: ServiceKey,
    pub wanted: Cow<'a, Wanted>,
    /// The installed service it replaces and that one's seats, where that makes sense.
    pub previous: Option<(Service, Seats)>,
    /// The final value; `ring` and `ring_slots` are filled in once all targets are known.
    pub value: Service,
    pub seats: Seats,
    /// Who takes new flows through a ring; `None` without a ring.
    pub pool: Option<Pool>,
    /// Destinations that get a new owner.
    pub fresh: BTreeSet<u32>,
    /// Some destination was removed a short while ago and comes back with its flows.
    pub revived: bool,
}

impl Target<'_> {
    /// What the data plane must look for because of this service ([`Settings::flags`]). By what is installed
    /// and not by what is wanted: a service that does not fit stays as it is.
    fn settings_flags(&self) -> u32 {
        let by_nat = self.seats.iter().flatten().any(|seat| seat.server.forward == forward::NAT);
        let routed = self.value.flags & service_flags::ANSWERS_ROUTED != 0;
        let any_port = self.key.port == 0;
        let looked_for = [
            (any_port, flags::ANY_PORT),
            (by_nat, flags::NAT),
            (routed, flags::ANSWERS_ROUTED),
            (self.wanted.probed, flags::PROBES),
        ];
        looked_for.into_iter().filter_map(|(is_so, flag)| is_so.then_some(flag)).fold(0, BitOr::bitor)
    }

    /// Seats during the change: the former ones that leave, and the new ones.
    fn union(&self) -> Seats {
        let mut union = self.seats.clone();
        if let Some((_, former)) = &self.previous {
            union.resize(union.len().max(former.len()), None);
            for (seat, former) in union.iter_mut().zip(former) {
                *seat = seat.or(*former);
            }
        }
        union
    }
}

fn set_leases(targets: &mut [Target<'_>], plan: &Plan) {
    for target in targets {
        target.value.lease = plan.lease_of(&target.key.address);
    }
}

impl State {
    /// Brings the kernel to the plan.
    pub(super) fn reconcile(&mut self, now: Duration) {
        self.warnings.clear();
        self.incomplete = false;
        self.learning.clear();
        let plan = std::mem::take(&mut self.plan);
        let mut targets = self.admit_all(&plan, now);
        set_leases(&mut targets, &plan);
        let changed_rings = self.assign_rings(&mut targets, now);
        // Those too for which there was no ring: a lease whose addresses go would be asked for in vain.
        set_leases(&mut targets, &plan);
        for target in &targets {
            self.warnings.extend(warnings::of(&target.key, &target.wanted, target.pool.as_ref()));
        }

        let vips = plan::vips(targets.iter().map(|target| &target.key));
        let fenced = if plan.group_addresses.is_empty() { 0 } else { flags::LEASES };
        let flags = targets.iter().map(Target::settings_flags).fold(fenced, BitOr::bitor);
        let settings = plan.settings(flags, self.kernel.settings.as_ref());
        // Until everything is in place, what is looked for now is looked for as well.
        let installed = self.kernel.settings.map_or(0, |settings| settings.flags);
        let early = Settings { flags: settings.flags | installed, ..settings };
        if early.flags != 0 && self.kernel.settings != Some(early) {
            self.emit(Command::SetSettings(early));
        }
        self.set_group_addresses(&plan);
        self.set_destinations(&targets);
        self.set_destinations_leases(&plan);
        self.set_members(&targets, |target| target.union());
        for target in &targets {
            self.widen(target, &changed_rings);
        }
        self.publish_rings(changed_rings);
        self.set_vips(&vips);
        for target in &targets {
            self.set_service(target.key, target.value);
        }
        self.delete_services(&targets);
        self.delete_vips(&vips);
        self.delete_group_addresses(&plan);
        self.set_members(&targets, |target| target.seats.clone());
        self.remove_destinations(&targets);
        self.leave_rings();
        if self.kernel.settings != Some(settings) {
            self.emit(Command::SetSettings(settings));
        }
        self.note_tracking(&targets, now);
        self.holdings.broken.clear();
        self.plan = plan;
    }
}

/// Emission, step by step.
impl State {
    fn set_group_addresses(&mut self, plan: &Plan) {
        for (&address, &value) in &plan.group_addresses {
            if self.kernel.group_addresses.get(&address) != Some(&value) {
                self.emit(Command::SetGroupAddress { address, value });
            }
        }
    }

    fn delete_group_addresses(&mut self, plan: &Plan) {
        let installed = self.kernel.group_addresses.keys();
        let gone: Vec<Address> =
            installed.filter(|address| !plan.group_addresses.contains_key(address)).copied().collect();
        for address in gone {
            self.emit(Command::DeleteGroupAddress { address });
        }
    }

    /// One kind after the other, since the data plane writes neighbours of one kind at once.
    fn set_destinations(&mut self, targets: &[Target<'_>]) {
        for index in targets.iter().flat_map(|target| &target.fresh) {
            self.emit(Command::ZeroDestination { index: *index });
        }
        for target in targets {
            for seat in target.seats.iter().flatten() {
                let index = seat.destination;
                let former = self.kernel.destinations.get(&index).copied();
                let mut value = match former {
                    Some(former) if !target.fresh.contains(&index) => {
                        Destination { flags: former.flags & !(REMOVED | RESETS), ..former }
                    }
                    _ => new_destination(seat.server, target, former),
                };
                if target.wanted.resets.contains(&seat.server) {
                    value.flags |= RESETS;
                }
                if let Some(report) = self.next_hops.get(&seat.server.address) {
                    value = located(value, report.as_ref());
                }
                if former != Some(value) {
                    self.holdings.removed.remove(&index);
                    self.emit(Command::SetDestination { index, value });
                }
            }
        }
        for target in targets.iter().filter(|target| target.previous.is_none()) {
            self.emit(Command::ZeroService { index: target.value.index });
        }
    }

    /// Those that are removed too: their connections still get answers.
    fn set_destinations_leases(&mut self, plan: &Plan) {
        let translated = self.kernel.destinations.iter().filter(|(_, value)| value.forward == forward::NAT);
        let leased = translated.map(|(index, value)| {
            (*index, *value, Destination { lease: plan.lease_of(&value.source_address), ..*value })
        });
        let changed: Vec<(u32, Destination)> = leased
            .filter(|(_, former, value)| value != former)
            .map(|(index, _, value)| (index, value))
            .collect();
        for (index, value) in changed {
            self.emit(Command::SetDestination { index, value });
        }
    }

    fn set_members(&mut self, targets: &[Target<'_>], seats: impl Fn(&Target<'_>) -> Seats) {
        for target in targets.iter().filter(|target| target.value.member_count > 0) {
            for (chunk, value) in (target.value.members..).zip(chunks(&seats(target))) {
                if self.kernel.members.get(&chunk) != Some(&value) {
                    self.emit(Command::SetMembers { chunk, value });
                }
            }
        }
    }

    /// Lets the service see the seats that its ring is about to name.
    fn widen(&mut self, target: &Target<'_>, changed: &BTreeMap<u32, Vec<Slot>>) {
        let Some((previous, _)) = &target.previous else { return };
        let ring = ring_of(previous);
        if ring != ring_of(&target.value) || !ring.is_some_and(|ring| changed.contains_key(&ring)) {
            return;
        }
        let value = Service {
            members: target.value.members,
            member_count: previous.member_count.max(target.value.member_count),
            ..*previous
        };
        self.set_service(target.key, value);
    }

    fn set_service(&mut self, key: ServiceKey, value: Service) {
        if self.kernel.services.get(&key) != Some(&value) {
            self.emit(Command::SetService { key, value });
        }
    }

    /// Neighbours, so that the data plane publishes them in one batch.
    fn publish_rings(&mut self, rings: BTreeMap<u32, Vec<Slot>>) {
        for (ring, slots) in rings {
            self.emit(Command::SetRing { ring, slots });
        }
    }

    fn set_vips(&mut self, vips: &BTreeMap<Address, Vip>) {
        for (&address, &value) in vips {
            if self.kernel.vips.get(&address) != Some(&value) {
                self.emit(Command::SetVip { address, value });
            }
        }
    }

    fn delete_services(&mut self, targets: &[Target<'_>]) {
        let kept: BTreeSet<ServiceKey> = targets.iter().map(|target| target.key).collect();
        let gone: Vec<(ServiceKey, Service)> = self
            .kernel
            .services
            .iter()
            .filter(|(key, _)| !kept.contains(key))
            .map(|(key, service)| (*key, *service))
            .collect();
        for (key, service) in gone {
            self.emit(Command::DeleteService { key });
            // What a broken service read was set aside when it was adopted.
            if !self.holdings.broken.contains(&key) {
                self.holdings.leaving_regions.push(region_of(&service));
            }
        }
        for target in targets {
            let Some((previous, _)) = &target.previous else { continue };
            let (former, region) = (region_of(previous), region_of(&target.value));
            let left = if former.chunks == 0 || former.first != region.first || region.chunks == 0 {
                former
            } else {
                Region { first: former.first + region.chunks, chunks: former.chunks - region.chunks }
            };
            self.holdings.leaving_regions.push(left);
        }
    }

    fn delete_vips(&mut self, vips: &BTreeMap<Address, Vip>) {
        let gone: Vec<Address> =
            self.kernel.vips.keys().filter(|address| !vips.contains_key(address)).copied().collect();
        for address in gone {
            self.emit(Command::DeleteVip { address });
        }
    }

    /// Every destination that has no seat any more: its flows are steered anew.
    fn remove_destinations(&mut self, targets: &[Target<'_>]) {
        let seated: BTreeSet<u32> = targets
            .iter()
            .flat_map(|target| target.seats.iter().flatten())
            .map(|seat| seat.destination)
            .collect();
        let gone: Vec<(u32, Destination)> = self
            .kernel
            .destinations
            .iter()
            .filter(|(index, value)| !value.has(REMOVED) && !seated.contains(index))
            .map(|(index, value)| (*index, *value))
            .collect();
        for (index, value) in gone {
            self.holdings.removed.insert(index, false);
            self.emit(Command::SetDestination {
                index,
                value: Destination { flags: value.flags | REMOVED, ..value },
            });
        }
    }

    /// Rings that no service reads any more go at the next tick.
    fn leave_rings(&mut self) {
        let read: BTreeSet<u32> = self.kernel.services.values().filter_map(ring_of).collect();
        let gone = self.kernel.rings.keys().filter(|ring| !read.contains(ring));
        self.holdings.leaving_rings.extend(gone);
    }
}

/// The first value of an index under a new owner.
fn new_destination(server: Server, target: &Target<'_>, former: Option<Destination>) -> Destination {
    Destination {
        next_hop: [0; 6],
        port: server.port,
        source: [0; 6],
        mtu: 0,
        interface: 0,
        // 0 stands for "never used".
        generation: former.map_or(0, |former| former.generation).wrapping_add(1).max(1),
        address: server.address,
        // Answers of a nat server leave with the address that the client dialled.
        source_address: if server.forward == forward::NAT {
            target.key.address
        } else {
            Address::UNSPECIFIED
        },
        service: target.value.index,
        forward: server.forward,
        flags: 0,
        lease: if server.forward == forward::NAT { target.value.lease } else { Lease::NOT_NEEDED },
        reserved: 0,
    }
}
