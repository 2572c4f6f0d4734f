//! Every key of virtual routers, declared once.

use lvs_common::limits;
use serde_json::json;

use super::scalar::LinkAddress;
use crate::config::cluster::raw::Prefix;
use crate::config::cluster::scalar::Name;
use crate::config::health::raw::Delay;
use crate::config::health::scalar::Span;
use crate::config::record::{List, record};
use crate::config::scalar::{InterfaceName, Number, Switch};

/// Each has a lease.
pub(in crate::config) type Instances = List<Instance, 0, { limits::LEASES as usize - 1 }>;
/// As many as an advertisement counts.
pub(in crate::config) type Addresses = List<Address, 1, 255>;
pub(in crate::config) type Peers = List<LinkAddress, 0, 255>;
pub(in crate::config) type RouterId = Number<1, 255>;
pub(in crate::config) type Priority = Number<1, 255>;
pub(in crate::config) type VersionNumber = Number<2, 3>;
/// Version 3 has twelve bits for hundredths of a second, version 2 eight bits for seconds.
pub(in crate::config) type AdvertInterval = Span<10, 255_000>;

record! {
    /// One of `vrrp`: a virtual router.
    Instance {
        /// Its name in messages and commands.
        required name: Name;
        /// The interface on which advertisements are sent, and which gets the addresses.
        required interface: InterfaceName;
        /// The number by which the machines know it (VRID).
        required router_id: RouterId;
        /// Version of the protocol.
        default version: VersionNumber = 3;
        /// Who has the highest one is active; 255 for the owner of the addresses.
        default priority: Priority = 100;
        /// Whether it takes over from a machine of lower priority.
        default preempt: Switch = true;
        /// How long it lets such a machine go on.
        default preempt_delay: Delay = 0;
        /// Between two advertisements.
        default advert_interval: AdvertInterval = "1s";
        /// Who gets the advertisements, where the network has no multicast. `[]` for the group.
        default unicast_peers: Peers = json!([]);
        /// What the advertisements are sent from; the interface's own address if left out.
        optional source_address: LinkAddress;
        /// Whether the addresses are at the virtual router's MAC (RFC 9568 section 7.3) instead of the interface's.
        default virtual_mac: Switch = false;
        /// The addresses, all of one family.
        required addresses: Addresses;
    }
}

record! {
    /// One of `addresses` of a virtual router.
    Address {
        /// The address.
        required address: LinkAddress;
        /// Bits of its network; all, if left out.
        optional prefix: Prefix;
    }
}
