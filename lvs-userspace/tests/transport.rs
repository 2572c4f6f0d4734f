//! Paths of the heartbeat against a real kernel: namespaces, veth pairs, pseudo terminals.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]

mod support;

use std::fs::{self, File};
use std::io::{IoSliceMut, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lvs_userspace::cluster::frame;
use lvs_userspace::cluster::identity::NodeId;
use lvs_userspace::cluster::transport::{Error, Kind, LONGEST, PathInfo, Source, Transport, Waker};
use lvs_userspace::config::{self, model::Cluster};
use nix::errno::Errno;
use nix::pty::{OpenptyResult, openpty};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use socket2::{Domain, Socket, Type};
use support::{Namespace, connect};

const DEADLINE: Duration = Duration::from_secs(20);
const PORT: u16 = 694;

/// A cluster of nodes `one` and `two`.
fn cluster(one: &str, two: &str, others: &str) -> Cluster {
    let text = format!(
        "version: 1
interfaces: [eth0]
services: []
cluster:
  nodes: [{{name: one, addresses: [{one}]}}, {{name: two, addresses: [{two}]}}]
  groups: [{{name: g, addresses: [{{address: 192.0.2.1, interface: eth0}}]}}]
{others}"
    );
    let config = config::parse(&text, "lvs.yaml").unwrap_or_else(|mistakes| panic!("{mistakes}"));
    Cluster::clone(&config.cluster.unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Waits until `condition` holds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A message, and how it came.
#[derive(Clone, Debug)]
struct Heard {
    source: Source,
    kind: Kind,
    text: String,
}

/// A node that says its name every 10 ms on all its paths, and notes what it hears.
struct Node {
    heard: Arc<Mutex<Vec<Heard>>>,
    paths: Arc<Mutex<Vec<PathInfo>>>,
    waker: Waker,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    fn start(namespace: Option<&Namespace>, cluster: &Cluster, name: &'static str) -> Self {
        let place = namespace.map(|namespace| File::open(format!("/run/netns/{}", namespace.name)).unwrap());
        let (heard, paths) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let thread = {
            let (heard, paths, is_stopping) = (heard.clone(), paths.clone(), is_stopping.clone());
            let cluster = cluster.clone();
            thread::spawn(move || {
                if let Some(place) = place {
                    setns(place, CloneFlags::CLONE_NEWNET).unwrap();
                }
                let mut transport = Transport::open(&cluster, NodeId::of(name)).unwrap();
                ready.send(transport.waker()).unwrap();
                while !is_stopping.load(Ordering::Relaxed) {
                    transport.send(name.as_bytes());
                    let kinds: Vec<Kind> = transport.paths().map(|path| path.kind).collect();
                    let receive = |source: Source, bytes: &[u8]| {
                        let text = String::from_utf8_lossy(bytes).into_owned();
                        heard.lock().unwrap().push(Heard { source, kind: kinds[source.path], text });
                    };
                    transport.poll(Duration::from_millis(10), receive).unwrap();
                    *paths.lock().unwrap() = transport.paths().cloned().collect();
                }
            })
        };
        let waker = is_ready.recv_timeout(DEADLINE).unwrap();
        Self { heard, paths, waker, is_stopping, thread: Some(thread) }
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    fn forget(&self) {
        self.heard.lock().unwrap().clear();
    }

    /// Waits until `text` is heard, from now on, on paths of all these kinds, each as often.
    fn hears(&self, text: &str, kinds: &[(Kind, usize)]) {
        self.forget();
        for (kind, paths) in kinds {
            until(&format!("{text} on {paths} paths of kind {kind:?}, at {:#?}", self.paths()), || {
                let heard = self.heard();
                let heard = heard.iter().filter(|heard| heard.kind == *kind && heard.text == text);
                let mut numbers: Vec<usize> = heard.map(|heard| heard.source.path).collect();
                numbers.sort_unstable();
                numbers.dedup();
                numbers.len() == *paths
            });
        }
    }

    fn paths(&self) -> Vec<PathInfo> {
        self.paths.lock().unwrap().clone()
    }

    fn path(&self, kind: Kind) -> PathInfo {
        until("a round", || !self.paths().is_empty());
        self.paths().into_iter().find(|path| path.kind == kind).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.waker.wake();
        let ended = self.thread.take().unwrap().join();
        // A failure here must not hide the one that ends the test.
        assert!(thread::panicking() || ended.is_ok());
    }
}

/// Two namespaces on one wire, with an address of each family.
fn wire() -> (Namespace, Namespace) {
    let (one, two) = (Namespace::new("one"), Namespace::new("two"));
    connect(&one, &two);
    for (namespace, number) in [(&one, 1), (&two, 2)] {
        namespace.ip(&format!("address add 10.7.0.{number}/24 dev eth0"));
        namespace.ip(&format!("address add 2001:db8:7::{number}/64 dev eth0 nodad"));
    }
    (one, two)
}

const ON_THE_WIRE: &str = "  paths:
    - {type: multicast, interface: eth0, group: 239.255.42.99}
    - {type: multicast, interface: eth0, group: 'ff02::4:2'}
    - {type: broadcast, interface: eth0}
";
const ALL: &[(Kind, usize)] = &[(Kind::Unicast, 2), (Kind::Multicast, 2), (Kind::Broadcast, 1)];

fn on_the_wire() -> Cluster {
    cluster("10.7.0.1, '2001:db8:7::1'", "10.7.0.2, '2001:db8:7::2'", ON_THE_WIRE)
}

#[test]
fn beats_travel_on_every_path() {
    let (here, there) = wire();
    let cluster = on_the_wire();
    let (one, two) = (Node::start(Some(&here), &cluster, "one"), Node::start(Some(&there), &cluster, "two"));
    one.hears("two", ALL);
    two.hears("one", ALL);
    for heard in one.heard() {
        if heard.kind == Kind::Unicast {
            let address = if heard.source.path == 0 { ip("10.7.0.2") } else { ip("2001:db8:7::2") };
            assert_eq!(heard.source.address, Some(SocketAddr::new(address, PORT)));
        }
        // Only a broadcast comes back to its sender.
        assert!(heard.text == "two" || heard.kind == Kind::Broadcast, "{heard:?}");
    }
    for path in one.paths() {
        assert_eq!(path.fault, None, "{path:?}");
        assert!(path.counts.sent > 0 && path.counts.received > 0, "{path:?}");
    }
    let names: Vec<_> = one.paths().into_iter().map(|path| path.name).collect();
    assert_eq!(
        names,
        [
            "from 10.7.0.1",
            "from 2001:db8:7::1",
            "multicast 239.255.42.99 on eth0",
            "multicast ff02::4:2 on eth0",
            "broadcast on eth0"
        ]
    );
}

#[test]
fn a_link_that_comes_back_works_again() {
    let (here, there) = wire();
    let cluster = on_the_wire();
    let (one, two) = (Node::start(Some(&here), &cluster, "one"), Node::start(Some(&there), &cluster, "two"));
    one.hears("two", ALL);
    for _ in 0..2 {
        there.ip("link set eth0 down");
        until("faults of all paths", || {
            two.paths().iter().all(|path| path.fault.is_some() && path.counts.failed > 0)
        });
        there.ip("link set eth0 up");
        // The kernel takes IPv6 addresses away with the link.
        there.ip("address replace 2001:db8:7::2/64 dev eth0 nodad");
        one.hears("two", ALL);
        two.hears("one", ALL);
        until("no fault", || two.paths().iter().all(|path| path.fault.is_none()));
    }
}

#[test]
fn an_interface_that_comes_late_or_again_is_used() {
    let (here, there) = wire();
    let paths = "  paths:
    - {type: multicast, interface: late, group: 239.255.42.99}
    - {type: multicast, interface: late, group: 'ff02::4:2'}
    - {type: broadcast, interface: late}
";
    let cluster = cluster("10.8.0.1", "10.8.0.2", paths);
    let (one, two) = (Node::start(Some(&here), &cluster, "one"), Node::start(Some(&there), &cluster, "two"));
    assert_eq!(one.path(Kind::Broadcast).fault.unwrap().0, Errno::ENODEV);
    assert_eq!(one.path(Kind::Unicast).fault.unwrap().0, Errno::EADDRNOTAVAIL);
    for _ in 0..2 {
        here.ip(&format!("link add late type veth peer name late netns {}", there.name));
        for (namespace, number) in [(&here, 1), (&there, 2)] {
            namespace.run("sysctl -qw net.ipv6.conf.late.accept_dad=0");
            namespace.ip(&format!("address add 10.8.0.{number}/24 dev late"));
            namespace.ip("link set late up");
        }
        one.hears("two", &[(Kind::Unicast, 1), (Kind::Multicast, 2), (Kind::Broadcast, 1)]);
        two.hears("one", &[(Kind::Unicast, 1), (Kind::Multicast, 2), (Kind::Broadcast, 1)]);
        here.ip("link delete late");
        until("faults", || one.paths().iter().all(|path| path.fault.is_some()));
    }
}

#[test]
fn what_comes_by_another_interface_is_not_heard() {
    let (here, there) = wire();
    here.ip(&format!("link add other type veth peer name other netns {}", there.name));
    for (namespace, number) in [(&here, 1), (&there, 2)] {
        namespace.ip(&format!("address add 10.9.0.{number}/24 dev other"));
        namespace.ip("link set other up");
    }
    let cluster = on_the_wire();
    let one = Node::start(Some(&here), &cluster, "one");
    // Another program hears the other interface: the kernel takes in what comes there.
    let hears_other = here.enter(async || {
        ["239.255.42.99", "255.255.255.255"].map(|address| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind_device(Some(b"other")).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket.bind(&SocketAddr::new(ip(address), PORT).into()).unwrap();
            if let IpAddr::V4(group) = ip(address)
                && group.is_multicast()
            {
                socket.join_multicast_v4(&group, &"10.9.0.1".parse().unwrap()).unwrap();
            }
            UdpSocket::from(socket)
        })
    });
    there.enter(async || {
        for (from, text) in [("10.9.0.2", "other"), ("10.7.0.2", "right")] {
            for to in ["239.255.42.99", "255.255.255.255"] {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
                let interface = if text == "other" { "other" } else { "eth0" };
                socket.bind_device(Some(interface.as_bytes())).unwrap();
                socket.set_broadcast(true).unwrap();
                socket.bind(&SocketAddr::new(ip(from), 0).into()).unwrap();
                UdpSocket::from(socket).send_to(text.as_bytes(), (to, PORT)).unwrap();
            }
        }
    });
    for socket in &hears_other {
        let mut buffer = [0; 10];
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"other");
    }
    until("what comes by the right one", || {
        let heard = one.heard();
        let right = |kind| heard.iter().any(|heard| heard.text == "right" && heard.kind == kind);
        right(Kind::Multicast) && right(Kind::Broadcast)
    });
    assert!(one.heard().iter().all(|heard| heard.text != "other"), "{:?}", one.heard());
}

#[test]
fn strangers_and_giants_are_dropped_and_counted() {
    let (here, there) = wire();
    there.ip("address add 10.7.0.66/24 dev eth0");
    let cluster = on_the_wire();
    let one = Node::start(Some(&here), &cluster, "one");
    let sizes = [(10, "10.7.0.66"), (LONGEST + 1, "10.7.0.2"), (60_000, "10.7.0.2"), (LONGEST, "10.7.0.2")];
    there.enter(async || {
        for (size, from) in sizes {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            socket.send_to(&vec![b'x'; size], ("10.7.0.1", PORT)).unwrap();
        }
    });
    until("the one that is right", || one.heard().iter().any(|heard| heard.text.len() == LONGEST));
    until("its count", || one.path(Kind::Unicast).counts.received == 1);
    let counts = one.path(Kind::Unicast).counts;
    assert_eq!((counts.strangers, counts.too_long), (1, 2));
    assert_eq!(one.heard().iter().filter(|heard| heard.kind == Kind::Unicast).count(), 1);
}

/// The byte of the header that says how urgent a packet is.
fn urgency(socket: &Socket) -> i32 {
    let mut bytes = [0; 100];
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!(i32);
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::empty())
            .unwrap();
    match message.cmsgs().unwrap().next() {
        Some(ControlMessageOwned::Ipv4Tos(tos)) => tos.into(),
        Some(ControlMessageOwned::Ipv6TClass(class)) => class,
        other => panic!("{other:?}"),
    }
}

#[test]
fn beats_are_marked_as_urgent() {
    let (here, there) = wire();
    let sockets = there.enter(async || {
        let socket = |address: &str, domain| {
            let socket = Socket::new(domain, Type::DGRAM, None).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            match domain {
                Domain::IPV4 => socket.set_recv_tos_v4(true).unwrap(),
                _ => socket.set_recv_tclass_v6(true).unwrap(),
            }
            socket.bind(&SocketAddr::new(ip(address), PORT).into()).unwrap();
            socket
        };
        [socket("10.7.0.2", Domain::IPV4), socket("2001:db8:7::2", Domain::IPV6)]
    });
    let cluster = on_the_wire();
    let _one = Node::start(Some(&here), &cluster, "one");
    for socket in &sockets {
        assert_eq!(urgency(socket) >> 2, 0b11_0000, "class selector 6");
    }
}

#[test]
fn a_voter_answers_whoever_asks() {
    let (here, there) = wire();
    let rows = [
        ("10.7.0.2", "10.7.0.1", "10.99.0.1"),
        ("2001:db8:7::2", "'2001:db8:7::1'", "'2001:db8:99::1'"),
        ("2001:db8:7::2", "10.7.0.1", "10.99.0.1"),
        ("10.7.0.2", "", ""),
    ];
    // At an address of its own, and at its default: every one of both versions.
    let listening = rows.iter().flat_map(|row| [(ip(row.0), row), (ip("::"), row)]);
    for (listen, (voter, own, peer)) in listening {
        let others = format!("  voter: {{name: witness, address: '{voter}', port: 7000}}\n{ON_THE_WIRE}");
        let cluster = cluster(own, peer, &others);
        let one = Node::start(Some(&here), &cluster, "one");
        there.enter(async || {
            let mut transport = Transport::listen(SocketAddr::new(listen, 7_000)).unwrap();
            let mut source = None;
            until("a question", || {
                transport.poll(DEADLINE, |from, bytes| source = (bytes == b"one").then_some(from)).unwrap();
                source.is_some()
            });
            transport.send_to(source.unwrap(), b"aye").unwrap();
        });
        until("an answer", || {
            one.heard().iter().any(|heard| heard.kind == Kind::Voter && heard.text == "aye")
        });
    }
}

#[test]
fn another_thread_ends_the_wait() {
    let (here, _there) = wire();
    here.enter(async || {
        let mut transport = Transport::open(&on_the_wire(), NodeId::of("one")).unwrap();
        let waker = transport.waker();
        let start = Instant::now();
        let waking = thread::spawn(move || waker.wake());
        until("the wake", || transport.poll(DEADLINE, |_, _| {}).unwrap());
        waking.join().unwrap();
        assert!(!transport.poll(Duration::ZERO, |_, _| {}).unwrap(), "once is enough");
        assert!(start.elapsed() < DEADLINE);
    });
}

#[test]
fn a_node_of_another_cluster_has_no_paths() {
    let error = Transport::open(&on_the_wire(), NodeId::of("three")).unwrap_err();
    assert!(matches!(error, Error::NoNode(node) if node == NodeId::of("three")), "{error}");
}

/// A null modem cable between two pseudo terminals, found by links of a fixed name.
struct Cable {
    noise: Arc<Mutex<[Vec<u8>; 2]>>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Cable {
    fn plug(ends: &[PathBuf; 2]) -> Self {
        let terminals: [OpenptyResult; 2] = std::array::from_fn(|_| openpty(None, None).unwrap());
        for (terminal, end) in terminals.iter().zip(ends) {
            let mut settings = tcgetattr(&terminal.slave).unwrap();
            cfmakeraw(&mut settings);
            tcsetattr(&terminal.slave, SetArg::TCSANOW, &settings).unwrap();
            let device = fs::read_link(format!("/proc/self/fd/{}", terminal.slave.as_raw_fd())).unwrap();
            fs::remove_file(end).ok();
            symlink(device, end).unwrap();
        }
        let noise = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (noise, is_stopping) = (noise.clone(), is_stopping.clone());
            move || carry(terminals, &noise, &is_stopping)
        });
        Self { noise, is_stopping, thread: Some(thread) }
    }

    /// What both ends receive beside what the other sends, once.
    fn disturb(&self, bytes: &[u8]) {
        *self.noise.lock().unwrap() = [bytes.to_vec(), bytes.to_vec()];
    }
}

