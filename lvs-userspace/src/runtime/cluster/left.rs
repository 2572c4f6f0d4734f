//! What an earlier life of this director has left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lvs_common::lease::Lease;
use lvs_common::limits;

use super::promises::Promises;
use super::terms::Terms;
use crate::cluster::election::Inherited;
use crate::cluster::identity::GroupId;
use crate::config::model::Cluster as Plan;
use crate::dataplane::LeaseWriter;
use crate::runtime::Error;

/// What an earlier life has left, looked at before packets meet this one's configuration.
pub(in crate::runtime) struct Left {
    pub(super) directory: PathBuf,
    pub(super) terms: Terms,
    pub(super) promises: Promises,
    pub(super) inherited: Vec<Inherited>,
}

/// Ends the leases that this configuration has for another group or none. Must come before its services.
pub(in crate::runtime) fn leases_left(
    plan: &Plan,
    instance: &str,
    writer: &LeaseWriter,
) -> Result<Left, Error> {
    let directory = Path::new("/run").join(instance);
    let terms = Terms::open(&directory);
    let mut inherited = Vec::new();
    for index in (1..limits::LEASES).filter_map(|index| u8::try_from(index).ok()) {
        let group = plan.groups.get(usize::from(index) - 1);
        let term = group.and_then(|group| terms.of(&group.name)).filter(|term| term.lease == index);
        let lease = writer.read(index)?;
        match (group, term) {
            (Some(group), Some(term)) => inherited.push(Inherited {
                group: GroupId::of(&group.name),
                epoch: term.epoch,
                ends: Duration::from_nanos(lease.ends),
            }),
            _ if lease != Lease::NONE => writer.write(index, Lease::NONE)?,
            _ => {}
        }
    }
    let promises = Promises::open(&directory);
    Ok(Left { directory, terms, promises, inherited })
}
