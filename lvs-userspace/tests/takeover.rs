//! A group that comes and goes, against a real kernel: namespaces and veth pairs. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]

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

#[test]
fn a_group_comes_with_announcements_and_goes() {
    let world = World::new();
    let mac = world.director.mac("eth0");
    let before = world.addresses();
    world.director.enter(async || {
        let timing = Timing { burst: 3, repeats: vec![Duration::from_millis(100)], ..Timing::default() };
        let (takeover, _notices) = world.open(&[web()], timing).await;
        let capture = world.capture();
        let begun = Instant::now();
        takeover.serve(id("web")).await.unwrap();
        let took = begun.elapsed();
        println!("served within {took:?}");
        assert!(took < Duration::from_millis(500), "{took:?}");
        let addresses = world.addresses();
        assert!(
            addresses.contains("inet 10.7.0.100/24 brd 10.7.0.255 scope global secondary eth0:web"),
            "{addresses}"
        );
        assert!(addresses.contains("inet6 2001:db8:7::100/128 scope global nodad deprecated"), "{addresses}");
        // Three rounds of the burst and one repeat, of which the task sends the later ones.
        let expected = Seen::round(&[V4, V6], mac).repeat(4);
        let seen = tokio::task::spawn_blocking(move || {
            let seen: Vec<_> = (0..expected.len()).map(|_| capture.expect()).collect();
            assert_eq!(seen, expected);
            assert_eq!(capture.next(Duration::from_millis(150)), None, "one too many");
            capture
        });
        let capture = seen.await.unwrap();
        // Again, as after a heal.
        takeover.announce(id("web")).unwrap();
        let again = Seen::round(&[V4, V6], mac);
        let seen = tokio::task::spawn_blocking(move || {
            assert_eq!((0..again.len()).map(|_| capture.expect()).collect::<Vec<_>>(), again);
        });
        seen.await.unwrap();
        // Twice is like once.
        takeover.serve(id("web")).await.unwrap();
        assert_eq!(world.addresses(), addresses);
        assert!(takeover.withdraw(id("web")).await.is_empty());
        assert_eq!(world.addresses(), before);
        assert!(takeover.withdraw(id("web")).await.is_empty(), "nothing left to do");
    });
}

#[test]
fn nothing_is_announced_any_more_after_a_withdrawal() {
    let world = World::new();
    world.director.enter(async || {
        let endless = Timing { burst: u32::MAX, spacing: Duration::from_millis(2), ..Timing::default() };
        let (takeover, _notices) = world.open(&[web()], endless).await;
        let capture = world.capture();
        takeover.serve(id("web")).await.unwrap();
        let capture = tokio::task::spawn_blocking(move || {
            for _ in 0..30 {
                capture.expect();
            }
            capture
        });
        let capture = capture.await.unwrap();
        assert!(takeover.withdraw(id("web")).await.is_empty());
        let silent = tokio::task::spawn_blocking(move || {
            // Those on their way, then none for fifty times the spacing.
            let begun = Instant::now();
            while capture.next(Duration::from_millis(100)).is_some() {
                assert!(begun.elapsed() < DEADLINE, "it goes on");
            }
        });
        silent.await.unwrap();
        assert!(takeover.announce(id("web")).is_ok());
        assert!(takeover.announce(id("nobody")).is_err());
    });
}

#[test]
fn a_probe_finds_who_has_an_address() {
    let world = World::new();
    let mac = world.other.mac("eth0");
    world.director.enter(async || {
        let (takeover, _notices) = world.open(&[web()], once()).await;
        let begun = Instant::now();
        assert_eq!(probe(&takeover, Probing::default()).await, Answer::Silent);
        let took = begun.elapsed();
        println!("silence after {took:?}");
        assert!(took >= Duration::from_millis(60) && took < Duration::from_secs(2), "{took:?}");
        for vip in [V4, V6] {
            world.other.ip(&format!("address add {vip} dev eth0 nodad"));
            let begun = Instant::now();
            let answer = probe(&takeover, Probing { wait: DEADLINE, ..Probing::default() }).await;
            println!("answer after {:?}", begun.elapsed());
            assert_eq!(answer, Answer::Answered(Claim { address: ip(vip), by: mac }));
            world.other.ip(&format!("address del {vip}/{} dev eth0", if vip == V4 { 32 } else { 128 }));
        }
        // Questions in the name of nobody are remembered by nobody.
        let remembered = world.other.ip("neigh show");
        assert!(!remembered.contains(V4) && !remembered.contains(V6), "{remembered}");
        world.director.ip("link set eth0 down");
        assert!(
            takeover.probe(id("web"), Probing::default()).await.is_err(),
            "a link that is down says nothing"
        );
    });
}