/// Carries bytes until it is to stop; then both ends hang up.
fn carry(terminals: [OpenptyResult; 2], noise: &Mutex<[Vec<u8>; 2]>, is_stopping: &AtomicBool) {
    let [one, two] = terminals;
    // The terminals themselves stay open, so that a node may open and close its end.
    let _held = [one.slave, two.slave];
    let mut ends = [one.master, two.master].map(|master| {
        nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        File::from(master)
    });
    let mut buffer = [0; 512];
    while !is_stopping.load(Ordering::Relaxed) {
        for from in [0, 1] {
            let mut bytes = std::mem::take(&mut noise.lock().unwrap()[from]);
            let length = ends[from].read(&mut buffer).unwrap_or(0);
            bytes.extend(&buffer[..length]);
            // What a full terminal does not take is lost, as on a line.
            ends[1 - from].write_all(&bytes).ok();
        }
        thread::sleep(Duration::from_millis(1));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        drop(self.thread.take().unwrap().join());
    }
}

fn on_the_line(device: &Path, baud: u32) -> Cluster {
    let device = device.display();
    cluster("", "", &format!("  paths: [{{type: serial, device: {device}, baud: {baud}}}]\n  deadtime: 1s"))
}

const LINE: &[(Kind, usize)] = &[(Kind::Serial, 1)];

