//! Three machines in a row, joined by plain veth pairs: nothing but the director is between the ends.
//!
//! ```text
//! client eth0 ── eth0 director eth1 ── eth0 server
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use nix::net::if_::if_nametoindex;

use crate::lab::address::Family;
use crate::lab::identity::Identity;
use crate::lab::namespace::Namespace;

/// The director's MAC towards the client, and the client's.
pub(super) const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
pub(super) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// One row of machines; gone when it is dropped.
#[derive(Debug)]
pub(in crate::bench) struct Topology {
    pub(in crate::bench) client: Namespace,
    pub(in crate::bench) director: Namespace,
    pub(in crate::bench) server: Namespace,
    pub(in crate::bench) identity: Identity,
}

pub(super) const fn server(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x11)),
    }
}

/// The director, as the client sees it.
pub(super) const fn director(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 2)),
    }
}

/// A server on the client's side of the director.
pub(super) const fn neighbour(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 1, 0, 9)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 9)),
    }
}

/// Virtual address number `number`.
pub(super) const fn vip(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 9, 0, number)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, number as u16)),
    }
}

/// A net of clients, in which the last 16 bits tell flows apart; 0 is the net of the client itself.
pub(super) const fn client_net(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, if number == 0 { 1 } else { 100 + number }, 0, 0)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, number as u16, 0, 0, 0, 0)),
    }
}

const SYSCTLS: [(&str, &str); 9] = [
    // Many connections in a short time.
    ("ipv4.ip_local_port_range", "1024 65535"),
    ("ipv4.tcp_max_syn_backlog", "8192"),
    ("core.somaxconn", "8192"),
    ("ipv4.conf.all.rp_filter", "0"),
    ("ipv4.conf.default.rp_filter", "0"),
    ("ipv6.conf.default.accept_dad", "0"),
    ("ipv6.conf.default.accept_ra", "0"),
    ("ipv4.ip_forward", "1"),
    ("ipv6.conf.all.forwarding", "1"),
];

impl Topology {
    pub(in crate::bench) fn build() -> Result<Self> {
        let identity = Identity::take()?;
        let machine = |name: &str| -> Result<Namespace> {
            let namespace = Namespace::create(format!("{}-{name}", identity.name()))?;
            namespace.sysctl(&SYSCTLS)?;
            Ok(namespace)
        };
        let (client, director, server) = (machine("client")?, machine("director")?, machine("server")?);
        let topology = Self { client, director, server, identity };
        topology.join()?;
        Ok(topology)
    }

    fn join(&self) -> Result<()> {
        let Self { client, director, server, .. } = self;
        client.links(&format!(
            "link add eth0 address 02:00:00:00:01:01 type veth peer name eth0 address 02:00:00:00:01:02 netns {}
             link set eth0 up",
            director.name()
        ))?;
        server.links(&format!(
            "link add eth0 address 02:00:00:00:00:11 type veth peer name eth1 address 02:00:00:00:00:02 netns {}
             link set eth0 up",
            director.name()
        ))?;
        director.links("link set eth0 up\nlink set eth1 up")?;
        for (namespace, interface) in
            [(director, "eth0"), (director, "eth1"), (client, "eth0"), (server, "eth0")]
        {
            // GRO brings NAPI: what XDP sends through the peer arrives even where no program is attached.
            // Without offloads of the sender every packet has its checksum and fits the wire.
            let features = ["gro", "on", "tx", "off", "tso", "off", "gso", "off"];
            namespace.run("ethtool", &[&["-K", interface][..], &features].concat())?;
        }
        director.addresses(
            Family::V4,
            "addr add 10.1.0.2/16 dev eth0\naddr add 10.0.0.2/24 dev eth1
             neigh add 10.1.0.9 lladdr 02:00:00:00:01:09 dev eth0 nud permanent
             neigh add 10.0.0.11 lladdr 02:00:00:00:00:11 dev eth1 nud permanent",
        )?;
        director.addresses(
            Family::V6,
            "addr add fd01::2/64 dev eth0 nodad\naddr add fd00::2/64 dev eth1 nodad
             neigh add fd01::9 lladdr 02:00:00:00:01:09 dev eth0 nud permanent
             neigh add fd00::11 lladdr 02:00:00:00:00:11 dev eth1 nud permanent",
        )?;
        client.addresses(Family::V4, "addr add 10.1.0.1/16 dev eth0\nroute add default via 10.1.0.2")?;
        client.addresses(Family::V6, "addr add fd01::1/64 dev eth0 nodad\nroute add default via fd01::2")?;
        server.addresses(Family::V4, "addr add 10.0.0.11/24 dev eth0\nroute add default via 10.0.0.2")?;
        server.addresses(Family::V6, "addr add fd00::11/64 dev eth0 nodad\nroute add default via fd00::2")
    }

    /// Index of an interface in a namespace.
    pub(super) fn index(namespace: &Namespace, interface: &str) -> Result<u32> {
        namespace.enter(|| Ok(if_nametoindex(interface)?))
    }
}
