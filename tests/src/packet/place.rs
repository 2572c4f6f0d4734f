//! The director's network: a namespace with two interfaces, addresses, routes and neighbours.
//!
//! ```text
//! client 10.9.0.7 ── router ──┬── front [director] back ── 192.168.0.x, 2001:db8:1::x
//!        2001:db8:9::7        └── 10.0.0.x, 2001:db8::x
//! ```
//! Behind the router also 172.16.0.x and 2001:db8:2::x.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use lvs_userspace::control::NextHop;
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::frame::{Mac, address};

/// An interface of the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the clients.
    Front,
    /// Towards real servers of their own network.
    Back,
}

impl Side {
    const ALL: [Self; 2] = [Self::Front, Self::Back];

    const fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
        }
    }

    /// The director's MAC here.
    pub const fn mac(self) -> Mac {
        match self {
            Self::Front => [2, 0, 0, 0, 0, 0x10],
            Self::Back => [2, 0, 0, 0, 0, 0x20],
        }
    }

    /// The director's addresses here.
    const fn addresses(self) -> [&'static str; 2] {
        match self {
            Self::Front => ["10.0.0.1", "2001:db8::1"],
            Self::Back => ["192.168.0.1", "2001:db8:1::1"],
        }
    }
}

/// The router before the clients.
pub(super) const ROUTER: Mac = [2, 0, 0, 0, 0, 0xfe];
const GATEWAYS: [&str; 2] = ["10.0.0.254", "2001:db8::fe"];
/// Real servers on the clients' link that the kernel knows too.
const NEIGHBOURS: [&str; 2] = ["10.0.0.77", "2001:db8::77"];
pub(super) const MTU: u32 = 1500;

/// Where the routes of the namespace lead: the side, and whether there is a router in between. Real servers
/// elsewhere are left to `bpf_fib_lookup`.
fn location(address: IpAddr) -> Option<(Side, bool)> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            // As many as a bench wants.
            [10, 0, 0, _] | [10, 1, ..] => Some((Side::Front, false)),
            [192, 168, 0, _] => Some((Side::Back, false)),
            [172, 16, ..] => Some((Side::Front, true)),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0x2001, 0xdb8, 0, ..] => Some((Side::Front, false)),
            [0x2001, 0xdb8, 1, ..] => Some((Side::Back, false)),
            [0x2001, 0xdb8, 2, ..] => Some((Side::Front, true)),
            _ => None,
        },
    }
}

/// The MAC of the next hop towards `text`.
///
/// # Panics
/// If nothing is known of the address.
pub fn mac(text: &str) -> Mac {
    mac_of(address(text))
}

pub(super) fn mac_of(address: IpAddr) -> Mac {
    let last: [u8; 2] = match address {
        IpAddr::V4(v4) => [0, v4.octets()[3]],
        IpAddr::V6(v6) => v6.segments()[7].to_be_bytes(),
    };
    match location(address) {
        Some((side, false)) => [2, 0, 0, side.mac()[5], last[0], last[1]],
        _ => ROUTER,
    }
}

/// The two interfaces' indices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interfaces {
    pub(super) front: u32,
    pub(super) back: u32,
}

impl Interfaces {
    pub(super) const fn index(self, side: Side) -> u32 {
        match side {
            Side::Front => self.front,
            Side::Back => self.back,
        }
    }

    /// What the agent's resolver would report of `address`.
    pub(super) fn next_hop(self, address: IpAddr) -> Option<NextHop> {
        let (side, behind_router) = location(address)?;
        let [v4, v6] = side.addresses();
        Some(NextHop {
            interface: self.index(side),
            source_mac: side.mac(),
            next_hop_mac: Some(mac_of(address)),
            behind_router,
            mtu: MTU,
            source_address: Some(super::frame::address(if address.is_ipv4() { v4 } else { v6 })),
        })
    }
}

/// Puts the calling thread into a namespace of its own and builds the network in it.
pub(super) fn build() -> Result<Interfaces> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .context("a network namespace of its own: these tests need root")?;
    forwarding(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let interfaces = populate(&handle).await;
        connection.abort();
        interfaces
    })
}

/// Whether the kernel is a router here.
pub(super) fn forwarding(on: bool) -> Result<()> {
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{family}");
        std::fs::write(&path, if on { "1" } else { "0" }).with_context(|| path)?;
    }
    Ok(())
}

async fn populate(handle: &Handle) -> Result<Interfaces> {
    let [front, back] = Side::ALL.map(Side::name);
    handle.link().add(LinkVeth::new(front, back).build()).execute().await.context("a veth pair")?;
    let index = |name| nix::net::if_::if_nametoindex(name).context("index of an interface");
    let interfaces = Interfaces { front: index(front)?, back: index(back)? };
    for side in Side::ALL {
        let index = interfaces.index(side);
        let up = LinkUnspec::new_with_index(index).address(side.mac().to_vec()).up().build();
        handle.link().set(up).execute().await.context("an interface up")?;
    }
    for side in Side::ALL {
        let index = interfaces.index(side);
        for (own, prefix) in side.addresses().into_iter().zip([24, 64]) {
            handle.address().add(index, address(own), prefix).execute().await.context(own)?;
        }
    }
    let [v4, v6] = GATEWAYS;
    let v4_route = RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(v4.parse()?)
        .output_interface(interfaces.front)
        .build();
    handle.route().add(v4_route).execute().await.context("the IPv4 default route")?;
    let v6_route = RouteMessageBuilder::<Ipv6Addr>::new()
        .gateway(v6.parse()?)
        .output_interface(interfaces.front)
        .build();
    handle.route().add(v6_route).execute().await.context("the IPv6 default route")?;
    for gateway in GATEWAYS {
        neighbour(handle, interfaces.front, address(gateway), ROUTER).await?;
    }
    for known in NEIGHBOURS {
        neighbour(handle, interfaces.front, address(known), mac(known)).await?;
    }
    Ok(interfaces)
}

async fn neighbour(handle: &Handle, interface: u32, of: IpAddr, mac: Mac) -> Result<()> {
    handle
        .neighbours()
        .add(interface, of)
        .link_layer_address(&mac)
        .state(NeighbourState::Permanent)
        .execute()
        .await
        .with_context(|| format!("neighbour {of}"))
}
