//! Whether everything together fits the kernel's tables.

use std::collections::HashSet;

use lvs_common::limits as tables;
use lvs_common::service::MEMBERS_PER_CHUNK;

use super::model::{Forward, Limits, RealServer, Service};
use super::record::Reader;
use super::yaml::Place;

/// Notes at `place`, the list of services, what there is too much of.
pub(super) fn check(services: &[Service], limits: Limits, place: Place, reader: &mut Reader) {
    let members = |service: &Service| servers(service).count();
    let real_servers: usize = services.iter().map(members).sum();
    let chunks: usize =
        services.iter().map(|service| members(service).div_ceil(MEMBERS_PER_CHUNK).max(1)).sum();
    let totals = [
        (real_servers, "real servers over all services", limits.destinations, "; see limits.destinations"),
        (chunks, "groups of 16 real servers over all services", tables::MEMBER_CHUNKS, ""),
        (sources(services), "addresses and ports to be answered from", tables::SOURCES, ""),
    ];
    for (count, of_what, room, advice) in totals {
        if count > room as usize {
            let remedy = format!("expected at most {room}{advice}");
            reader.in_key("services", |reader| reader.mistake(place, format!("{count} {of_what}"), remedy));
        }
    }
}

/// Entries of `SOURCES`: each nat server's address, port and protocol, and each service's own.
fn sources(services: &[Service]) -> usize {
    let servers: HashSet<_> = services
        .iter()
        .flat_map(|service| servers(service).map(move |server| (server, service.protocol)))
        .filter(|(server, _)| server.forward == Forward::Nat)
        .map(|(server, protocol)| (server.address, server.port, protocol))
        .collect();
    servers.len() + services.len()
}

/// All that may be installed at the same time.
fn servers(service: &Service) -> impl Iterator<Item = &RealServer> {
    service.real_servers.iter().chain(&service.health.fallback)
}