#[test]
fn a_serial_line_carries_beats_through_noise_and_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let ends = [directory.path().join("ttyS0"), directory.path().join("ttyS1")];
    let clusters = [on_the_line(&ends[0], 115_200), on_the_line(&ends[1], 115_200)];
    let (one, two) = (Node::start(None, &clusters[0], "one"), Node::start(None, &clusters[1], "two"));
    assert_eq!(one.path(Kind::Serial).fault.unwrap().0, Errno::ENOENT);
    assert_eq!(one.path(Kind::Serial).name, format!("serial {}", ends[0].display()));
    for _ in 0..2 {
        let cable = Cable::plug(&ends);
        one.hears("two", LINE);
        two.hears("one", LINE);
        // What terminals and modems take for commands, half a frame, and another kind of frame.
        let noise = [
            &b"\x03\x11\x13\x04\x1a\r\n+++ATH0\r\n"[..],
            &[0, 200, 1, 2, 0, 0, 9],
            &frame::encode(b"x")[..4],
        ];
        let damaged = one.path(Kind::Serial).counts.damaged;
        for part in noise.into_iter().chain([&[255; 10_000][..]]) {
            cable.disturb(part);
            one.hears("two", LINE);
            two.hears("one", LINE);
        }
        until("noise", || one.path(Kind::Serial).counts.damaged > damaged);
        for node in [&one, &two] {
            assert!(node.heard().iter().all(|heard| ["one", "two"].contains(&heard.text.as_str())));
            assert!(node.heard().iter().all(|heard| heard.source.address.is_none()));
        }
        drop(cable);
        until("a fault", || one.path(Kind::Serial).fault.is_some() && two.path(Kind::Serial).fault.is_some());
    }
}

#[test]
fn a_slow_line_carries_the_newest_beat() {
    let directory = tempfile::tempdir().unwrap();
    let ends = [directory.path().join("ttyS0"), directory.path().join("ttyS1")];
    let _cable = Cable::plug(&ends);
    let open = |end: &Path, name| Transport::open(&on_the_line(end, 9_600), NodeId::of(name)).unwrap();
    let (mut sender, mut receiver) = (open(&ends[0], "one"), open(&ends[1], "two"));
    // Each takes 100 ms and more.
    let message = |number: u32| [&number.to_be_bytes()[..], &[7; 90]].concat();
    for number in 1..=1_000 {
        assert_eq!(sender.send(&message(number)), []);
    }
    let mut received = Vec::new();
    until("the last one", || {
        sender.poll(Duration::from_millis(5), |_, _| {}).unwrap();
        let receive = |_, bytes: &[u8]| received.push(u32::from_be_bytes(bytes[..4].try_into().unwrap()));
        receiver.poll(Duration::ZERO, receive).unwrap();
        received.last() == Some(&1_000)
    });
    assert!(received[0] == 1 && received.is_sorted() && received.len() < 100, "{received:?}");
}
