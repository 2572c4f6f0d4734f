//! Looks at what the data plane counts for evidence about real servers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lvs_common::destination::{Destination, destination_flags::REMOVED, forward};
use lvs_common::service::protocol;
use lvs_common::settings::flags;
use tracing::debug;

use super::installed::Installed;
use crate::health::{Counted, Evidence};

/// Address and port of the real servers that seem to accept no connection. Only of nat the answers are counted.
pub(super) fn suspects(evidence: &mut Evidence, installed: &Installed) -> Vec<(IpAddr, u16)> {
    let snapshot = installed.state.snapshot();
    if snapshot.settings.is_none_or(|settings| settings.flags & flags::NAT == 0) {
        return Vec::new();
    }
    let tcp: BTreeSet<u32> = snapshot
        .services
        .iter()
        .filter(|(key, _)| key.protocol == protocol::TCP)
        .map(|(_, value)| value.index)
        .collect();
    let looked_at = |destination: &Destination| {
        destination.forward == forward::NAT && !destination.has(REMOVED) && tcp.contains(&destination.service)
    };
    let destinations: Vec<_> =
        snapshot.destinations.iter().filter(|(_, destination)| looked_at(destination)).collect();
    let [Some(first), Some(last)] =
        [destinations.first(), destinations.last()].map(|found| found.map(|(index, _)| **index))
    else {
        return Vec::new();
    };
    let counters = match installed.dataplane.readback().counters(first..last + 1) {
        Ok(counters) => counters,
        Err(error) => {
            debug!(%error, "no evidence from the data plane");
            return Vec::new();
        }
    };
    let counted = destinations.iter().map(|(index, destination)| Counted {
        index: **index,
        generation: destination.generation,
        is_ipv4: destination.address.is_v4(),
        counters: counters[(**index - first) as usize],
    });
    let suspects = evidence.weigh(counted);
    let suspects = suspects.iter().filter_map(|index| snapshot.destinations.get(index));
    suspects.map(|destination| (destination.address.into(), destination.port)).collect()
}
