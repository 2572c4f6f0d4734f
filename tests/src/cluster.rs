//! Clusters for tests of one director: who else is in them does not matter there.

use std::net::IpAddr;
use std::time::Duration;

use lvs_common::lease::Lease;
use lvs_userspace::config::model::{Cluster, ClusterTiming, Failback, Group, GroupAddress, Track};

/// A lease for ever.
pub const HELD: Lease = Lease { ends: u64::MAX, fresh_until: u64::MAX };
/// Held, but not renewed for a while.
pub const STALE: Lease = Lease { ends: u64::MAX, fresh_until: 0 };

/// A cluster with these groups of addresses; the first has the lease with index 1.
pub fn of_groups(groups: impl IntoIterator<Item = Vec<IpAddr>>) -> Cluster {
    let group = |(number, addresses): (usize, Vec<IpAddr>)| Group {
        name: format!("group-{number}"),
        order: vec!["one".to_owned(), "two".to_owned()],
        addresses: addresses.into_iter().map(on_eth0).collect(),
        resources: Vec::new(),
        fence: None,
    };
    Cluster {
        node: None,
        nodes: Vec::new(),
        voter: None,
        paths: Vec::new(),
        port: 694,
        key_file: "cluster.key".into(),
        timing: ClusterTiming {
            keepalive: Duration::from_millis(100),
            warntime: Duration::from_millis(300),
            deadtime: Duration::from_secs(1),
            initdead: Duration::from_secs(3),
            watchdog: Duration::from_secs(1),
            hold: Duration::from_secs(5),
        },
        auto_failback: Failback::Off,
        refresh: None,
        track: Track::default(),
        groups: groups.into_iter().enumerate().map(group).collect(),
    }
}

fn on_eth0(address: IpAddr) -> GroupAddress {
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    GroupAddress { address, prefix, interface: "eth0".to_owned(), label: None }
}
