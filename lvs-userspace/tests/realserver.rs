//! Preparing a real server and undoing it, in namespaces. Needs root, and for ipip the objects of
//! `cargo xtask build-ebpf`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]

mod support;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lvs_common::checksum;
use lvs_userspace::realserver::{Error, Options, RealServer};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use support::{Namespace, connect};

const DEADLINE: Duration = Duration::from_secs(10);
const VIP4: &str = "192.0.2.10";
const VIP6: &str = "2001:db8:f::10";

/// An instance name of its own; whatever a failed test left under it is removed.
struct Instance {
    name: String,
}

impl Instance {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("lvs-test-realserver-{}-{number}", std::process::id()) }
    }

    fn places(&self) -> [PathBuf; 2] {
        [Path::new("/run").join(&self.name), Path::new("/sys/fs/bpf").join(&self.name)]
    }

    fn dr(&self, vips: &[&str]) -> Options {
        Options {
            vip: vips.iter().map(|vip| ip(vip)).collect(),
            ipip: false,
            director: Vec::new(),
            interface: None,
            instance: self.name.clone(),
        }
    }

    fn ipip(&self, vips: &[&str], directors: &[&str]) -> Options {
        let director = directors.iter().map(|director| ip(director)).collect();
        Options { ipip: true, director, ..self.dr(vips) }
    }

    fn assert_nothing_left(&self) {
        for place in self.places() {
            assert!(!place.exists(), "{} is left", place.display());
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        for place in self.places() {
            drop(std::fs::remove_dir_all(place));
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Everything `lvsd realserver` may change, as text.
fn state(namespace: &Namespace) -> String {
    let settings = ["all", "eth0"].map(|place| {
        namespace.run(&format!(
            "sysctl net.ipv4.conf.{place}.arp_ignore net.ipv4.conf.{place}.arp_announce net.ipv4.conf.{place}.rp_filter"
        ))
    });
    let routes = ["-4", "-6"].map(|family| namespace.ip(&format!("{family} route show")));
    let addresses = namespace.ip("-br address show");
    let xdp = namespace.ip("link show").matches("xdp").count();
    format!("{}\n{}\n{addresses}\nxdp {xdp}", settings.concat(), routes.concat())
}

fn setting(namespace: &Namespace, name: &str) -> String {
    namespace.run(&format!("sysctl -n net.ipv4.conf.{name}")).trim().to_owned()
}

/// A director and a real server on one link, in both families, the client behind the director.
fn world() -> (Namespace, Namespace) {
    let (director, server) = (Namespace::new("director"), Namespace::new("server"));
    connect(&director, &server);
    for (namespace, host) in [(&director, 1), (&server, 3)] {
        namespace.ip(&format!("address add 10.7.0.{host}/24 dev eth0"));
        namespace.ip(&format!("address add 2001:db8:7::{host}/64 dev eth0 nodad"));
    }
    director.ip("address add 198.51.100.7/32 dev lo");
    director.ip("address add 2001:db8:c::7/128 dev lo nodad");
    server.ip("route add default via 10.7.0.1");
    server.ip("route add default via 2001:db8:7::1");
    server.run("sysctl -qw net.ipv4.conf.eth0.rp_filter=1");
    (director, server)
}

#[test]
fn dr_puts_silent_vips_on_lo_and_takes_them_back() {
    let (director, server) = world();
    let instance = Instance::new();
    let before = state(&server);
    server.enter(async || {
        let prepared = RealServer::prepare(instance.dr(&[VIP4, VIP6, VIP4])).await.unwrap();
        let lo = server.ip("address show dev lo");
        assert!(lo.contains("inet 192.0.2.10/32 "), "{lo}");
        assert!(lo.contains("inet6 2001:db8:f::10/128 scope global nodad deprecated"), "{lo}");
        assert_eq!(setting(&server, "all.arp_ignore"), "1");
        assert_eq!(setting(&server, "all.arp_announce"), "2");

        // Nobody answers for it, yet it serves whoever knows the way.
        director.ip("route add 192.0.2.10/32 dev eth0");
        director.ip("route add 2001:db8:f::10/128 dev eth0");
        let mac: Vec<_> = server.mac("eth0").iter().map(|byte| format!("{byte:02x}")).collect();
        for (family, vip, own) in [("ipv4", VIP4, "10.7.0.3"), ("ipv6", VIP6, "2001:db8:7::3")] {
            for setting in ["retrans_time_ms=100", "mcast_solicit=2"] {
                director.run(&format!("sysctl -qw net.{family}.neigh.eth0.{setting}"));
            }
            let _services = [own, vip].map(|address| TcpListener::bind((ip(address), 80)).unwrap());
            assert!(connects(&director, own), "{own} itself is asked for and answers");
            assert!(!connects(&director, vip), "{vip} was answered for");
            let entry = director.ip(&format!("neigh show {vip} dev eth0"));
            assert!(entry.contains("FAILED"), "{entry}");
            director.ip(&format!("neigh replace {vip} lladdr {} dev eth0", mac.join(":")));
            assert!(connects(&director, vip), "{vip} does not serve");
        }

        prepared.undo().await.unwrap();
    });
    assert_eq!(state(&server), before);
    instance.assert_nothing_left();
}

fn connects(from: &Namespace, address: &str) -> bool {
    from.enter(async || TcpStream::connect_timeout(&SocketAddr::new(ip(address), 80), DEADLINE).is_ok())
}

#[test]
fn what_was_there_before_stays() {
    let (_director, server) = world();
    let instance = Instance::new();
    server.ip(&format!("address add {VIP4}/32 dev lo"));
    server.run("sysctl -qw net.ipv4.conf.all.arp_ignore=2");
    let before = state(&server);
    server.enter(async || {
        let prepared = RealServer::prepare(instance.dr(&[VIP4, VIP6])).await.unwrap();
        assert_eq!(setting(&server, "all.arp_ignore"), "2", "stricter than needed");
        prepared.undo().await.unwrap();
    });
    assert_eq!(state(&server), before);
}

#[test]
fn what_somebody_else_changes_meanwhile_is_his() {
    let (_director, server) = world();
    let instance = Instance::new();
    server.enter(async || {
        let prepared = RealServer::prepare(instance.dr(&[VIP4, VIP6])).await.unwrap();
        server.run("sysctl -qw net.ipv4.conf.all.arp_ignore=8");
        server.ip(&format!("address del {VIP6}/128 dev lo"));
        prepared.undo().await.unwrap();
    });
    assert_eq!(setting(&server, "all.arp_ignore"), "8");
    assert_eq!(setting(&server, "all.arp_announce"), "0");
    instance.assert_nothing_left();
}

#[test]
fn the_next_start_undoes_what_a_killed_one_could_not() {
    let (_director, server) = world();
    let instance = Instance::new();
    let before = state(&server);
    let directors = ["10.7.0.1", "2001:db8:7::1"];
    server.enter(async || {
        // Dropped without undoing, as by kill -9.
        drop(RealServer::prepare(instance.ipip(&[VIP4, VIP6], &directors)).await.unwrap());
        assert!(server.ip("link show dev eth0").contains("xdp"), "the tunnel outlives the agent");
        let killed = state(&server);

        let again = RealServer::prepare(instance.ipip(&[VIP4, VIP6], &directors)).await.unwrap();
        assert_eq!(state(&server), killed, "adopted");
        drop(again);

        let other = RealServer::prepare(instance.dr(&["192.0.2.11"])).await.unwrap();
        let addresses = server.ip("address show dev lo");
        assert!(addresses.contains("192.0.2.11/32") && !addresses.contains(VIP4), "{addresses}");
        assert!(!server.ip("link show dev eth0").contains("xdp"), "no tunnel any more");
        assert!(!server.ip("route show").contains("advmss"));
        assert_eq!(setting(&server, "all.arp_ignore"), "1");
        other.undo().await.unwrap();
    });
    assert_eq!(state(&server), before);
    instance.assert_nothing_left();
}

#[test]
fn a_vip_that_would_be_answered_for_is_refused() {
    let (_director, server) = world();
    let instance = Instance::new();
    server.ip(&format!("address add {VIP4}/24 dev eth0"));
    let before = state(&server);
    server.enter(async || {
        let error = RealServer::prepare(instance.dr(&[VIP6, VIP4])).await.err().unwrap();
        assert!(matches!(error, Error::VipElsewhere { .. }), "{error}");
        assert!(error.to_string().contains("ip address del 192.0.2.10/24 dev eth0"), "{error}");
    });
    assert_eq!(state(&server), before, "nothing half done");
    instance.assert_nothing_left();
}

#[test]
fn two_of_one_instance_are_refused() {
    let (_director, server) = world();
    let instance = Instance::new();
    server.enter(async || {
        let first = RealServer::prepare(instance.dr(&[VIP4])).await.unwrap();
        let error = RealServer::prepare(instance.dr(&[VIP4])).await.err().unwrap();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        first.undo().await.unwrap();
    });
}

#[test]
fn clients_are_told_segments_that_fit_through_the_tunnel() {
    let (_director, server) = world();
    let instance = Instance::new();
    server.ip("route add 203.0.113.0/24 via 10.7.0.1 advmss 1300");
    let before = state(&server);
    server.enter(async || {
        let options = instance.ipip(&[VIP4, VIP6], &["10.7.0.1"]);
        let mut prepared = RealServer::prepare(options).await.unwrap();
        let routes = server.ip("-4 route show");
        // 1500 less the outer header of 20, the inner of 20 or 40, and TCP's 20.
        assert!(routes.contains("default via 10.7.0.1 dev eth0 advmss 1440"), "{routes}");
        assert!(
            routes.contains("10.7.0.0/24 dev eth0 proto kernel scope link src 10.7.0.3 advmss 1440"),
            "{routes}"
        );
        assert!(routes.contains("advmss 1300"), "{routes}");
        let routes = server.ip("-6 route show");
        assert!(routes.contains("default via 2001:db8:7::1 dev eth0 metric 1024 advmss 1420"), "{routes}");
        assert!(routes.contains("2001:db8:7::/64 dev eth0 proto kernel metric 256 advmss 1420"), "{routes}");

        // As DHCP does.
        server.ip("route replace default via 10.7.0.1 dev eth0");
        assert!(!server.ip("route show default").contains("advmss"));
        let noticed = async {
            while !server.ip("route show default").contains("advmss 1440") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = prepared.keep() => panic!("it stopped keeping"),
            result = tokio::time::timeout(DEADLINE, noticed) => result.expect("the new route got no limit"),
        }
        prepared.undo().await.unwrap();
    });
    assert_eq!(state(&server), before);
    instance.assert_nothing_left();
}

#[test]
fn tunnelled_datagrams_of_every_mix_reach_the_vip_and_are_answered() {
    let (director, server) = world();
    let instance = Instance::new();
    let directors = ["10.7.0.1", "2001:db8:7::1"];
    server.enter(async || {
        let prepared = RealServer::prepare(instance.ipip(&[VIP4, VIP6], &directors)).await.unwrap();
        for (outer, vip, client) in [
            ("10.7.0.3", VIP4, "198.51.100.7"),
            ("10.7.0.3", VIP6, "2001:db8:c::7"),
            ("2001:db8:7::3", VIP4, "198.51.100.7"),
            ("2001:db8:7::3", VIP6, "2001:db8:c::7"),
        ] {
            let service = UdpSocket::bind((ip(vip), 53)).unwrap();
            service.set_read_timeout(Some(DEADLINE)).unwrap();
            director.enter(async || {
                let answers = UdpSocket::bind((ip(client), 4000)).unwrap();
                answers.set_read_timeout(Some(DEADLINE)).unwrap();
                send_tunnelled(ip(outer), &datagram(ip(client), ip(vip), b"question"));
                let mut buffer = [0; 64];
                let (length, from) = service
                    .recv_from(&mut buffer)
                    .unwrap_or_else(|error| panic!("{vip} in {outer}: the question never arrived: {error}"));
                assert_eq!((&buffer[..length], from), (&b"question"[..], SocketAddr::new(ip(client), 4000)));
                service.send_to(b"answer", from).unwrap();
                let (length, from) = answers.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..length], from), (&b"answer"[..], SocketAddr::new(ip(vip), 53)));
            });
        }
        let started = Instant::now();
        prepared.undo().await.unwrap();
        assert!(started.elapsed() < DEADLINE);
    });
    instance.assert_nothing_left();
}

