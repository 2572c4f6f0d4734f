//! Networks to balance in.
//!
//! ```text
//! one-armed                                  two-armed
//!   client   director   rs1  rs2  rs3          client ── director ── rs1  rs2  rs3
//!      └─────────┴───────┴────┴────┘                 front        └───┴────┴────┘ back
//! ```
//!
//! The wires are bridges in a namespace of their own, `switch`; each of its ports is called as the machine
//! behind it, whose own interface is `eth0`. Servers behind a router hang on a further bridge, `far`.

use anyhow::Result;

use super::address::{self, Family, Net};
use super::identity::Identity;
use super::namespace::Namespace;
use super::xdp_pass;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    /// Clients and servers on one wire, the director beside them.
    One,
    /// The director stands between clients and servers.
    Two,
}

/// Which way a server's packets to clients go when their source is a VIP (dr, ipip). With nat they always
/// go through the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    Direct,
    ThroughDirector,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub arms: Arms,
    /// With two arms there is only one way, whatever this says.
    pub replies: Replies,
    /// Real servers on the servers' wire.
    pub real_servers: usize,
    /// Further real servers behind a router.
    pub behind_router: usize,
    /// VIPs of each family.
    pub vips: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self { arms: Arms::One, replies: Replies::Direct, real_servers: 3, behind_router: 0, vips: 1 }
    }
}

/// Namespaces, wires, addresses and routes of one lab; all gone when it is dropped.
#[derive(Debug)]
pub struct Network {
    pub shape: Shape,
    pub client: Namespace,
    pub director: Namespace,
    pub router: Option<Namespace>,
    pub servers: Vec<Server>,
    pub switch: Namespace,
    pub identity: Identity,
}

/// A machine that can serve; see [`super::realserver`] for what runs on it.
#[derive(Clone, Debug)]
pub struct Server {
    /// `rs1`, `rs2`, …
    pub name: String,
    /// From 1.
    pub number: usize,
    pub net: Net,
    pub namespace: Namespace,
}

impl Server {
    pub fn address(&self, family: Family) -> std::net::IpAddr {
        address::real_server(self.net, family, self.number)
    }
}

impl Network {
    pub fn build(shape: Shape) -> Result<Self> {
        let identity = Identity::take()?;
        let machine = |name: &str| -> Result<Namespace> {
            let namespace = Namespace::create(format!("{}-{name}", identity.name()))?;
            namespace.sysctl(&QUIET)?;
            Ok(namespace)
        };
        let servers = (1..=shape.real_servers + shape.behind_router)
            .map(|number| {
                let name = format!("rs{number}");
                let net = if number <= shape.real_servers { Net::Servers } else { Net::Far };
                Ok(Server { namespace: machine(&name)?, name, number, net })
            })
            .collect::<Result<_>>()?;
        let network = Self {
            shape,
            client: machine("client")?,
            director: machine("director")?,
            router: if shape.behind_router > 0 { Some(machine("router")?) } else { None },
            servers,
            switch: machine("switch")?,
            identity,
        };
        network.build_wires()?;
        network.address_client()?;
        network.address_director()?;
        network.address_router()?;
        network.servers.iter().try_for_each(|server| network.address_server(server))?;
        Ok(network)
    }