async fn probe(takeover: &Takeover, probing: Probing) -> Answer {
    takeover.probe(id("web"), probing).await.unwrap().answer
}

/// Two that are about to take the same: each hears what the other has asked after its own first question.
#[test]
fn questions_that_cross_are_heard() {
    let world = World::new();
    let both = [&world.director, &world.other];
    let claim = |vip, of: usize| Answer::Asked(Claim { address: ip(vip), by: both[of].mac("eth0") });
    for vip in [V4, V6] {
        let start = Barrier::new(2);
        let ask = |of: usize| {
            both[of].enter(async || {
                let run = tempfile::tempdir().unwrap();
                let (takeover, _notices) =
                    open(run.path(), vec![group("web", &[address(vip, 32)])], once()).await;
                start.wait();
                // Long enough for the other one to begin, however busy the machine is.
                let wait = Duration::from_secs(2);
                probe(&takeover, Probing { spacing: Duration::from_millis(100), wait, ..Probing::default() })
                    .await
            })
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| ask(1));
            assert_eq!(ask(0), claim(vip, 1), "{vip}");
            assert_eq!(other.join().unwrap(), claim(vip, 0), "{vip}");
        });
    }
}

#[test]
fn of_two_questions_the_earlier_one_stands_back_where_the_later_one_hears_nothing() {
    let world = World::new();
    let (director, capture) = (&world.director, world.capture());
    let asks = |probing| async move {
        let run = tempfile::tempdir().unwrap();
        let (takeover, _notices) = open(run.path(), vec![group("web", &[address(V4, 24)])], once()).await;
        probe(&takeover, probing).await
    };
    std::thread::scope(|scope| {
        let patient = Probing { wait: Duration::from_secs(3), ..Probing::default() };
        let early = scope.spawn(move || director.enter(async || asks(patient).await));
        // All that the early one says is said.
        for _ in 0..Probing::default().count {
            capture.expect();
        }
        let late = world.other.enter(async || asks(Probing::default()).await);
        assert_eq!(late, Answer::Silent);
        let by = world.other.mac("eth0");
        assert_eq!(early.join().unwrap(), Answer::Asked(Claim { address: ip(V4), by }));
    });
}

/// The answer arrives although the link is full of other claims.
#[test]
fn a_probe_is_not_drowned() {
    let world = World::new();
    let mac = world.other.mac("eth0");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            world.other.enter(async || {
                let addresses: Vec<_> =
                    (1..=200).map(|host| address(&format!("10.7.1.{host}"), 32)).collect();
                let endless = Timing { burst: u32::MAX, spacing: Duration::ZERO, ..Timing::default() };
                let run = tempfile::tempdir().unwrap();
                let groups = vec![group("flood", &addresses)];
                let (takeover, _notices) = open(run.path(), groups, endless).await;
                takeover.serve(id("flood")).await.unwrap();
                world.other.ip(&format!("address add {V4} dev eth0"));
                until("the probe has not ended", || is_over.load(Ordering::Relaxed)).await;
            });
        });
        world.director.enter(async || {
            let (takeover, mut notices) = world.open(&[web()], once()).await;
            until("no flood", || world.other.ip("address show dev eth0").contains(V4)).await;
            let answer = probe(&takeover, Probing { wait: DEADLINE, ..Probing::default() }).await;
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(answer, Answer::Answered(Claim { address: ip(V4), by: mac }));
            assert!(notices.try_recv().is_err());
        });
    });
}

#[test]
fn what_an_earlier_life_has_left_is_swept_away() {
    let world = World::new();
    world.director.enter(async || {
        let groups = [web(), group("mail", &[address("10.7.0.101", 32)])];
        world.director.ip(&format!("address add {V4}/24 dev eth0"));
        world.director.ip(&format!("address add {V6}/128 dev eth0 nodad"));
        world.director.ip("address add 10.7.0.101/32 dev eth0");
        let (takeover, _notices) = world.open(&groups, once()).await;
        let removed = takeover.sweep(&BTreeSet::from([id("mail")])).await.unwrap();
        assert_eq!(removed, [ip(V4), ip(V6)]);
        let addresses = world.addresses();
        assert!(!addresses.contains(V4) && !addresses.contains(V6), "{addresses}");
        assert!(addresses.contains("10.7.0.101/32") && addresses.contains("10.7.0.1/24"), "{addresses}");
        // The one that stood there otherwise is as it should be.
        world.director.ip(&format!("address add {V4}/32 dev eth0"));
        takeover.serve(id("web")).await.unwrap();
        let addresses = world.addresses();
        assert!(addresses.contains("10.7.0.100/24") && !addresses.contains("10.7.0.100/32"), "{addresses}");
        assert!(takeover.sweep(&BTreeSet::new()).await.unwrap() == [ip("10.7.0.101")], "web is held");
    });
}

