//! The interface that has a virtual router's MAC (RFC 9568 section 7.3): a macvlan beside the one that advertisements
//! are sent on. It is there as long as this machine is active, and has the addresses; so the kernel answers for them
//! with that MAC, and the card takes frames for it in.
//!
//! Nothing of XDP is on it: the program on the interface below sees each frame first, whatever MAC it is for.

use std::net::IpAddr;

use rtnetlink::packet_route::link::MacVlanMode;
use rtnetlink::{LinkMacVlan, LinkUnspec};
use tracing::{info, warn};

use crate::changes::{self, sysctl};
use crate::config::model::VrrpInstance;
use crate::network::{self, Mac, Network, request_failed};

/// IANA's, with the VRID as the last byte (RFC 9568 section 7.3).
const PREFIX_V4: [u8; 5] = [0x00, 0x00, 0x5e, 0x00, 0x01];
const PREFIX_V6: [u8; 5] = [0x00, 0x00, 0x5e, 0x00, 0x02];

/// Settings of the kernel that it gets, below `net/`, in this order.
const SETTINGS: [(&str, &str, u32); 7] = [
    // The way back to clients does not lead over it, and may differ so.
    ("ipv4", "rp_filter", 2),
    // What takeover wants of each interface: it finds them as they should be, and has nothing to put back.
    ("ipv4", "arp_ignore", 1),
    ("ipv4", "arp_announce", 2),
    ("ipv4", "promote_secondaries", 1),
    // No address made of its MAC, which other machines have too.
    ("ipv6", "addr_gen_mode", 1),
    // Nor of a router's advertisement.
    ("ipv6", "accept_ra", 0),
    ("ipv6", "autoconf", 0),
];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    pub name: String,
    /// The interface below.
    pub parent: String,
    pub mac: Mac,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Settings(#[from] changes::Error),
}

impl Device {
    /// Of a virtual router that has one.
    pub fn of(instance: &VrrpInstance) -> Option<Self> {
        let address = instance.addresses.first().filter(|_| instance.virtual_mac)?;
        let (name, parent) = (address.interface.clone(), instance.interface.clone());
        Some(Self { name, parent, mac: mac(instance.router_id, address.address) })
    }

    /// Made anew, and switched on.
    pub(super) async fn create(&self, network: &Network) -> Result<(), Error> {
        self.remove(network).await?;
        let parent = network.interface_index(&self.parent).await?;
        // In this mode the interface below hears, too, what another machine says from the same MAC.
        let message = LinkMacVlan::new(&self.name, parent, MacVlanMode::Vepa);
        let request = network.handle().link().add(message.address(self.mac.to_vec()).build());
        request.execute().await.map_err(request_failed(format!("add interface {}", self.name)))?;
        for (family, setting, value) in SETTINGS {
            let name = format!("net/{family}/conf/{}/{setting}", self.name);
            // A kernel without IPv6 has none of its settings.
            if sysctl::read(&name).is_ok() {
                sysctl::write(&name, value)?;
            }
        }
        let index = network.interface_index(&self.name).await?;
        let up = LinkUnspec::new_with_index(index).up().build();
        let request = network.handle().link().set(up);
        request.execute().await.map_err(request_failed(format!("switch interface {} on", self.name)))?;
        Ok(())
    }

    /// With what is on it; nothing happens where there is none.
    pub(super) async fn remove(&self, network: &Network) -> Result<(), network::Error> {
        match network.interface_index(&self.name).await {
            Ok(index) => delete(network, index, &self.name).await,
            Err(network::Error::NoInterface { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Removes what an earlier life has left: whoever begins holds nothing.
pub async fn sweep(network: &Network) -> Result<(), network::Error> {
    for link in network.links().await? {
        let is_ours = |family, prefix: [u8; 5]| {
            let id = link.mac.filter(|mac| mac[..5] == prefix).map(|mac| mac[5]);
            id.is_some_and(|id| link.name == VrrpInstance::virtual_interface(id, family))
        };
        if is_ours(false, PREFIX_V4) || is_ours(true, PREFIX_V6) {
            info!(interface = link.name, "removed: left by an earlier life");
            if let Err(error) = delete(network, link.index, &link.name).await {
                warn!("{error}");
            }
        }
    }
    Ok(())
}

async fn delete(network: &Network, index: u32, name: &str) -> Result<(), network::Error> {
    let request = network.handle().link().del(index);
    request.execute().await.map_err(request_failed(format!("remove interface {name}")))
}

fn mac(router_id: u8, family: IpAddr) -> Mac {
    let [a, b, c, d, e] = if family.is_ipv4() { PREFIX_V4 } else { PREFIX_V6 };
    [a, b, c, d, e, router_id]
}
