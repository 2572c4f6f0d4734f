//! Whether everything together fits the kernel's tables.

use lvs_common::limits as tables;
use lvs_common::service::MEMBERS_PER_CHUNK;

use super::model::{Limits, RealServer, Service};
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
    ];
    for (count, of_what, room, advice) in totals {
        if count > room as usize {
            let remedy = format!("expected at most {room}{advice}");
            reader.in_key("services", |reader| reader.mistake(place, format!("{count} {of_what}"), remedy));
        }
    }
}

/// All that may be installed at the same time.
fn servers(service: &Service) -> impl Iterator<Item = &RealServer> {
    service.real_servers.iter().chain(&service.health.fallback)
}
