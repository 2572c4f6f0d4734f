//! The configuration, as the election wants it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::cluster::election::{GroupSettings, Settings};
use crate::cluster::identity::{GroupId, NodeId};
use crate::config::model::{Cluster as Plan, Failback};

pub(super) fn settings(plan: &Plan, own: NodeId) -> Settings {
    let timing = plan.timing;
    Settings {
        node: own,
        life: new_life(),
        peers: plan.nodes.iter().map(|node| NodeId::of(&node.name)).filter(|node| *node != own).collect(),
        voter: plan.voter.as_ref().map(|voter| NodeId::of(&voter.name)),
        keepalive: timing.keepalive,
        deadtime: timing.deadtime,
        initdead: timing.initdead,
        failback: match plan.auto_failback {
            Failback::Off => None,
            Failback::After(delay) => Some(delay),
        },
        groups: plan
            .groups
            .iter()
            .map(|group| GroupSettings {
                group: GroupId::of(&group.name),
                order: group.order.iter().map(|name| NodeId::of(name)).collect(),
                fences: group.fence.is_some(),
            })
            .collect(),
    }
}

/// No two lives of one director have the same: the time, and what the kernel makes up for each process.
pub fn new_life() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RandomState::new().hash_one((time, std::process::id()))
}