    /// The director's interfaces that see clients or real servers.
    pub fn director_interfaces(&self) -> &'static [&'static str] {
        match self.shape.arms {
            Arms::One => &["eth0"],
            Arms::Two => &["eth0", "eth1"],
        }
    }

    pub fn vips(&self) -> impl Iterator<Item = std::net::IpAddr> + use<> {
        let vips = self.shape.vips;
        Family::BOTH
            .into_iter()
            .flat_map(move |family| (0..vips).map(move |index| address::vip(family, index)))
    }

    /// A further client behind the first one, which becomes a router for it. Packets to the new one must
    /// not be larger than `mtu` bytes, which it does not know itself: only the router's errors tell. For
    /// two arms, where every server's way to clients is the director.
    pub fn add_distant_client(&self, mtu: u32) -> Result<Namespace> {
        let distant = Namespace::create(format!("{}-distant", self.identity.name()))?;
        distant.sysctl(&QUIET)?;
        self.client.sysctl(&FORWARDING)?;
        self.client.links(&format!(
            "link add eth1 mtu {mtu} type veth peer name eth0 netns {}\nlink set eth1 up",
            distant.name()
        ))?;
        distant.links("link set eth0 mtu 1500 up")?;
        make_like_hardware(&self.client, "eth1")?;
        make_like_hardware(&distant, "eth0")?;
        for family in Family::BOTH {
            let (router, own) =
                (address::router(Net::Distant, family), address::host(Net::Distant, family, 1));
            self.client.addresses(family, &add_address(family, router, family.net_bits(), "eth1"))?;
            let lines = add_address(family, own, family.net_bits(), "eth0") + &default_route(&via(router));
            distant.addresses(family, &lines)?;
            self.director.addresses(family, &route(Net::Distant, family, &via(address::client(family))))?;
        }
        Ok(distant)
    }

    /// A further machine beside the director, on the clients' wire: host `number` of their net.
    pub fn add_neighbour(&self, name: &str, number: u8) -> Result<Namespace> {
        let namespace = Namespace::create(format!("{}-{name}", self.identity.name()))?;
        namespace.sysctl(&QUIET)?;
        let wire = match self.shape.arms {
            Arms::One => "back",
            Arms::Two => "front",
        };
        self.plug(wire, name, &namespace, "eth0")?;
        for family in Family::BOTH {
            let own = address::host(Net::Clients, family, number);
            namespace.addresses(family, &add_address(family, own, family.net_bits(), "eth0"))?;
        }
        Ok(namespace)
    }

    fn build_wires(&self) -> Result<()> {
        let (front, back) = match self.shape.arms {
            Arms::One => ("back", "back"),
            Arms::Two => ("front", "back"),
        };
        self.switch
            .sysctl(&[("ipv6.conf.all.disable_ipv6", "1"), ("ipv6.conf.default.disable_ipv6", "1")])?;
        for bridge in ["front", "back", "far"] {
            self.switch.links(&format!(
                "link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set {bridge} up"
            ))?;
        }
        self.plug(front, "client", &self.client, "eth0")?;
        self.plug(front, "director", &self.director, "eth0")?;
        if self.shape.arms == Arms::Two {
            self.plug(back, "director1", &self.director, "eth1")?;
        }
        if let Some(router) = &self.router {
            self.plug(back, "router", router, "eth0")?;
            self.plug("far", "router1", router, "eth1")?;
        }
        for server in &self.servers {
            let bridge = if server.net == Net::Far { "far" } else { back };
            self.plug(bridge, &server.name, &server.namespace, "eth0")?;
        }
        Ok(())
    }

    /// A cable from a port of the switch to an interface of a machine.
    fn plug(&self, bridge: &str, port: &str, machine: &Namespace, interface: &str) -> Result<()> {
        self.switch.links(&format!(
            "link add {port} type veth peer name {interface} netns {}\nlink set {port} master {bridge} up",
            machine.name()
        ))?;
        machine.links(&format!("link set {interface} up"))?;
        make_like_hardware(&self.switch, port)?;
        make_like_hardware(machine, interface)?;
        // The director's interfaces answer by XDP_TX, those of servers may decapsulate in XDP: their peers
        // need a program of their own.
        xdp_pass::attach(&self.switch, port)
    }

    fn address_client(&self) -> Result<()> {
        for family in Family::BOTH {
            let mut lines = add_address(family, address::client(family), family.net_bits(), "eth0");
            match self.shape.arms {
                Arms::One => {
                    lines += &route(Net::Servers, family, "dev eth0");
                    lines += &route(Net::Far, family, &via(address::router(Net::Servers, family)));
                }
                Arms::Two => lines += &default_route(&via(address::director(Net::Clients, family))),
            }
            self.client.addresses(family, &lines)?;
        }
        Ok(())
    }

    fn address_director(&self) -> Result<()> {
        self.director.sysctl(&FORWARDING)?;
        let inside = match self.shape.arms {
            Arms::One => "eth0",
            Arms::Two => "eth1",
        };
        for family in Family::BOTH {
            let mut lines = String::new();
            for (net, interface) in [(Net::Clients, "eth0"), (Net::Servers, inside)] {
                lines += &add_address(family, address::director(net, family), family.net_bits(), interface);
            }
            for vip in self.vips().filter(|vip| Family::of(*vip) == family) {
                // Never the source of what the director sends by itself (RFC 6724 5, rule 3): a service's
                // address may move on to another director.
                let vip = add_address(family, vip, family.host_bits(), "eth0");
                lines += vip.trim_end();
                lines += if family == Family::V6 { " preferred_lft 0\n" } else { "\n" };
            }
            lines += &route(Net::Far, family, &via(address::router(Net::Servers, family)));
            self.director.addresses(family, &lines)?;
        }
        Ok(())
    }

    fn address_router(&self) -> Result<()> {
        let Some(router) = &self.router else {
            return Ok(());
        };
        router.sysctl(&FORWARDING)?;
        for family in Family::BOTH {
            let mut lines = String::new();
            for (net, interface) in [(Net::Servers, "eth0"), (Net::Far, "eth1")] {
                lines += &add_address(family, address::router(net, family), family.net_bits(), interface);
            }
            lines += &match self.shape.arms {
                Arms::One => route(Net::Clients, family, "dev eth0"),
                Arms::Two => default_route(&via(address::director(Net::Servers, family))),
            };
            router.addresses(family, &lines)?;
        }
        Ok(())
    }

    fn address_server(&self, server: &Server) -> Result<()> {
        for family in Family::BOTH {
            let own = server.address(family);
            let mut lines = add_address(family, own, family.net_bits(), "eth0");
            let director = via(address::director(Net::Servers, family));
            if server.net == Net::Far {
                lines += &default_route(&via(address::router(Net::Far, family)));
            } else if self.shape.arms == Arms::Two || self.shape.replies == Replies::ThroughDirector {
                lines += &default_route(&director);
            } else {
                lines += &route(Net::Clients, family, "dev eth0");
                // What comes from the server's own address was translated by nat: back through the director.
                lines += &format!("route add default {director} table 100\n");
                lines += &format!("rule add from {own} to {} lookup 100\n", Net::Clients.prefix(family));
            }
            server.namespace.addresses(family, &lines)?;
        }
        Ok(())
    }
}