/// Without promote_secondaries the kernel would take the second one away with the first.
#[test]
fn a_group_that_goes_leaves_the_others() {
    let world = World::new();
    world.director.ip("address flush dev eth0");
    world.director.enter(async || {
        let groups = [group("one", &[address("10.7.0.101", 24)]), group("two", &[address("10.7.0.102", 24)])];
        let (takeover, _notices) = world.open(&groups, once()).await;
        takeover.serve(id("one")).await.unwrap();
        takeover.serve(id("two")).await.unwrap();
        assert!(world.addresses().contains("10.7.0.102/24 brd 10.7.0.255 scope global secondary"));
        assert!(takeover.withdraw(id("one")).await.is_empty());
        let addresses = world.addresses();
        assert!(!addresses.contains("10.7.0.101") && addresses.contains("10.7.0.102/24"), "{addresses}");
    });
}

#[test]
fn somebody_else_with_our_address_is_an_alarm_and_answered() {
    let world = World::new();
    let (by, own) = (world.other.mac("eth0"), world.director.mac("eth0"));
    world.director.enter(async || {
        let (takeover, mut notices) = world.open(&[web()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        let capture = world.capture();
        // Another director that believes the group is its own.
        world.other.enter(async || {
            let run = tempfile::tempdir().unwrap();
            let (other, _notices) = open(run.path(), vec![web()], Timing::default()).await;
            other.serve(id("web")).await.unwrap();
        });
        let mut addresses = Vec::new();
        for _ in 0..2 {
            let notice = timeout(DEADLINE, notices.recv()).await.expect("no alarm").unwrap();
            let Notice::Conflict { group, address, by: mac } = notice else { panic!("{notice:?}") };
            assert_eq!((group.as_str(), mac), ("web", by));
            addresses.push(address);
        }
        assert_eq!(addresses, [ip(V4), ip(V6)]);
        expect_all(capture, Seen::round(&[V4, V6], own)).await;
        assert!(notices.try_recv().is_err(), "once for each");
    });
}

/// Who takes over in order announces it before the one before has let go.
#[test]
fn a_successor_is_no_alarm() {
    let world = World::new();
    world.director.enter(async || {
        let (takeover, mut notices) = world.open(&[web()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        world.other.enter(async || {
            let run = tempfile::tempdir().unwrap();
            let (other, _notices) = open(run.path(), vec![web()], once()).await;
            other.serve(id("web")).await.unwrap();
        });
        takeover.silence(id("web"));
        let capture = world.capture();
        let told = timeout(Duration::from_millis(500), notices.recv()).await;
        assert!(told.is_err(), "{told:?}");
        assert_eq!(capture.next(Duration::from_millis(1)), None, "an announcement after all");
        assert!(takeover.withdraw(id("web")).await.is_empty());
    });
}

#[test]
fn a_link_that_comes_back_and_another_mac_are_announced() {
    let world = World::new();
    world.director.enter(async || {
        let (takeover, mut notices) = world.open(&[web()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        let capture = world.capture();
        // The kernel removes the IPv6 addresses of an interface that is switched off.
        world.director.ip("link set eth0 down");
        world.director.ip("link set eth0 up");
        let restored = Notice::Restored { group: "web".to_owned(), address: ip(V6) };
        assert_eq!(timeout(DEADLINE, notices.recv()).await.unwrap(), Some(restored));
        let expected = Seen::round(&[V4, V6], world.director.mac("eth0"));
        let capture = expect_all(capture, expected).await;

        world.director.ip("link set eth0 address 02:00:00:00:00:99");
        let expected = Seen::round(&[V4, V6], [2, 0, 0, 0, 0, 0x99]);
        let capture = Capture { from: [2, 0, 0, 0, 0, 0x99], ..capture };
        expect_all(capture, expected).await;
        assert!(world.addresses().contains(V4) && world.addresses().contains(V6));

        // Somebody takes one away.
        world.director.ip(&format!("address del {V4}/24 dev eth0"));
        until("it was not put back", || world.addresses().contains(V4)).await;
        assert!(takeover.withdraw(id("web")).await.is_empty());
        assert!(!world.addresses().contains(V4) && !world.addresses().contains(V6));
    });
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

#[test]
fn settings_are_put_back_even_by_the_next_life() {
    let world = World::new();
    let settings = || {
        let names = ["arp_ignore", "arp_announce", "promote_secondaries", "arp_notify"];
        let all = names.map(|name| format!("net.ipv4.conf.all.{name} net.ipv4.conf.eth0.{name}"));
        world.director.run(&format!("sysctl {}", all.join(" ")))
    };
    world.director.run("sysctl -qw net.ipv4.conf.eth0.arp_ignore=2 net.ipv4.conf.eth0.promote_secondaries=0");
    let before = settings();
    world.director.enter(async || {
        let (takeover, _notices) = world.open(&[web()], once()).await;
        let changed = settings();
        for line in
            ["all.arp_ignore = 1", "eth0.arp_ignore = 2", "eth0.arp_announce = 2", "eth0.arp_notify = 0"]
        {
            assert!(changed.contains(line), "{line}: {changed}");
        }
        assert!(changed.contains("eth0.promote_secondaries = 1"), "{changed}");
        // As by kill -9.
        drop(takeover);
        assert_eq!(settings(), changed);
        let (takeover, _notices) = world.open(&[web()], once()).await;
        takeover.close();
        assert_eq!(settings(), before);
        assert!(!world.run.path().exists(), "its file and its directory are gone");
    });
}

#[test]
fn another_configuration_changes_what_is_held() {
    let world = World::new();
    world.director.enter(async || {
        let mail = group("mail", &[address("10.7.0.101", 32)]);
        let (takeover, mut notices) = world.open(&[web(), mail.clone()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        let capture = world.capture();
        let other = group("web", &[address(V4, 24), address("10.7.0.102", 32)]);
        takeover.configure(vec![other, mail]).await.unwrap();
        let addresses = world.addresses();
        assert!(addresses.contains(V4) && addresses.contains("10.7.0.102/32"), "{addresses}");
        assert!(!addresses.contains(V6) && !addresses.contains("10.7.0.101"), "{addresses}");
        let capture = expect_all(capture, Seen::round(&[V4, "10.7.0.102"], world.director.mac("eth0"))).await;
        drop(capture);
        assert!(notices.try_recv().is_err(), "nothing is wrong");
        takeover.configure(Vec::new()).await.unwrap();
        assert!(!world.addresses().contains(V4), "{}", world.addresses());
    });
}

/// An interface that is made anew has another index and other settings.
#[test]
fn an_interface_may_be_made_anew() {
    let world = World::new();
    world.director.enter(async || {
        let (takeover, mut notices) = world.open(&[web()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        world.director.ip("link del eth0");
        until("it is still known", || takeover_fails(&takeover)).await;
        connect(&world.other, &world.director);
        until("it was not put back", || world.addresses().contains(V4) && world.addresses().contains(V6))
            .await;
        let restored = timeout(DEADLINE, notices.recv()).await.unwrap();
        assert!(matches!(restored, Some(Notice::Restored { .. })), "{restored:?}");
        let setting = || world.director.run("sysctl -n net.ipv4.conf.eth0.arp_announce");
        until("no settings", || setting().trim() == "2").await;
        world.other.ip(&format!("address add {V4} dev eth0"));
        let answer = probe(&takeover, Probing { wait: DEADLINE, ..Probing::default() }).await;
        assert!(
            matches!(answer, Answer::Answered(claim) if claim.by == world.other.mac("eth0")),
            "{answer:?}"
        );
    });
}

fn takeover_fails(takeover: &Takeover) -> bool {
    let probe = takeover.probe(id("web"), Probing::default());
    matches!(probe.now_or_never(), Some(Err(_)))
}

#[test]
fn programs_run_once_the_addresses_are_there() {
    let world = World::new();
    let log = world.run.path().join("log");
    let script = |name: &str, end: &str| Resource {
        command: ["sh", "-c"]
            .map(str::to_owned)
            .into_iter()
            .chain([format!(
                "echo {name} $0 $(ip -o address show | grep -c {V4}/) >> {}; {end}",
                log.display()
            )])
            .collect(),
        timeout: DEADLINE,
    };
    world.director.enter(async || {
        let mut group = web();
        group.resources = vec![script("one", "true"), script("two", "true")];
        let (takeover, _notices) = world.open(&[group.clone()], once()).await;
        takeover.serve(id("web")).await.unwrap();
        assert!(takeover.withdraw(id("web")).await.is_empty());
        assert_eq!(read(&log), "one start 1\ntwo start 1\ntwo stop 1\none stop 1\n");

        std::fs::remove_file(&log).unwrap();
        group.resources[0] = script("one", "exit 1");
        takeover.configure(vec![group]).await.unwrap();
        let failure = takeover.serve(id("web")).await.unwrap_err();
        assert!(failure.to_string().contains("start` failed: exit status: 1"), "{failure}");
        assert_eq!(read(&log), "one start 1\n");
        assert_eq!(takeover.withdraw(id("web")).await.len(), 1, "its stop fails as well");
        assert_eq!(read(&log), "one start 1\ntwo stop 1\none stop 1\n");
        assert!(!world.addresses().contains(V4));
    });
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
