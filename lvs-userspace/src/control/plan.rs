//! What the owners of services want, in the terms of the data plane: no names of files, no indices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lvs_common::address::Address;
use lvs_common::connection::ticks;
use lvs_common::destination::{Destination, forward};
use lvs_common::lease::{GroupAddress, Lease};
use lvs_common::service::{ServiceKey, Vip, owner, scheduler, service_flags};
use lvs_common::settings::Settings;
use lvs_common::tcp_state::state;

use crate::config::model::{self, Config};

/// Identity of a real server within a service. A change of any field is another destination. The order
/// is the canonical one: fresh services seat their servers in it, so that equal pools agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Server {
    pub address: Address,
    pub port: u16,
    /// One of [`forward`].
    pub forward: u8,
}

impl Server {
    pub(super) fn of(destination: &Destination) -> Self {
        Self { address: destination.address, port: destination.port, forward: destination.forward }
    }
}

/// One service as its owner wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub name: String,
    /// One of [`owner`].
    pub owner: u8,
    /// One of [`scheduler`].
    pub scheduler: u8,
    pub tracked: bool,
    /// Probes of its real servers take the path of the clients' packets.
    pub probed: bool,
    /// Weights; 0 = no new flow.
    pub servers: BTreeMap<Server, u32>,
    /// Those of which the connections are reset.
    pub resets: BTreeSet<Server>,
}

impl Wanted {
    fn has_server(&self, forward: u8) -> bool {
        self.servers.keys().any(|server| server.forward == forward)
    }

    /// Some server answers by itself; where the director is its gateway, the answer is routed.
    fn answers_routed(&self) -> bool {
        self.has_server(forward::DR) || self.has_server(forward::IPIP)
    }

    /// [`Service::flags`](lvs_common::service::Service::flags), `tracked` as the transition wants it now.
    pub(super) fn flags(&self, tracked: bool) -> u8 {
        let mut flags = if tracked { service_flags::TRACKED } else { 0 };
        if self.answers_routed() {
            flags |= service_flags::ANSWERS_ROUTED;
        }
        flags
    }
}

/// All services, whoever owns them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub timeouts: model::Timeouts,
    /// Addresses that need a lease.
    pub group_addresses: BTreeMap<Address, GroupAddress>,
    pub services: BTreeMap<ServiceKey, Wanted>,
}

impl Plan {
    /// Replaces what the file owns by `config`, and leaves the rest alone.
    pub(super) fn replace_file(&mut self, config: &Config) {
        self.timeouts = config.timeouts;
        self.group_addresses = group_addresses(config);
        self.services.retain(|_, wanted| wanted.owner != owner::FILE);
        for service in &config.services {
            self.services.insert(key_of(service), Wanted::from(service));
        }
    }

    /// Index in `LEASES` of the address's group, or [`Lease::NOT_NEEDED`].
    pub(super) fn lease_of(&self, address: &Address) -> u8 {
        let lease = self.group_addresses.get(address).map(|group| group.lease);
        // Beyond the last index is no lease that could be held.
        lease.map_or(Lease::NOT_NEEDED, |lease| u8::try_from(lease).unwrap_or(u8::MAX))
    }

    /// `installed`: what the kernel has now. The shape of the connection table stays as it is there, since
    /// the data plane sets it to what the maps were created with.
    /// `flags`: what the services that will be installed ask for.
    pub(super) fn settings(&self, flags: u32, installed: Option<&Settings>) -> Settings {
        let mut settings = Settings::defaults();
        if let Some(&Settings { embryonic_slots, buckets, connections, seed, .. }) = installed {
            settings = Settings { embryonic_slots, buckets, connections, seed, ..settings };
        }
        // The three that `ipvsadm --set` knows; the other states keep IPVS's own times.
        for (index, seconds) in [
            (state::ESTABLISHED, self.timeouts.tcp),
            (state::FIN_WAIT, self.timeouts.tcp_fin),
            (state::UDP, self.timeouts.udp),
        ] {
            settings.timeouts[index as usize] = ticks::from_seconds(seconds);
        }
        Settings { flags, ..settings }
    }
}

/// Leases are numbered as the groups, or the virtual routers, stand in the file, from 1 on.
fn group_addresses(config: &Config) -> BTreeMap<Address, GroupAddress> {
    (1..)
        .zip(config.moving())
        .flat_map(|(lease, addresses)| {
            addresses.iter().map(move |own| (Address::from(own.address), GroupAddress { lease }))
        })
        .collect()
}

/// Addresses that at least one service listens on.
pub(super) fn vips<'a>(services: impl Iterator<Item = &'a ServiceKey>) -> BTreeMap<Address, Vip> {
    let mut vips = BTreeMap::new();
    for key in services {
        vips.entry(key.address).or_insert(Vip { services: 0 }).services += 1;
    }
    vips
}

pub(super) fn key_of(service: &model::Service) -> ServiceKey {
    ServiceKey::new(Address::from(service.vip), service.port, service.protocol.number())
}

impl From<&model::Service> for Wanted {
    fn from(service: &model::Service) -> Self {
        let servers: BTreeMap<Server, u32> = service
            .real_servers
            .iter()
            .map(|real_server| (Server::from(real_server), real_server.weight))
            .collect();
        let down = service.real_servers.iter().filter(|real_server| real_server.resets);
        let translated = servers.keys().any(|server| server.forward == forward::NAT);
        Self {
            name: service.name.clone(),
            owner: owner::FILE,
            scheduler: scheduler_number(service.scheduler),
            tracked: service.track_always || translated || !service.scheduler.is_hashing(),
            probed: service.health.probes_the_path,
            servers,
            resets: down.map(Server::from).collect(),
        }
    }
}

impl From<&model::RealServer> for Server {
    fn from(real_server: &model::RealServer) -> Self {
        Self {
            address: Address::from(real_server.address),
            port: real_server.port,
            forward: forward_number(real_server.forward),
        }
    }
}

const fn scheduler_number(scheduler: model::Scheduler) -> u8 {
    match scheduler {
        model::Scheduler::Rr => scheduler::RR,
        model::Scheduler::Wrr => scheduler::WRR,
        model::Scheduler::Lc => scheduler::LC,
        model::Scheduler::Wlc => scheduler::WLC,
        model::Scheduler::Sh => scheduler::SH,
        model::Scheduler::Dh => scheduler::DH,
        model::Scheduler::Mh => scheduler::MH,
    }
}

const fn forward_number(forward: model::Forward) -> u8 {
    match forward {
        model::Forward::Dr => forward::DR,
        model::Forward::Nat => forward::NAT,
        model::Forward::Ipip => forward::IPIP,
        model::Forward::Local => forward::LOCAL,
    }
}

/// `192.0.2.1:80/tcp`, `[2001:db8::1]:53/udp`.
pub(super) fn display(key: &ServiceKey) -> String {
    let protocol = super::view::protocol_name(key.protocol);
    match IpAddr::from(key.address) {
        IpAddr::V4(address) => format!("{address}:{}/{protocol}", key.port),
        IpAddr::V6(address) => format!("[{address}]:{}/{protocol}", key.port),
    }
}
