//! Does with the addresses what the virtual routers say.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{error, info, warn};

use super::{Turn, Vrrp};
use crate::cluster::identity::GroupId;
use crate::cluster::takeover::Takeover;
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
pub async fn follow(mut turns: UnboundedReceiver<Turn>, takeover: &Takeover, vrrp: &Vrrp) {
    while let Some(turn) = turns.recv().await {
        match turn {
            Turn::Take { instance } => {
                let Err(failure) = takeover.serve(GroupId::of(&instance)).await else {
                    info!(instance, "has its addresses");
                    continue;
                };
                error!(instance, %failure, "cannot serve, and rests");
                vrrp.rest(&instance, REST);
            }
            Turn::Give { instance } => {
                for failure in takeover.withdraw(GroupId::of(&instance)).await {
                    warn!(instance, %failure, "not all of its addresses are given back");
                }
            }
        }
    }
}
