//! Where a real server is on the network, as `control` needs to know it.

use std::net::IpAddr;

use lvs_common::address::Address;
use lvs_common::destination::{Destination, destination_flags, forward};

/// How packets for one real server leave this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the interface the packet leaves by.
    pub interface: u32,
    /// MAC of that interface.
    pub source_mac: [u8; 6],
    /// MAC of the real server, or of the router on the way to it; `None` while nobody answers for it.
    pub next_hop_mac: Option<[u8; 6]>,
    /// A router stands between this machine and the real server.
    pub behind_router: bool,
    /// Largest IP packet the route takes, in bytes.
    pub mtu: u32,
    /// The address this machine itself would send from; `None` where the interface has none.
    pub source_address: Option<IpAddr>,
}

impl NextHop {
    /// Writes what is known into `destination`. Without a MAC the data plane asks the kernel's routes for
    /// every packet, so the fields of the frame stay empty.
    fn write(&self, destination: &mut Destination) {
        destination.interface = self.interface;
        // No IP packet without a jumbogram option (RFC 2675) is larger.
        destination.mtu = u16::try_from(self.mtu).unwrap_or(u16::MAX);
        if destination.forward != forward::NAT {
            destination.source_address = self.source_address.map_or(Address::UNSPECIFIED, Address::from);
        }
        if self.behind_router {
            destination.flags |= destination_flags::BEHIND_ROUTER;
        }
        if let Some(mac) = self.next_hop_mac {
            destination.flags |= destination_flags::NEXT_HOP_KNOWN;
            destination.next_hop = mac;
            destination.source = self.source_mac;
        }
    }
}

/// `destination` with the latest report about its real server in place of the former one.
pub(super) fn located(mut destination: Destination, report: Option<&NextHop>) -> Destination {
    destination.flags &= !(destination_flags::NEXT_HOP_KNOWN | destination_flags::BEHIND_ROUTER);
    destination.next_hop = [0; 6];
    destination.source = [0; 6];
    destination.mtu = 0;
    destination.interface = 0;
    if destination.forward != forward::NAT {
        destination.source_address = Address::UNSPECIFIED;
    }
    // The director's own stack has no next hop.
    if destination.forward != forward::LOCAL
        && let Some(next_hop) = report
    {
        next_hop.write(&mut destination);
    }
    destination
}
