//! Does with the addresses what the virtual routers say.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{error, info, warn};

use super::Vrrp;
use crate::cluster::identity::GroupId;
use crate::cluster::takeover::{Failure, Takeover};
use crate::config::model::{Group, VrrpInstance};

/// How long others may try, where this machine could not serve.
const REST: Duration = Duration::from_secs(10);

/// What [`Takeover`] knows the instances' addresses as.
pub fn groups(instances: &[VrrpInstance]) -> Vec<Group> {
    let group = |instance: &VrrpInstance| Group {
        name: instance.name.clone(),
        order: Vec::new(),
        addresses: instance.addresses.clone(),
        resources: Vec::new(),
        fence: None,
    };
    instances.iter().map(group).collect()
}

/// Until the thread that takes the turns has ended. Never waits for more than the kernel.
pub async fn follow(mut turns: UnboundedReceiver<super::Turn>, takeover: &Takeover, vrrp: &Vrrp) {
    while let Some(turn) = turns.recv().await {
        // Only the last turn of an instance counts, if several have come meanwhile.
        let mut last = BTreeMap::from([turn.of()]);
        while let Ok(turn) = turns.try_recv() {
            last.extend([turn.of()]);
        }
        for (instance, is_active) in last {
            match is_active {
                true => take(&instance, takeover, vrrp).await,
                false => give(&instance, takeover).await,
            }
        }
    }
}

async fn take(instance: &str, takeover: &Takeover, vrrp: &Vrrp) {
    match takeover.serve(GroupId::of(instance)).await {
        Ok(()) => info!(instance, "has its addresses"),
        Err(failure) => {
            error!(instance, %failure, "cannot serve, and rests");
            vrrp.rest(instance, REST);
        }
    }
}

async fn give(instance: &str, takeover: &Takeover) {
    let failures = takeover.withdraw(GroupId::of(instance)).await;
    // The configuration has it no more: its addresses went with it.
    for failure in failures.iter().filter(|failure| !matches!(failure, Failure::NoGroup(_))) {
        warn!(instance, %failure, "not all of its addresses are given back");
    }
}
