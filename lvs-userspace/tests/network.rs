//! Where real servers are, against a real kernel: namespaces, veth pairs, routes and neighbours.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]

mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use lvs_userspace::network::{Error, Network, NextHop, NextHopChanged, Resolver, Unreachable};
use support::{Namespace, connect};
use tokio::sync::mpsc;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

/// The same net in both families.
struct Net {
    director: &'static str,
    server: &'static str,
    length: u8,
    /// Reached through the server, if at all.
    far: &'static str,
    far_net: &'static str,
    family: &'static str,
}

const NETS: [Net; 2] = [
    Net {
        director: "10.7.0.1",
        server: "10.7.0.3",
        length: 24,
        far: "192.0.2.7",
        far_net: "192.0.2.0/24",
        family: "ipv4",
    },
    Net {
        director: "2001:db8:7::1",
        server: "2001:db8:7::3",
        length: 64,
        far: "2001:db8:99::7",
        far_net: "2001:db8:99::/64",
        family: "ipv6",
    },
];

struct World {
    director: Namespace,
    server: Namespace,
    net: &'static Net,
}

impl World {
    fn new(net: &'static Net) -> Self {
        let (director, server) = (Namespace::new("director"), Namespace::new("server"));
        connect(&director, &server);
        director.ip(&format!("address add {}/{} dev eth0 nodad", net.director, net.length));
        server.ip(&format!("address add {}/{} dev eth0 nodad", net.server, net.length));
        // The kernel's own patience, in a hurry.
        for setting in ["delay_first_probe_time=1", "ucast_solicit=1", "retrans_time_ms=200"] {
            director.run(&format!("sysctl -qw net.{}.neigh.eth0.{setting}", net.family));
        }
        Self { director, server, net }
    }
}

struct Watched {
    resolver: Resolver,
    reports: mpsc::Receiver<NextHopChanged>,
}

impl Watched {
    fn start(addresses: &[&str]) -> Self {
        let (network, events) = Network::connect().unwrap();
        let (resolver, reports) = Resolver::start(network, events);
        let watched = Self { resolver, reports };
        watched.set(addresses);
        watched
    }

    fn set(&self, addresses: &[&str]) {
        self.resolver.set_addresses(addresses.iter().map(|text| ip(text)).collect::<BTreeSet<_>>());
    }