/// UDP from port 4000 to port 53, headers and all.
fn datagram(source: IpAddr, destination: IpAddr, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut udp = [4000_u16.to_be_bytes(), 53_u16.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    udp.extend(payload);
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => [source.octets(), destination.octets()].concat(),
        _ => panic!("two families"),
    };
    let pseudo_header = checksum::add_bytes(17 + u64::from(length), &addresses);
    let sum = checksum::finish(checksum::add_bytes(pseudo_header, &udp));
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut packet = if source.is_ipv4() {
        let total = (20 + length).to_be_bytes();
        let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 17, 0, 0];
        header.extend(&addresses);
        let sum = checksum::finish(checksum::add_bytes(0, &header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    } else {
        let length = length.to_be_bytes();
        [&[0x60, 0, 0, 0, length[0], length[1], 17, 64], addresses.as_slice()].concat()
    };
    packet.extend(udp);
    packet
}

/// Lets the kernel put the outer header around it.
fn send_tunnelled(server: IpAddr, packet: &[u8]) {
    let carried = if packet[0] >> 4 == 4 { libc::IPPROTO_IPIP } else { libc::IPPROTO_IPV6 };
    let domain = Domain::for_address(SocketAddr::new(server, 0));
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(carried))).unwrap();
    socket.send_to(packet, &SockAddr::from(SocketAddr::new(server, 0))).unwrap();
}