/// For every machine: no answers, filters or discoveries of the kernel's own making that a test did not ask for.
const QUIET: [(&str, &str); 10] = [
    // Lets root ping without raw sockets.
    ("ipv4.ping_group_range", "0 0"),
    ("ipv4.conf.all.rp_filter", "0"),
    ("ipv4.conf.default.rp_filter", "0"),
    ("ipv4.conf.all.accept_redirects", "0"),
    ("ipv4.conf.default.accept_redirects", "0"),
    ("ipv4.conf.all.send_redirects", "0"),
    ("ipv4.conf.default.send_redirects", "0"),
    ("ipv6.conf.default.accept_redirects", "0"),
    ("ipv6.conf.default.accept_dad", "0"),
    ("ipv6.conf.default.accept_ra", "0"),
];

const FORWARDING: [(&str, &str); 2] = [("ipv4.ip_forward", "1"), ("ipv6.conf.all.forwarding", "1")];

/// Every packet carries its checksum and fits the wire, as real network cards see to.
fn make_like_hardware(namespace: &Namespace, device: &str) -> Result<()> {
    namespace.run("ethtool", &["-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off"])?;
    Ok(())
}

fn add_address(family: Family, address: std::net::IpAddr, bits: u8, interface: &str) -> String {
    let quick = if family == Family::V6 { " nodad" } else { "" };
    format!("addr add {address}/{bits} dev {interface}{quick}\n")
}

fn route(net: Net, family: Family, way: &str) -> String {
    format!("route add {} {way}\n", net.prefix(family))
}

fn default_route(way: &str) -> String {
    format!("route add default {way}\n")
}

fn via(gateway: std::net::IpAddr) -> String {
    format!("via {gateway}")
}
