//! What works, but not as the operator may think.

use super::plan::{Wanted, display};
use super::rings::Pool;
use super::view::scheduler_name;
use lvs_common::service::ServiceKey;

/// Warnings about one service and the pool it gets.
pub(super) fn of(key: &ServiceKey, wanted: &Wanted, pool: Option<&Pool>) -> Vec<String> {
    let name = format!("service {} ({})", wanted.name, display(key));
    if wanted.servers.is_empty() {
        return vec![format!("{name} has no real server: clients are refused")];
    }
    if wanted.servers.values().all(|weight| *weight == 0) {
        return vec![format!("{name}: all weights are 0: new clients are refused")];
    }
    let scheduler = scheduler_name(wanted.scheduler);
    pool.and_then(Pool::coarse)
        .map(|reason| format!("{name}: {scheduler} shares are coarse: {reason}"))
        .into_iter()
        .collect()
}
