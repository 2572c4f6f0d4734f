//! The director and the packets of one case.

use lvs_common::limits;
use lvs_common::settings::flags;

use crate::cluster::{HELD, of_groups};
use crate::packet::frame::{Ip, Link, Tcp, address, tcp_flag};
use crate::packet::{Side, World, mac};

const DIRECTOR: [u8; 6] = Side::Front.mac();
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// What the director is asked to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) family: Family,
    pub(super) transport: Transport,
    pub(super) forward: &'static str,
    pub(super) scheduler: &'static str,
    pub(super) track: &'static str,
    pub(super) servers: u32,
    pub(super) services: u32,
    /// Connections the table is to hold.
    pub(super) connections: u32,
    /// All flows begin at the first server, then [`Scene::turn`] has every slot move to the others.
    pub(super) dual: bool,
    /// The packets go to any of the services, else to the first.
    pub(super) spread: bool,
    /// The VIP is of a group: its lease is looked at, and what changes in the table is marked for the other director.
    pub(super) clustered: bool,
}

/// Servers with a weight.
#[derive(Clone, Copy)]
enum Takers {
    All,
    First,
    Others,
}

impl Scene {
    pub(super) const DEFAULT: Self = Self {
        family: Family::V4,
        transport: Transport::Tcp,
        forward: "ipip",
        scheduler: "mh",
        track: "auto",
        servers: 3,
        services: 1,
        connections: limits::CONNECTIONS,
        dual: false,
        spread: false,
        clustered: false,
    };

    fn vip(&self, service: u32) -> String {
        match self.family {
            Family::V4 => format!("10.8.{}.{}", service >> 8, service & 255),
            Family::V6 => format!("2001:db8:8::{service:x}"),
        }
    }

    fn server(&self, number: u32) -> String {
        match self.family {
            Family::V4 => format!("10.1.{}.{}", number >> 8, number & 255),
            Family::V6 => format!("2001:db8::1:{number:x}"),
        }
    }

    fn client(&self) -> &'static str {
        match self.family {
            Family::V4 => "20.0.0.0",
            Family::V6 => "2001:db8:9::",
        }
    }

    const fn protocol(&self) -> &'static str {
        match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }

    /// The list of services of a configuration. The first server or all but the first take new flows, or all.
    fn yaml(&self, takers: Takers) -> String {
        let mut text = String::new();
        let Self { forward, scheduler, track, .. } = self;
        for service in 0..self.services {
            let (vip, protocol) = (self.vip(service), self.protocol());
            text += &format!(
                "  - {{name: s{service}, vip: '{vip}', port: 80, protocol: {protocol}, scheduler: {scheduler}, \
                 forward: {forward}, track: {track}, real_servers: ["
            );
            for server in 0..self.servers {
                let weight = u32::from(match takers {
                    Takers::All => true,
                    Takers::First => server == 0,
                    Takers::Others => server != 0,
                });
                text += &format!("{{address: '{}', weight: {weight}}}, ", self.server(server + 1));
            }
            text += "]}\n";
        }
        text
    }

    /// A director that does this.
    pub(super) fn world(&self) -> World {
        let destinations = (self.services * self.servers).max(64);
        let limits = format!(
            "connections: {}, embryonic: {}, destinations: {destinations}",
            self.connections,
            self.connections.next_power_of_two().min(32_768)
        );
        let services = self.yaml(if self.dual { Takers::First } else { Takers::All });
        if !self.clustered {
            return World::with_limits(&services, &limits);
        }
        let vips = (0..self.services).map(|service| address(&self.vip(service))).collect();
        let mut world = World::with_cluster(&services, &limits, of_groups([vips]));
        world.lease(1, HELD);
        // A ring that another director may have served asks the table until a census has found nothing there.
        world.settle();
        world.settings(|settings| settings.flags |= flags::FOLLOWED);
        world
    }

    /// Moves every slot of a dual scene's rings.
    pub(super) fn turn(&self, world: &mut World) {
        world.reload(&self.yaml(Takers::Others));
    }

    /// The client's packet of flow 0, with these TCP flags.
    pub(super) fn request(&self, flags: u8) -> Vec<u8> {
        let link = Link { destination: DIRECTOR, source: ROUTER, vlan: None };
        self.frame(link, &Ip::new(self.client(), &self.vip(0)), (1024, 80), flags)
    }

    /// The first real server's answer to it.
    pub(super) fn answer(&self, flags: u8) -> Vec<u8> {
        let server = self.server(1);
        let link = Link { destination: DIRECTOR, source: mac(&server), vlan: None };
        self.frame(link, &Ip::new(&server, self.client()), (80, 1024), flags)
    }

    /// A packet to a port without a service.
    pub(super) fn stray(&self) -> Vec<u8> {
        let link = Link { destination: DIRECTOR, source: ROUTER, vlan: None };
        self.frame(link, &Ip::new(self.client(), &self.vip(0)), (1024, 81), DATA)
    }

    fn frame(&self, link: Link, ip: &Ip, ports: (u16, u16), flags: u8) -> Vec<u8> {
        let packet = match self.transport {
            Transport::Tcp => ip.tcp_packet(&Tcp::new(ports.0, ports.1, flags), b""),
            Transport::Udp => ip.udp_packet(ports, b""),
        };
        let mut frame = link.frame(&packet);
        frame.resize(if self.family == Family::V4 { 64 } else { 80 }, 0);
        frame
    }
}

/// Flags of a packet in the middle of a connection.
pub(super) const DATA: u8 = tcp_flag::ACK;
pub(super) const SYN: u8 = tcp_flag::SYN;
