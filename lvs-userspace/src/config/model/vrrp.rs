//! Virtual routers: addresses that VRRP moves between machines.

use std::net::IpAddr;
use std::time::Duration;

use super::GroupAddress;

/// One virtual router in which this machine takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpInstance {
    /// Distinct by name.
    pub name: String,
    /// Distinct by interface, router id and family.
    pub interface: String,
    /// 1 to 255; the same on all machines of the virtual router.
    pub router_id: u8,
    pub version: VrrpVersion,
    /// 1 to 255, which is that of the owner of the addresses.
    pub priority: u8,
    /// Whether it takes over from a machine of lower priority.
    pub preempt: bool,
    /// After how long it does so.
    pub preempt_delay: Duration,
    /// Between two advertisements: hundredths of a second in version 3, seconds in version 2.
    pub advert_interval: Duration,
    /// Who gets the advertisements; the family's group if empty.
    pub unicast_peers: Vec<IpAddr>,
    /// Of the advertisements; the interface's own if `None`.
    pub source_address: Option<IpAddr>,
    /// Whether the addresses are at the virtual router's MAC instead of the interface's.
    pub virtual_mac: bool,
    /// Of one family, 1 to 255 of them, on `interface` or on the one that has the virtual MAC; no address is in two
    /// instances.
    pub addresses: Vec<GroupAddress>,
}

impl VrrpInstance {
    /// What the interface with the virtual MAC is called.
    pub fn virtual_interface(router_id: u8, is_ipv6: bool) -> String {
        format!("vmac{}.{router_id}", if is_ipv6 { 6 } else { 4 })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VrrpVersion {
    /// RFC 3768: IPv4 only.
    V2,
    /// RFC 9568.
    V3,
}

impl VrrpVersion {
    pub const fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}
