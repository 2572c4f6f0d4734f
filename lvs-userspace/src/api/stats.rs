//! Counters and loads, put to the services they belong to.

use std::ops::Range;

use lvs_common::cause::Verdict;
use lvs_common::counters::Counters;
use lvs_common::destination::Load;

use super::model::{CauseStats, DestinationStats, ServiceStats, Services, Stats, Traffic};
use super::overview::Overview;
use crate::dataplane::{MapError, Readback, monotonic_nanoseconds};

pub(super) fn services(overview: &Overview, readback: &Readback) -> Result<Services, MapError> {
    let loads = readback.loads(0..overview.destinations_end())?;
    let mut services: Vec<_> = overview.services().collect();
    for (service, view) in services.iter_mut().zip(&overview.view.services) {
        for (destination, view) in service.destinations.iter_mut().zip(&view.destinations) {
            if let Some(load) = loads.get(view.index as usize) {
                (destination.active, destination.inactive) = (load.active, load.inactive);
            }
        }
    }
    Ok(Services { services, interfaces: overview.interfaces() })
}

pub(super) fn stats(overview: &Overview, readback: &Readback) -> Result<Stats, MapError> {
    let all: Range<u32> = 0..overview.destinations_end();
    let (counters, loads) = (readback.counters(all.clone())?, readback.loads(all)?);
    let monotonic_nanoseconds = monotonic_nanoseconds();
    let services = overview.view.services.iter().map(|service| {
        let destinations: Vec<_> = service
            .destinations
            .iter()
            .map(|destination| {
                let index = destination.index as usize;
                let load = loads.get(index).copied().unwrap_or(Load { active: 0, inactive: 0 });
                DestinationStats {
                    address: destination.address,
                    port: destination.port,
                    forward: destination.forward.clone(),
                    active: load.active,
                    inactive: load.inactive,
                    traffic: counters.get(index).copied().unwrap_or(Counters::ZERO).into(),
                }
            })
            .collect();
        ServiceStats {
            name: service.name.clone(),
            vip: service.vip,
            port: service.port,
            protocol: service.protocol.clone(),
            traffic: destinations.iter().map(|destination| destination.traffic).sum(),
            destinations,
        }
    });
    let causes = readback.causes()?.into_iter().map(|(cause, packets)| CauseStats {
        name: cause.name().to_owned(),
        description: cause.description().trim().to_owned(),
        verdict: match cause.verdict() {
            Verdict::Pass => "pass",
            Verdict::Drop => "drop",
            Verdict::Answer => "answer",
            Verdict::Note => "note",
        }
        .to_owned(),
        packets,
    });
    Ok(Stats { monotonic_nanoseconds, services: services.collect(), causes: causes.collect() })
}

impl From<Counters> for Traffic {
    fn from(counters: Counters) -> Self {
        let Counters { connections, packets_in, bytes_in, packets_out, bytes_out } = counters;
        Self { connections, packets_in, bytes_in, packets_out, bytes_out }
    }
}

impl std::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            connections: sum.connections + one.connections,
            packets_in: sum.packets_in + one.packets_in,
            bytes_in: sum.bytes_in + one.bytes_in,
            packets_out: sum.packets_out + one.packets_out,
            bytes_out: sum.bytes_out + one.bytes_out,
        })
    }
}
