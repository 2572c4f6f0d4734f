//! A group that comes and goes, against a real kernel: namespaces and veth pairs. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]

mod announcements;
mod conflicts;
mod links;
mod lives;
mod programs;
mod questions;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etherparse::{ArpOperation, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use futures_util::FutureExt as _;
use lvs_userspace::cluster::identity::GroupId;
use lvs_userspace::cluster::takeover::{Answer, Claim, Notice, Probing, Takeover, Timing};
use lvs_userspace::config::model::{Group, GroupAddress, Resource};
use lvs_userspace::network::Network;
use socket2::{Domain, Protocol, Socket, Type};
use support::{Namespace, connect};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);
const V4: &str = "10.7.0.100";
const V6: &str = "2001:db8:7::100";

/// A director, and another machine on its link.
struct World {
    director: Namespace,
    other: Namespace,
    run: TempDir,
}

impl World {
    fn new() -> Self {
        let (director, other) = (Namespace::new("director"), Namespace::new("other"));
        connect(&director, &other);
        for (namespace, host) in [(&director, 1), (&other, 2)] {
            namespace.ip(&format!("address add 10.7.0.{host}/24 dev eth0"));
            namespace.ip(&format!("address add 2001:db8:7::{host}/64 dev eth0 nodad"));
        }
        Self { director, other, run: tempfile::tempdir().unwrap() }
    }

    async fn open(&self, groups: &[Group], timing: Timing) -> (Takeover, mpsc::Receiver<Notice>) {
        open(self.run.path(), groups.to_vec(), timing).await
    }

    fn addresses(&self) -> String {
        self.director.ip("-oneline address show dev eth0")
    }

    /// Everything that arrives at the other machine from now on.
    fn capture(&self) -> Capture {
        let everything = Protocol::from(i32::from(0x0003_u16.to_be()));
        let socket =
            self.other.enter(async || Socket::new(Domain::PACKET, Type::RAW, Some(everything)).unwrap());
        Capture { socket, from: self.director.mac("eth0") }
    }
}

async fn open(run: &Path, groups: Vec<Group>, timing: Timing) -> (Takeover, mpsc::Receiver<Notice>) {
    let (network, _events) = Network::connect().unwrap();
    Takeover::open(network, run, groups, timing).await.unwrap()
}

struct Capture {
    socket: Socket,
    from: [u8; 6],
}

impl Capture {
    /// The next announcement or probe from the director; `None` if none comes within `wait`.
    fn next(&self, wait: Duration) -> Option<Seen> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 2048];
            match (&self.socket).read(&mut buffer) {
                Ok(length) if buffer[6..12] == self.from => {
                    if let Some(seen) = Seen::read(&buffer[..length]) {
                        return Some(seen);
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn expect(&self) -> Seen {
        self.next(DEADLINE).expect("nothing arrived")
    }
}

/// A frame that says who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Sender and target, both with MAC and address.
    Arp(ArpOperation, ([u8; 6], IpAddr), ([u8; 6], IpAddr)),
    /// Target, and the link-layer address of the option.
    Advertisement(IpAddr, [u8; 6]),
}

impl Seen {
    fn read(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let v4 = |bytes: &[u8]| IpAddr::from(<[u8; 4]>::try_from(bytes).unwrap());
        match (packet.net?, packet.transport) {
            (NetSlice::Arp(arp), _) => {
                let sender = (arp.sender_hw_addr().try_into().unwrap(), v4(arp.sender_protocol_addr()));
                let target = (arp.target_hw_addr().try_into().unwrap(), v4(arp.target_protocol_addr()));
                Some(Self::Arp(arp.operation(), sender, target))
            }
            (NetSlice::Ipv6(ip), Some(TransportSlice::Icmpv6(icmp))) => {
                assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
                let Icmpv6Type::NeighborAdvertisement(flags) = icmp.header().icmp_type else { return None };
                let payload = icmp.payload();
                if payload.len() < 24 || !flags.r#override {
                    return None;
                }
                let target = <[u8; 16]>::try_from(&payload[..16]).unwrap();
                Some(Self::Advertisement(target.into(), payload[18..24].try_into().unwrap()))
            }
            _ => None,
        }
    }

    /// One round of announcements for each of the addresses.
    fn round(addresses: &[&str], mac: [u8; 6]) -> Vec<Self> {
        let mut frames = Vec::new();
        for address in addresses.iter().map(|address| ip(address)) {
            if address.is_ipv4() {
                let sender = (mac, address);
                frames.push(Self::Arp(ArpOperation::REQUEST, sender, ([0; 6], address)));
                frames.push(Self::Arp(ArpOperation::REPLY, sender, sender));
            } else {
                frames.push(Self::Advertisement(address, mac));
            }
        }
        frames
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str, prefix: u8) -> GroupAddress {
    GroupAddress { address: ip(text), prefix, interface: "eth0".to_owned(), label: None }
}

fn group(name: &str, addresses: &[GroupAddress]) -> Group {
    let addresses = addresses.to_vec();
    Group { name: name.to_owned(), order: Vec::new(), addresses, resources: Vec::new(), fence: None }
}

/// One address of each family.
fn web() -> Group {
    group("web", &[GroupAddress { label: Some("eth0:web".to_owned()), ..address(V4, 24) }, address(V6, 128)])
}

fn id(name: &str) -> GroupId {
    GroupId::of(name)
}

/// One round, and no more.
fn once() -> Timing {
    Timing { burst: 1, repeats: Vec::new(), ..Timing::default() }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn probe(takeover: &Takeover, probing: Probing) -> Answer {
    takeover.probe(id("web"), probing).await.unwrap().answer
}

/// All of `expected` arrive, in whatever company.
async fn expect_all(capture: Capture, mut expected: Vec<Seen>) -> Capture {
    let seen = tokio::task::spawn_blocking(move || {
        while !expected.is_empty() {
            let seen = capture.next(DEADLINE).unwrap_or_else(|| panic!("missing: {expected:?}"));
            expected.retain(|expected| *expected != seen);
        }
        capture
    });
    seen.await.unwrap()
}
