//! The agent's state at one moment, as its task hands it out.

use std::path::PathBuf;
use std::time::Duration;

use lvs_common::LAYOUT_VERSION;
use lvs_common::settings::Settings;

use super::model;
use crate::control::view::{DestinationView, ServiceView, View};
use crate::dataplane::{AttachMode, Attachment};

#[derive(Clone, Debug)]
pub struct Overview {
    pub instance: String,
    pub config: PathBuf,
    pub uptime: Duration,
    pub view: View,
    pub attachments: Vec<Attachment>,
    pub settings: Settings,
    /// About the machine and the start; those about the plan are in the view.
    pub warnings: Vec<String>,
    pub usage: Usage,
    pub reloads: Reloads,
    /// How often everything that may happen to real servers did happen.
    pub events: Vec<(&'static str, u64)>,
}

/// Of the configuration, since the agent's start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reloads {
    pub succeeded: u64,
    pub failed: u64,
}

/// How full the tables are. Connections are those of the last sweep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub embryonic: u64,
    pub established: u64,
    pub embryonic_capacity: u32,
    pub established_capacity: u32,
    pub destination_capacity: u32,
}

impl Overview {
    pub(super) fn services(&self) -> impl Iterator<Item = model::Service> {
        self.view.services.iter().map(service)
    }

    pub(super) fn interfaces(&self) -> Vec<model::Interface> {
        self.attachments
            .iter()
            .map(|attachment| model::Interface {
                name: attachment.interface.clone(),
                index: attachment.index,
                mode: match attachment.mode {
                    AttachMode::Native => "native".to_owned(),
                    AttachMode::Generic => "generic".to_owned(),
                },
            })
            .collect()
    }

    /// One past the highest index in `DESTINATIONS` that a service uses.
    pub(super) fn destinations_end(&self) -> u32 {
        let destinations = self.view.services.iter().flat_map(|service| &service.destinations);
        destinations.map(|destination| destination.index + 1).max().unwrap_or(0)
    }

    pub(super) fn status(&self) -> model::Status {
        let destinations: usize = self.view.services.iter().map(|service| service.destinations.len()).sum();
        let table = |name: &str, used: u64, capacity: u32| model::Table {
            name: name.to_owned(),
            used,
            capacity: u64::from(capacity),
        };
        let usage = &self.usage;
        let used = destinations + self.view.removed_destinations;
        model::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layout: LAYOUT_VERSION,
            instance: self.instance.clone(),
            pid: std::process::id(),
            config: self.config.display().to_string(),
            uptime_seconds: self.uptime.as_secs(),
            interfaces: self.interfaces(),
            services: self.view.services.len(),
            tables: vec![
                table("connections", usage.established, usage.established_capacity),
                table("embryonic", usage.embryonic, usage.embryonic_capacity),
                table("destinations", used as u64, usage.destination_capacity),
                table("rings", self.view.rings as u64, lvs_common::limits::RINGS),
            ],
            warnings: self.warnings.iter().chain(&self.view.warnings).cloned().collect(),
        }
    }
}

fn service(view: &ServiceView) -> model::Service {
    model::Service {
        name: view.name.clone(),
        vip: view.vip,
        port: view.port,
        protocol: view.protocol.clone(),
        scheduler: view.scheduler.clone(),
        tracked: view.tracked,
        owner: view.owner.clone(),
        ring_slots: view.ring_slots,
        dual_slots: view.dual_slots,
        destinations: view.destinations.iter().map(destination).collect(),
    }
}

fn destination(view: &DestinationView) -> model::Destination {
    model::Destination {
        address: view.address,
        port: view.port,
        forward: view.forward.clone(),
        weight: view.weight,
        active: 0,
        inactive: 0,
        next_hop: view
            .next_hop
            .as_ref()
            .map(|hop| model::NextHop { interface: hop.interface, mac: hop.mac.clone() }),
        behind_router: view.behind_router,
        mtu: view.mtu,
        resets: view.resets,
    }
}
