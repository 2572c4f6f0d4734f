//! Does with the addresses what the virtual routers say.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{error, info, warn};

use super::Vrrp;
use super::device::{self, Device};
use crate::cluster::identity::GroupId;
use crate::cluster::takeover::{Failure, Takeover};
use crate::config::model::{Group, VrrpInstance};
use crate::network::Network;

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
pub async fn follow(
    mut turns: UnboundedReceiver<super::Turn>,
    takeover: &Takeover,
    vrrp: &Vrrp,
    network: &Network,
) {
    while let Some(turn) = turns.recv().await {
        // Only the last turn of an instance counts, if several have come meanwhile.
        let mut last = BTreeMap::from([turn.of()]);
        while let Ok(turn) = turns.try_recv() {
            last.extend([turn.of()]);
        }
        // What goes first: an instance may have changed its device.
        let mut turns: Vec<_> = last.into_iter().collect();
        turns.sort_by_key(|(_, is_active)| *is_active);
        for ((instance, device), is_active) in turns {
            if !is_active {
                give(&instance, device.as_ref(), takeover, network).await;
            } else if let Err(error) = take(&instance, device.as_ref(), takeover, network).await {
                error!(instance, %error, "cannot serve, and rests");
                vrrp.rest(&instance, REST);
            }
        }
    }
}

/// Why the addresses could not be put up.
#[derive(Debug, thiserror::Error)]
enum Unable {
    #[error(transparent)]
    Device(#[from] device::Error),
    #[error(transparent)]
    Takeover(#[from] Failure),
}

async fn take(
    instance: &str,
    device: Option<&Device>,
    takeover: &Takeover,
    network: &Network,
) -> Result<(), Unable> {
    if let Some(device) = device {
        device.create(network).await?;
        takeover.look_at_interfaces().await?;
    }
    takeover.serve(GroupId::of(instance)).await?;
    info!(instance, "has its addresses");
    Ok(())
}

async fn give(instance: &str, device: Option<&Device>, takeover: &Takeover, network: &Network) {
    let failures = takeover.withdraw(GroupId::of(instance)).await;
    // The configuration has it no more: its addresses went with it.
    for failure in failures.iter().filter(|failure| !matches!(failure, Failure::NoGroup(_))) {
        warn!(instance, %failure, "not all of its addresses are given back");
    }
    if let Some(device) = device
        && let Err(error) = device.remove(network).await
    {
        warn!(instance, %error, "the interface with its MAC is left");
    }
}
