//! Two directors with maps of their own, and the synchronisation between them over UDP.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use lvs_common::flow::FlowKey;
use lvs_tests::packet::frame::{Ip, Tcp, tcp_flag};
use lvs_tests::packet::{Side, World};
use lvs_userspace::cluster::reach::Addresses;
use lvs_userspace::cluster::refusal::Refusals;
use lvs_userspace::cluster::sync::link::{Link, Parts, PeerStatus, Status};
use lvs_userspace::cluster::sync::{Directory, Key, Options};
use tokio::sync::{oneshot, watch};

use crate::traffic::*;

use Side::{Back, Front};
use tcp_flag::{ACK, FIN, SYN};

/// One end of the synchronisation, on a thread of its own.
struct End {
    plan: watch::Sender<Arc<Directory>>,
    status: watch::Receiver<Status>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl End {
    fn start(world: &World, socket: &UdpSocket, peer: &UdpSocket, active: bool) -> Self {
        Self::start_among(world, socket, &[peer], active)
    }

    fn start_among(world: &World, socket: &UdpSocket, peers: &[&UdpSocket], active: bool) -> Self {
        let (plan, directory) = watch::channel(Arc::new(Directory::of(&world.snapshot(), |_| active)));
        let peers = peers.iter().map(|peer| vec![peer.local_addr().expect("an address")]).collect::<Vec<_>>();
        let names = (0..peers.len()).map(|number| format!("peer {number}")).collect();
        // They stay as they are: the sender may go.
        let (_, addresses) = watch::channel(Arc::new(Addresses(peers)));
        let parts = Parts {
            socket: socket.try_clone().expect("a socket"),
            peers: names,
            addresses,
            seal: Key::new(b"of both directors").expect("a key"),
            reader: world.flow_reader(),
            writer: world.flow_writer(),
            directory,
            options: Options::default(),
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, status) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (link, status) = Link::new(parts).expect("a link");
                ready.send(status).expect("somebody waits");
                link.run(async { stopped.await.unwrap_or_default() }).await;
            });
        });
        Self { plan, status: status.recv().expect("it runs"), stop: Some(stop), thread: Some(thread) }
    }

    fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    fn other(&self) -> PeerStatus {
        self.status().peers[0]
    }

    fn is_active(&self, world: &World, active: bool) {
        self.plan.send(Arc::new(Directory::of(&world.snapshot(), |_| active))).expect("it runs");
    }
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.map_or(Ok(()), |ended| ended).expect("the link ends in peace");
        }
    }
}

/// What both should agree on: flow, real server, state, and whether it is embryonic.
fn table(world: &World) -> BTreeMap<String, String> {
    let destinations = world.snapshot().destinations;
    let name = |key: &FlowKey| format!("{key:?}");
    let connections = world.connections().into_iter().map(|(key, connection, embryonic)| {
        let destination = &destinations[&connection.destination];
        let whole = (destination.address, destination.port, connection.state, connection.flags, embryonic);
        (name(&key), format!("{whole:?}"))
    });
    connections.collect()
}

const NAT_PORT: u16 = 8080;

fn services() -> [String; 4] {
    let nat = |family: Family| {
        format!(
            "scheduler: wlc, forward: nat, real_servers: [{{address: \"{}\", port: {NAT_PORT}}}]",
            family.back
        )
    };
    let dr = format!("scheduler: rr, {}", servers(&[V4.front, "10.0.0.12", "10.0.0.13"]));
    let any = format!("scheduler: rr, {}", servers(&[V4.front, "10.0.0.12"]));
    [
        service("dr", V4.vip, 80, "tcp", &dr),
        service("nat", V6.vip, 80, "tcp", &nat(V6)),
        service("datagrams", V4.vip, 53, "udp", &nat(V4)),
        service("any", "10.0.0.4", 0, "tcp", &any),
    ]
}

/// A packet of a flow to each service.
fn packets(flow: u16, flags: u8) -> [Vec<u8>; 4] {
    let port = 2000 + flow;
    let client = format!("10.9.{}.{}", flow / 200, flow % 200);
    [
        Ip::new(&client, V4.vip).tcp_packet(&Tcp::new(port, 80, flags), b""),
        V6.request().tcp_packet(&Tcp::new(port, 80, flags), b""),
        Ip::new(&client, V4.vip).udp_packet((port, 53), b"?"),
        Ip::new(&client, "10.0.0.4").tcp_packet(&Tcp::new(port, 1000 + flow % 7, flags), b""),
    ]
}

const LIMITS: &str = "connections: 4096, embryonic: 2048, destinations: 64";

