//! The VIP on lo.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressMessage;
use tracing::info;

use super::Error;
use crate::changes::journal::Journal;
use crate::changes::{Change, Target};
use crate::network::{self, Network, request_failed};

const LOOPBACK: &str = "lo";

/// Adds the address, unless it is there already; then it is somebody else's to remove.
pub(super) async fn add(network: &Network, journal: &mut Journal, vip: IpAddr) -> Result<(), Error> {
    let loopback = network.interface_index(LOOPBACK).await?;
    let target = Target::Address(vip);
    if let Some(found) = find(network, vip).await? {
        let (index, length) = (found.header.index, found.header.prefix_len);
        if index != loopback {
            let interface = network.interface_name(index).await?;
            return Err(Error::VipElsewhere { vip, interface, length });
        }
        journal.keep(&target);
        return Ok(());
    }
    journal.record(Change { target, before: None, after: None })?;
    let mut request = network.handle().address().add(loopback, vip, host_length(vip));
    if vip.is_ipv6() {
        network::make_virtual(request.message_mut());
    }
    let failed = request_failed(format!("add {vip} to {LOOPBACK}"));
    Ok(request.execute().await.map_err(failed)?)
}

pub(super) async fn remove(network: &Network, vip: IpAddr) -> Result<(), Error> {
    let loopback = network.interface_index(LOOPBACK).await?;
    match find(network, vip).await? {
        Some(found) if found.header.index == loopback && found.header.prefix_len == host_length(vip) => {
            let failed = request_failed(format!("remove {vip} from {LOOPBACK}"));
            Ok(network.handle().address().del(found).execute().await.map_err(failed)?)
        }
        _ => {
            info!(%vip, "removed by somebody else already");
            Ok(())
        }
    }
}

async fn find(network: &Network, vip: IpAddr) -> Result<Option<AddressMessage>, network::Error> {
    let answers = network.handle().address().get().set_address_filter(vip).execute();
    let found: Vec<_> = answers.try_collect().await.map_err(request_failed("read the addresses"))?;
    Ok(found.into_iter().next())
}

const fn host_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}