    /// Reads reports until one is as wanted.
    async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&Result<NextHop, Unreachable>) -> bool,
    ) -> Result<NextHop, Unreachable> {
        let mut seen = Vec::new();
        let search = async {
            loop {
                let report = self.reports.recv().await.expect("the resolver ended");
                if wanted(&report.next_hop) {
                    return report.next_hop;
                }
                seen.push(report);
            }
        };
        match timeout(DEADLINE, search).await {
            Ok(found) => found,
            Err(_) => panic!("{what}: never reported; seen instead: {seen:#?}"),
        }
    }

    async fn until_mac(&mut self, mac: [u8; 6]) -> NextHop {
        self.until("the MAC", |next_hop| next_hop.as_ref().is_ok_and(|hop| hop.next_hop_mac == Some(mac)))
            .await
            .unwrap()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_server_on_the_link_is_resolved_before_any_packet() {
    for net in &NETS {
        let World { director, server, net } = World::new(net);
        director.enter(async || {
            let mut watched = Watched::start(&[net.server]);
            let hop = watched.until_mac(server.mac("eth0")).await;
            let (network, _events) = Network::connect().unwrap();
            assert_eq!(
                hop,
                NextHop {
                    interface: network.interface_index("eth0").await.unwrap(),
                    source_mac: director.mac("eth0"),
                    next_hop_mac: Some(server.mac("eth0")),
                    behind_router: false,
                    mtu: 1500,
                    source_address: Some(ip(net.director)),
                }
            );
            assert_eq!(network.next_hop(ip(net.server)).await.unwrap(), hop, "one question, the same answer");
        });
    }
}

#[test]
fn a_server_that_appears_later_is_found() {
    for net in &NETS {
        let World { director, server, net } = World::new(net);
        server.ip(&format!("address del {}/{} dev eth0", net.server, net.length));
        director.enter(async || {
            let mut watched = Watched::start(&[net.server]);
            watched
                .until("no MAC", |next_hop| next_hop.as_ref().is_ok_and(|hop| hop.next_hop_mac.is_none()))
                .await
                .unwrap();
            server.ip(&format!("address add {}/{} dev eth0 nodad", net.server, net.length));
            watched.until_mac(server.mac("eth0")).await;
        });
    }
}

#[test]
fn a_mac_that_is_wrong_and_that_nobody_announces_is_found_out() {
    for net in &NETS {
        let World { director, server, net } = World::new(net);
        director.enter(async || {
            let mut watched = Watched::start(&[net.server]);
            watched.until_mac(server.mac("eth0")).await;
            // As after the swap of a machine: the entry is old, and no packet of the kernel goes there.
            director.ip(&format!("neigh replace {} lladdr 02:00:00:00:00:99 nud stale dev eth0", net.server));
            watched.until_mac([2, 0, 0, 0, 0, 0x99]).await;
            watched.until_mac(server.mac("eth0")).await;
        });
    }
}

#[test]
fn a_gateway_its_mtu_and_its_end_are_reported() {
    for net in &NETS {
        let World { director, server, net } = World::new(net);
        director.enter(async || {
            let mut watched = Watched::start(&[net.far]);
            let none = watched.until("an answer", |_| true).await;
            assert_eq!(none, Err(Unreachable::NoRoute));

            director.ip(&format!("route add {} via {}", net.far_net, net.server));
            let hop = watched.until_mac(server.mac("eth0")).await;
            assert!(hop.behind_router);

            director.ip(&format!("route replace {} via {} mtu 1400", net.far_net, net.server));
            watched
                .until("the route's MTU", |hop| hop.as_ref().is_ok_and(|hop| hop.mtu == 1400))
                .await
                .unwrap();

            director.ip(&format!("route del {}", net.far_net));
            watched.until("no route", |hop| hop == &Err(Unreachable::NoRoute)).await.unwrap_err();
        });
    }
}

#[test]
fn the_interface_s_mtu_and_carrier_are_reported() {
    for net in &NETS {
        let World { director, server, net } = World::new(net);
        director.enter(async || {
            let mut watched = Watched::start(&[net.server]);
            watched.until_mac(server.mac("eth0")).await;
            director.ip("link set eth0 mtu 1280");
            watched.until("the MTU", |hop| hop.as_ref().is_ok_and(|hop| hop.mtu == 1280)).await.unwrap();
            server.ip("link set eth0 down");
            let down = Unreachable::InterfaceDown { interface: "eth0".into() };
            watched.until("no carrier", |hop| hop == &Err(down.clone())).await.unwrap_err();
            server.ip("link set eth0 up");
            watched.until("back again", |hop| hop.is_ok()).await.unwrap();
        });
    }
}

#[test]
fn a_flood_of_messages_hides_nothing() {
    let World { director, server, net } = World::new(&NETS[0]);
    director.enter(async || {
        let mut watched = Watched::start(&[net.server]);
        watched.until_mac(server.mac("eth0")).await;
        // The runtime has this one thread: while `ip` runs nobody reads, and the socket's buffer runs over.
        let mut flood = String::new();
        for round in 0..40 {
            for host in 0..250 {
                let entry =
                    format!("10.7.0.{host} lladdr 02:00:00:00:{round:02x}:{host:02x} nud permanent dev eth0");
                flood.push_str(&format!("neigh replace {entry}\n"));
            }
            flood.push_str(&format!(
                "neigh replace {} lladdr 02:00:00:00:00:99 nud permanent dev eth0\n",
                net.server
            ));
        }
        director.batch(&flood);
        watched.until_mac([2, 0, 0, 0, 0, 0x99]).await;
        director.ip(&format!("neigh replace {} lladdr 02:00:00:00:00:98 nud permanent dev eth0", net.server));
        watched.until_mac([2, 0, 0, 0, 0, 0x98]).await;
    });
}

#[test]
fn addresses_can_be_exchanged_while_watching() {
    let World { director, server, net } = World::new(&NETS[0]);
    server.ip("address add 10.7.0.4/24 dev eth0");
    director.enter(async || {
        let mut watched = Watched::start(&[net.server]);
        watched.until_mac(server.mac("eth0")).await;
        watched.set(&["10.7.0.4"]);
        watched.until_mac(server.mac("eth0")).await;
        watched.set(&[net.server]);
        watched.until_mac(server.mac("eth0")).await;
    });
}

#[test]
fn local_addresses_and_missing_interfaces_are_named() {
    for net in &NETS {
        let World { director, server: _server, net } = World::new(net);
        director.enter(async || {
            let (network, _events) = Network::connect().unwrap();
            let error = network.next_hop(ip(net.director)).await.unwrap_err();
            assert!(matches!(error, Error::Unreachable { reason: Unreachable::Local, .. }), "{error}");
            for name in ["eth7", "a-name-longer-than-any", ""] {
                let error = network.interface_index(name).await.unwrap_err();
                assert!(matches!(&error, Error::NoInterface { name: missing } if missing == name), "{error}");
            }
        });
    }
}