#[test]
fn two_directors_hold_the_same() {
    // Before the worlds move this thread into namespaces without a loopback.
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let mut left = World::with_limits(&services().concat(), LIMITS);
    // Other indices, and a table of another size.
    let mut other = services();
    other.reverse();
    let first = service("first", "10.0.0.9", 80, "tcp", &servers(&[V4.far]));
    let right_limits = "connections: 9000, embryonic: 2048, destinations: 64";
    let mut right = World::with_limits(&[first, other.concat()].concat(), right_limits);

    let send = |world: &World, flow, flags| {
        packets(flow, flags).map(|packet| world.only_run(Front, &FROM_CLIENT.frame(&packet)))
    };
    for flow in 0..300 {
        send(&left, flow, SYN);
        if flow % 3 != 0 {
            send(&left, flow, ACK);
        }
    }
    // What the right one holds and nobody tells of.
    for flow in 900..950 {
        send(&right, flow, SYN);
    }
    right.equal("connections before", (left.connections().len(), right.connections().len()), (1200, 200));

    let ends = [
        End::start(&left, &sockets[0], &sockets[1], true),
        End::start(&right, &sockets[1], &sockets[0], false),
    ];
    let [active, standby] = &ends;
    right.wait_for("the bulk", |_| standby.other().receiver.is_complete);
    let wanted = table(&left);
    right.equal("tables after the bulk", table(&right) == wanted, true);
    right.equal("strangers removed", standby.other().receiver.removed, 200);

    // It goes on: connections begin, are established, end.
    for flow in 200..500 {
        send(&left, flow, if flow < 300 { FIN | ACK } else { SYN });
        if flow >= 400 {
            send(&left, flow, ACK);
        }
    }
    let wanted = table(&left);
    right.wait_for("what has changed", |right| table(right) == wanted);

    // The left one is gone, the right one serves: every connection goes where it went, also back.
    let mut rows = 0;
    for flow in (0..500).filter(|flow| flow % 3 != 0 || *flow >= 400) {
        if (200..400).contains(&flow) {
            continue;
        }
        for (one, other) in send(&left, flow, ACK).into_iter().zip(send(&right, flow, ACK)) {
            rows += 1;
            right.check("the same server", one == other, || format!("flow {flow}: {one:?}, {other:?}"));
        }
        let answer = V6.reply(V6.back).tcp_packet(&Tcp::new(NAT_PORT, 2000 + flow, ACK), b"!");
        let answer = link_from(Back, V6.back).frame(&answer);
        let (one, other) = (left.only_run(Back, &answer), right.only_run(Back, &answer));
        right.check("the same answer", one == other, || format!("flow {flow}: {one:?}, {other:?}"));
    }
    right.check("rows", rows > 500, || format!("{rows}"));

    // All ends on the left, and so on the right, and all counts with it.
    left.settings(|settings| settings.timeouts = [1; 16]);
    left.wait_for("the end of all", |left| {
        left.sweep();
        left.connections().is_empty()
    });
    right.wait_for("the end of all there", |right| right.connections().is_empty());
    let established = right.table().established;
    right.equal("nothing is established", established, 0);
    for index in 0..64 {
        let load = right.load(index);
        right.equal("nothing is counted", (load.active, load.inactive), (0, 0));
    }
    for status in [active.status(), standby.status()] {
        let other = status.peers[0];
        let wrong = (status.refusals, other.failures, other.receiver.unresolved);
        right.equal("nothing went wrong", wrong, (Refusals::default(), 0, 0));
    }
}

/// The directors change places, and the one that was active learns what has become of its connections.
#[test]
fn directors_change_places() {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let mut left = World::with_limits(&services().concat(), LIMITS);
    let mut right = World::with_limits(&services().concat(), LIMITS);
    let ends = [
        End::start(&left, &sockets[0], &sockets[1], true),
        End::start(&right, &sockets[1], &sockets[0], false),
    ];
    let syn = |world: &World, flow: u16| {
        for packet in packets(flow, SYN) {
            world.only_run(Front, &FROM_CLIENT.frame(&packet));
        }
    };
    (0..100).for_each(|flow| syn(&left, flow));
    let wanted = table(&left);
    right.wait_for("in step", |right| table(right) == wanted);
    // First the new one, so that for a moment both are: nothing is lost by it.
    ends[1].is_active(&right, true);
    (100..150).for_each(|flow| syn(&right, flow));
    ends[0].is_active(&left, false);
    (150..200).for_each(|flow| syn(&right, flow));
    right.equal("connections", right.connections().len(), 800);
    let wanted = table(&right);
    left.wait_for("in step the other way round", |left| table(left) == wanted);
    assert!(ends[0].other().receiver.is_complete);
}

/// One that has begun anew is asked for its connections before one is given up that has gone even earlier.
#[test]
fn who_begins_anew_is_asked_before_who_is_gone_is_missed() {
    let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let [active, idle, mut standby] = [(); 3].map(|()| World::with_limits(&services().concat(), LIMITS));
    let follower = End::start_among(&standby, &sockets[0], &[&sockets[1], &sockets[2]], false);
    let begin = || End::start(&active, &sockets[1], &sockets[0], true);
    let (former, gone) = (begin(), End::start(&idle, &sockets[2], &sockets[0], false));
    standby.wait_for("sessions in both directions", |_| {
        follower.status().peers.iter().all(|peer| peer.receiver.is_current && peer.sender.is_followed)
    });
    drop(gone);
    let said = former.other().sender.datagrams;
    standby.wait_for("the first one to be heard after that", |_| former.other().sender.datagrams >= said + 2);
    drop(former);

    let _anew = begin();
    standby.wait_for("another session", |_| follower.status().peers[0].receiver.sessions == 2);
    standby.equal("the other one is followed", follower.status().peers[1].receiver.is_following, true);
    standby.wait_for("the other one to be missed", |_| !follower.status().peers[1].receiver.is_following);
}

/// Datagrams that were not sealed by the other director.
fn refused(status: &Status) -> u64 {
    status.refusals.iter().map(|(_, count)| count).sum()
}

/// Nobody without the key is heard.
#[test]
fn a_stranger_is_not_heard() {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let mut world = World::with_limits(&services().concat(), LIMITS);
    let end = End::start(&world, &sockets[0], &sockets[1], true);
    let address = sockets[0].local_addr().expect("an address");
    for length in [0, 1, 16, 100, 1400, 1401, 9000] {
        sockets[1].send_to(&vec![0x4c; length], address).expect("sent");
    }
    world.wait_for("seven datagrams", |_| refused(&end.status()) >= 7);
    world.equal("no session", end.other().sender.is_followed, false);
}
