//! The words the tables are written in.

use lvs_tests::packet::frame::{Ip, Link, Tcp, number, tcp_flag};
use lvs_tests::packet::{Side, mac};

/// One family's addresses. See `lvs_tests::packet` for the network they are in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) client: &'static str,
    pub(crate) vip: &'static str,
    /// Real servers on the clients' link, on a link of their own, and behind the router.
    pub(crate) front: &'static str,
    pub(crate) back: &'static str,
    pub(crate) far: &'static str,
    /// The director's own addresses on both links.
    pub(crate) front_self: &'static str,
    pub(crate) back_self: &'static str,
    /// ICMP's types and codes.
    pub(crate) port_unreachable: (u8, u8),
    pub(crate) too_big: (u8, u8),
    pub(crate) time_exceeded: (u8, u8),
    pub(crate) echo_request: u8,
    pub(crate) echo_reply: u8,
}

pub(crate) const V4: Family = Family {
    name: "v4",
    client: "10.9.0.7",
    vip: "10.0.0.3",
    front: "10.0.0.11",
    back: "192.168.0.11",
    far: "172.16.0.11",
    front_self: "10.0.0.1",
    back_self: "192.168.0.1",
    port_unreachable: (3, 3),
    too_big: (3, 4),
    time_exceeded: (11, 0),
    echo_request: 8,
    echo_reply: 0,
};

pub(crate) const V6: Family = Family {
    name: "v6",
    client: "2001:db8:9::7",
    vip: "2001:db8::3",
    front: "2001:db8::11",
    back: "2001:db8:1::11",
    far: "2001:db8:2::11",
    front_self: "2001:db8::1",
    back_self: "2001:db8:1::1",
    port_unreachable: (1, 4),
    too_big: (2, 0),
    time_exceeded: (3, 0),
    echo_request: 128,
    echo_reply: 129,
};

pub(crate) const FAMILIES: [Family; 2] = [V4, V6];
/// Name and number.
pub(crate) const PROTOCOLS: [(&str, u8); 2] = [("tcp", number::TCP), ("udp", number::UDP)];

impl Family {
    /// The header of a client's packet to the VIP.
    pub(crate) fn request(&self) -> Ip {
        Ip::new(self.client, self.vip)
    }

    /// The header of a packet from `server` to the client.
    pub(crate) fn reply(&self, server: &str) -> Ip {
        Ip::new(server, self.client)
    }
}

/// One line of the list `services`.
pub(crate) fn service(name: &str, vip: &str, port: u16, protocol: &str, rest: &str) -> String {
    format!("  - {{name: {name}, vip: \"{vip}\", port: {port}, protocol: {protocol}, {rest}}}\n")
}

/// `real_servers` with one entry after another.
pub(crate) fn servers(addresses: &[&str]) -> String {
    let entries: Vec<String> =
        addresses.iter().map(|address| format!("{{address: \"{address}\"}}")).collect();
    format!("real_servers: [{}]", entries.join(", "))
}

/// From the clients' router to the director.
pub(crate) const FROM_CLIENT: Link = Link { destination: Side::Front.mac(), source: ROUTER, vlan: None };
/// From the director to the clients' router.
pub(crate) const TO_CLIENT: Link = Link { destination: ROUTER, source: Side::Front.mac(), vlan: None };
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

/// From the director, by the interface that leads there, to a real server or the router before it.
pub(crate) fn link_to(side: Side, server: &str) -> Link {
    Link { destination: mac(server), source: side.mac(), vlan: None }
}

/// From a real server to the director.
pub(crate) fn link_from(side: Side, server: &str) -> Link {
    link_to(side, server).turned()
}

pub(crate) fn syn(source: u16, destination: u16) -> Tcp {
    Tcp::new(source, destination, tcp_flag::SYN)
}

pub(crate) fn ack(source: u16, destination: u16) -> Tcp {
    Tcp::new(source, destination, tcp_flag::ACK)
}

/// What begins a flow: a SYN, or a datagram with `payload`.
pub(crate) fn opening(protocol: u8, ip: &Ip, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    if protocol == number::TCP {
        ip.tcp_packet(&syn(ports.0, ports.1), payload)
    } else {
        ip.udp_packet(ports, payload)
    }
}

/// The outer header that belongs on `inner`, before its last hop.
pub(crate) fn outer(source: &str, destination: &str, inner: &Ip) -> Ip {
    let dont_fragment = !inner.is_v4() || inner.dont_fragment;
    Ip::new(source, destination).with(|ip| {
        ip.tos = inner.tos;
        ip.dont_fragment = dont_fragment;
        ip.identification = 0;
    })
}
