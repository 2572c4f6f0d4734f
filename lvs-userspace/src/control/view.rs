//! What is installed and wanted, for the API and the command line.

use std::net::IpAddr;

use lvs_common::destination::{Destination, destination_flags, forward};
use lvs_common::service::{Service, ServiceKey, owner, protocol, scheduler};
use serde::{Deserialize, Serialize};

use super::mirror::{Seat, ring_of};
use super::plan::{Wanted, display};
use super::state::State;

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub services: Vec<ServiceView>,
    pub warnings: Vec<String>,
    /// Destinations whose flows are not over yet although they were removed.
    pub removed_destinations: usize,
    pub rings: usize,
}

/// One installed service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    pub name: String,
    pub vip: IpAddr,
    /// 0 = all ports.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// As in the configuration: `rr`, `wrr`, `lc`, `wlc`, `sh`, `dh`, `mh`.
    pub scheduler: String,
    /// Every flow has an entry in the connection table.
    pub tracked: bool,
    /// `file` or `command-line`.
    pub owner: String,
    /// Index in `SERVICE_STATES`.
    pub index: u32,
    /// Index in the outer map of its size; lc and wlc have none, nor has a service that nobody serves.
    pub ring: Option<u32>,
    pub ring_slots: u32,
    /// Slots in which a change is under way: old flows are with another destination than new ones.
    pub dual_slots: u32,
    pub destinations: Vec<DestinationView>,
}

/// One destination of an installed service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationView {
    pub address: IpAddr,
    /// Port on the real server; 0 = the one the client dialled.
    pub port: u16,
    /// `dr`, `nat`, `ipip` or `local`.
    pub forward: String,
    /// 0 = takes no new flow.
    pub weight: u32,
    /// Index in `DESTINATIONS`, `LOADS` and `COUNTERS`.
    pub index: u32,
    pub generation: u32,
    pub position: u16,
    /// `None` while no MAC is known: the kernel's routes are asked for every packet then.
    pub next_hop: Option<NextHopView>,
    pub behind_router: bool,
    /// Largest IP packet the path takes, in bytes; 0 = unknown.
    pub mtu: u16,
    /// It is down, and its connections are reset.
    pub resets: bool,
}

/// Where a destination's frames go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopView {
    pub interface: u32,
    /// `02:00:00:00:00:01`.
    pub mac: String,
}

impl State {
    /// The services as installed, under the names of the plan.
    pub fn describe(&self) -> View {
        let services = self.kernel.services.iter().map(|(key, service)| self.service_view(key, service));
        View {
            services: services.collect(),
            warnings: self.warnings.clone(),
            removed_destinations: self.holdings.removed.len(),
            rings: self.kernel.rings.len(),
        }
    }

    fn service_view(&self, key: &ServiceKey, service: &Service) -> ServiceView {
        let wanted = self.plan.services.get(key);
        let ring = ring_of(service);
        let slots = ring.and_then(|ring| self.kernel.rings.get(&ring));
        let seats = self.kernel.seats(service).unwrap_or_default();
        ServiceView {
            name: wanted.map_or_else(|| display(key), |wanted| wanted.name.clone()),
            vip: IpAddr::from(key.address),
            port: key.port,
            protocol: protocol_name(key.protocol).to_owned(),
            scheduler: scheduler_name(service.scheduler).to_owned(),
            tracked: service.is_tracked(),
            owner: owner_name(service.owner).to_owned(),
            index: service.index,
            ring,
            ring_slots: if ring.is_some() { service.ring_slots } else { 0 },
            dual_slots: slots.map_or(0, |slots| slots.iter().filter(|slot| slot.is_dual()).count() as u32),
            destinations: (0..)
                .zip(seats)
                .filter_map(|(position, seat)| self.destination_view(wanted, position, &seat?))
                .collect(),
        }
    }

    fn destination_view(
        &self,
        wanted: Option<&Wanted>,
        position: u16,
        seat: &Seat,
    ) -> Option<DestinationView> {
        let destination = self.kernel.destinations.get(&seat.destination)?;
        let configured = wanted.and_then(|wanted| wanted.servers.get(&seat.server));
        Some(DestinationView {
            address: IpAddr::from(destination.address),
            port: destination.port,
            forward: forward_name(destination.forward).to_owned(),
            weight: configured.copied().unwrap_or(seat.weight),
            index: seat.destination,
            generation: destination.generation,
            position,
            next_hop: next_hop_view(destination),
            behind_router: destination.has(destination_flags::BEHIND_ROUTER),
            mtu: destination.mtu,
            resets: destination.has(destination_flags::RESETS),
        })
    }
}

fn next_hop_view(destination: &Destination) -> Option<NextHopView> {
    destination.has(destination_flags::NEXT_HOP_KNOWN).then(|| {
        let [a, b, c, d, e, f] = destination.next_hop;
        NextHopView {
            interface: destination.interface,
            mac: format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
        }
    })
}

pub(super) const fn protocol_name(number: u8) -> &'static str {
    match number {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        _ => "unknown",
    }
}

pub(super) const fn scheduler_name(number: u8) -> &'static str {
    match number {
        scheduler::RR => "rr",
        scheduler::WRR => "wrr",
        scheduler::LC => "lc",
        scheduler::WLC => "wlc",
        scheduler::SH => "sh",
        scheduler::DH => "dh",
        scheduler::MH => "mh",
        _ => "unknown",
    }
}

pub(super) const fn forward_name(number: u8) -> &'static str {
    match number {
        forward::DR => "dr",
        forward::NAT => "nat",
        forward::IPIP => "ipip",
        forward::LOCAL => "local",
        _ => "unknown",
    }
}

const fn owner_name(number: u8) -> &'static str {
    match number {
        owner::FILE => "file",
        owner::COMMAND_LINE => "command-line",
        _ => "unknown",
    }
}
