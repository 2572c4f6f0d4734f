//! What a file would come to, without touching the kernel: `lvsctl check FILE`.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use lvs_common::connection::Bucket;
use lvs_common::ring::Slot;
use serde::{Deserialize, Serialize};

use super::view::ServiceView;
use super::{Capacity, Event, Snapshot, State};
use crate::config::model::Config;

/// A plan on fresh maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// As they would be installed; no next hop is known yet.
    pub services: Vec<ServiceView>,
    pub warnings: Vec<String>,
    pub destinations: usize,
    /// Rings after sharing.
    pub rings: usize,
    /// Kernel memory of all rings.
    pub ring_bytes: u64,
    /// Kernel memory of the connection table, which it takes at once.
    pub connection_bytes: u64,
}

impl Summary {
    pub fn of(config: &Config) -> Self {
        let capacity = Capacity::of(&config.limits);
        let mut state = State::adopt_with(Snapshot::default(), capacity);
        state.handle(Event::Desired(config.clone()), Duration::ZERO);
        let view = state.describe();
        let slots: usize = state.snapshot().rings.values().map(Vec::len).sum();
        let buckets = u64::from(config.limits.buckets());
        Self {
            destinations: state.snapshot().destinations.len(),
            rings: view.rings,
            ring_bytes: (slots * size_of::<Slot>()) as u64,
            connection_bytes: buckets * size_of::<Bucket>() as u64,
            services: view.services,
            warnings: view.warnings,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for service in &self.services {
            write!(f, "service {} {} {}", service.name, address(service), service.scheduler)?;
            if service.tracked {
                write!(f, ", tracked")?;
            }
            match service.ring {
                Some(ring) => writeln!(f, ", ring {ring} of {} slots", service.ring_slots)?,
                None => writeln!(f)?,
            }
            for destination in &service.destinations {
                writeln!(
                    f,
                    "    {} {} weight {}",
                    socket(destination.address, destination.port),
                    destination.forward,
                    destination.weight
                )?;
            }
        }
        writeln!(
            f,
            "{}, {}, {}",
            counted(self.services.len(), "service"),
            counted(self.destinations, "destination"),
            counted(self.rings, "ring")
        )?;
        writeln!(
            f,
            "memory: rings {} KiB, connection table {} MiB",
            self.ring_bytes.div_ceil(1 << 10),
            self.connection_bytes.div_ceil(1 << 20)
        )?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

/// `1 service`, `2 services`
pub(crate) fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn address(service: &ServiceView) -> String {
    format!("{}/{}", socket(service.vip, service.port), service.protocol)
}

/// `192.0.2.1:80`, `[2001:db8::1]:*`; port 0 is every port.
fn socket(address: IpAddr, port: u16) -> String {
    let port = if port == 0 { "*".to_owned() } else { port.to_string() };
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}
