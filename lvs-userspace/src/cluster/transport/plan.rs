//! Which paths a cluster has.

use std::net::{IpAddr, SocketAddr};

use super::{Error, Kind, serial, udp};
use crate::cluster::identity::NodeId;
use crate::config::model::{Cluster, HeartbeatPath};

/// How to open a path.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    Udp(udp::Plan),
    Serial(serial::Plan),
}

/// Name, kind and plan of every path: addresses first, then those of the file, then the voter.
pub(super) fn paths(cluster: &Cluster, own: NodeId) -> Result<Vec<(String, Kind, Plan)>, Error> {
    let node = cluster.nodes.iter().find(|node| NodeId::of(&node.name) == own).ok_or(Error::NoNode(own))?;
    let with_port = |address: IpAddr| SocketAddr::new(address, cluster.port);
    let by_address = node.addresses.iter().enumerate().map(|(position, address)| {
        let others = cluster.nodes.iter().filter(|other| other.name != node.name);
        let peers =
            others.filter_map(|other| other.addresses.get(position)).copied().map(with_port).collect();
        let plan = udp::Plan::unicast(with_port(*address), peers);
        (format!("from {address}"), Kind::Unicast, Plan::Udp(plan))
    });
    let by_path = cluster.paths.iter().map(|path| match path {
        HeartbeatPath::Multicast { interface, group, ttl } => {
            let plan = udp::Plan::group(interface.clone(), with_port(*group), *ttl);
            (format!("multicast {group} on {interface}"), Kind::Multicast, Plan::Udp(plan))
        }
        HeartbeatPath::Broadcast { interface, address } => {
            let plan = udp::Plan::group(interface.clone(), with_port((*address).into()), 1);
            (format!("broadcast on {interface}"), Kind::Broadcast, Plan::Udp(plan))
        }
        HeartbeatPath::Serial { device, baud } => {
            let plan = serial::Plan { device: device.clone(), baud: *baud };
            (format!("serial {}", device.display()), Kind::Serial, Plan::Serial(plan))
        }
    });
    let voter = cluster.voter.as_ref().map(|voter| {
        // From the address of the route there: the nodes' own may be of networks that the voter does not know.
        let plan = udp::Plan::voter(None, voter.address);
        (format!("voter {}", voter.name), Kind::Voter, Plan::Udp(plan))
    });
    Ok(by_address.chain(by_path).chain(voter).collect())
}
