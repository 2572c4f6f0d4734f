//! Virtual routers together with keepalived, in namespaces. Needs root and Debian's keepalived.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where a step fails")]

mod support;

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lvs_userspace::cluster::takeover::{Takeover, Timing};
use lvs_userspace::cluster::vrrp::mover::{follow, groups};
use lvs_userspace::cluster::vrrp::{Leases, Progress, Vrrp};
use lvs_userspace::config::model::{GroupAddress, VrrpInstance, VrrpVersion};
use lvs_userspace::network::Network;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::Namespace;
use tempfile::TempDir;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(30);
const WATCHDOG: Duration = Duration::from_secs(3);

/// What a virtual router is made of.
#[derive(Clone, Copy, Debug)]
struct Kind {
    version: VrrpVersion,
    interval: Duration,
    vip: &'static str,
    prefix: u8,
    /// Of this machine and of the other.
    hosts: [&'static str; 2],
    /// The addresses are at the virtual router's MAC.
    virtual_mac: bool,
}

const V4: Kind = Kind {
    version: VrrpVersion::V3,
    interval: Duration::from_millis(100),
    vip: "10.7.0.100",
    prefix: 32,
    hosts: ["10.7.0.1", "10.7.0.2"],
    virtual_mac: false,
};
const V6: Kind = Kind { vip: "2001:db8:7::100", prefix: 128, hosts: ["fe80::1", "fe80::2"], ..V4 };
const OLD: Kind = Kind { version: VrrpVersion::V2, interval: Duration::from_secs(1), ..V4 };

struct World {
    ours: Namespace,
    theirs: Namespace,
    /// What lies between them.
    switch: Namespace,
    directory: TempDir,
    kind: Kind,
}

impl World {
    fn new(kind: Kind) -> Self {
        let [ours, theirs, switch] = ["ours", "theirs", "switch"].map(Namespace::new);
        switch.ip("link add br0 type bridge");
        switch.ip("link set br0 up");
        for (namespace, host, port) in [(&ours, kind.hosts[0], "one"), (&theirs, kind.hosts[1], "two")] {
            switch.ip(&format!("link add {port} type veth peer name eth0 netns {}", namespace.name));
            switch.ip(&format!("link set {port} up master br0"));
            namespace.run("sysctl -qw net.ipv6.conf.eth0.accept_dad=0");
            namespace.ip("link set eth0 up");
            // The kernel's own link-local address would be smaller or larger by chance.
            namespace.ip("-6 address flush dev eth0");
            let prefix = if host.contains(':') { 64 } else { 24 };
            namespace.ip(&format!("address add {host}/{prefix} dev eth0 nodad"));
        }
        Self { ours, theirs, switch, directory: tempfile::tempdir().unwrap(), kind }
    }

    fn instance(&self, priority: u8) -> VrrpInstance {
        let address = ip(self.kind.vip);
        VrrpInstance {
            name: "web".to_owned(),
            interface: "eth0".to_owned(),
            router_id: 51,
            version: self.kind.version,
            priority,
            preempt: true,
            preempt_delay: Duration::ZERO,
            advert_interval: self.kind.interval,
            unicast_peers: Vec::new(),
            source_address: None,
            virtual_mac: self.kind.virtual_mac,
            addresses: vec![GroupAddress {
                address,
                prefix: self.kind.prefix,
                interface: match self.kind.virtual_mac {
                    true => VrrpInstance::virtual_interface(51, address.is_ipv6()),
                    false => "eth0".to_owned(),
                },
                label: None,
            }],
        }
    }

    /// Addresses belong to exactly one of the two: to this machine, or to the other.
    async fn until_at(&self, ours: bool) {
        self.until(|| (self.has(&self.ours), self.has(&self.theirs)) == (ours, !ours)).await;
    }

    async fn until(&self, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(
                begun.elapsed() < DEADLINE,
                "ours has it: {}, theirs: {}; keepalived: {}",
                self.has(&self.ours),
                self.has(&self.theirs),
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn has(&self, namespace: &Namespace) -> bool {
        namespace.ip("-oneline address show").contains(&format!("{}/{}", self.kind.vip, self.kind.prefix))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// How often keepalived says so.
    fn said(&self, what: &str) -> usize {
        self.log().matches(what).count()
    }

    /// keepalived as the other machine.
    fn keepalived(&self, priority: u8, more: &str) -> Keepalived {
        let place = |name: &str| self.directory.path().join(name);
        let version = self.kind.version.number();
        let (device, more) = match self.kind.virtual_mac {
            true => ("", format!("use_vmac\n {more}")),
            false => ("dev eth0", more.to_owned()),
        };
        let configuration = format!(
            "global_defs {{\n vrrp_version {version}\n vrrp_skip_check_adv_addr false\n}}\n\
             vrrp_instance web {{\n state BACKUP\n interface eth0\n virtual_router_id 51\n priority {priority}\n \
             advert_int {}\n {more}\n virtual_ipaddress {{\n  {}/{} {device}\n }}\n}}\n",
            self.kind.interval.as_secs_f64(),
            self.kind.vip,
            self.kind.prefix,
        );
        fs::write(place("keepalived.conf"), configuration).unwrap();
        let log = File::options().create(true).append(true).open(place("log")).unwrap();
        let file = |option: &str, name: &str| format!("--{option}={}", place(name).display());
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.theirs.name))
            .args(["--", "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp"])
            .args([file("use-file", "keepalived.conf"), file("pid", "pid"), file("vrrp_pid", "vrrp.pid")])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("these tests need keepalived");
        Keepalived { child, vrrp_pid: place("vrrp.pid") }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A running keepalived: a parent, and a child that speaks VRRP.
struct Keepalived {
    child: Child,
    vrrp_pid: PathBuf,
}

impl Keepalived {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// As by a loss of power: it says nothing any more, and its address stays where it was.
    fn kill(mut self) {
        // The parent would start the child again.
        kill(self.pid(), Signal::SIGSTOP).unwrap();
        let speaker: i32 = fs::read_to_string(&self.vrrp_pid).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(speaker), Signal::SIGKILL).unwrap();
        kill(self.pid(), Signal::SIGKILL).unwrap();
        self.child.wait().unwrap();
        fs::remove_file(&self.vrrp_pid).unwrap();
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // A failure here must not hide the one that ends the test.
            kill(self.pid(), Signal::SIGTERM).ok();
            self.child.wait().ok();
        }
    }
}

/// This machine.
struct Node {
    vrrp: Arc<Vrrp>,
    takeover: Arc<Takeover>,
    mover: JoinHandle<()>,
    leases: Receiver<Lease>,
    progress: Arc<Progress>,
}

/// What the data plane would be told.
#[derive(Debug, PartialEq)]
enum Lease {
    Renewed { at: Instant, ends: Instant },
    Ended,
}

struct Recorder(std::sync::mpsc::Sender<Lease>);

impl Leases for Recorder {
    fn configure(&mut self, instances: &[VrrpInstance]) {
        assert_eq!(instances.len(), 1);
    }

    fn renew(&mut self, instance: &str, ends: Instant, fresh_until: Instant) {
        assert!(instance == "web" && fresh_until < ends);
        self.0.send(Lease::Renewed { at: Instant::now(), ends }).ok();
    }

    fn end(&mut self, _: &str) {
        self.0.send(Lease::Ended).ok();
    }
}

impl Node {
    /// In the namespace of the calling thread.
    async fn start(world: &World, instance: VrrpInstance) -> Self {
        let instances = vec![instance];
        let (recorder, leases) = channel();
        let (network, _events) = Network::connect().unwrap();
        let run = world.directory.path().join("run");
        let (takeover, _notices) =
            Takeover::open(network.clone(), &run, groups(&instances), Timing::default()).await.unwrap();
        let (turns, received) = tokio::sync::mpsc::unbounded_channel();
        let progress = Progress::new(Instant::now());
        let vrrp =
            Vrrp::start(instances, Box::new(Recorder(recorder)), progress.clone(), WATCHDOG, turns).unwrap();
        let (vrrp, takeover) = (Arc::new(vrrp), Arc::new(takeover));
        let mover = {
            let (vrrp, takeover) = (vrrp.clone(), takeover.clone());
            tokio::spawn(async move { follow(received, &takeover, &vrrp, &network).await })
        };
        Self { vrrp, takeover, mover, leases, progress }
    }

    /// As an agent that ends.
    async fn stop(self) {
        self.vrrp.stop();
        self.mover.await.unwrap();
        drop(self.takeover);
    }

    /// The agent goes on.
    async fn work(&self) {
        loop {
            self.progress.made(Instant::now());
            tokio::time::sleep(WATCHDOG / 10).await;
        }
    }
}

/// Does `work` while the agent makes progress.
async fn while_working(node: &Node, work: impl Future<Output = ()>) {
    tokio::select! {
        () = node.work() => {}
        () = work => {}
    }
}

const KINDS: [Kind; 3] = [V4, V6, OLD];

/// The better one is active while it lives; the other one takes over when it resigns, and yields when it is back.
#[test]
fn the_better_one_is_active() {
    for kind in KINDS {
        let world = World::new(kind);
        world.ours.enter(async || {
            let _keepalived = world.keepalived(100, "");
            world.until_at(false).await;
            let node = Node::start(&world, world.instance(150)).await;
            while_working(&node, async {
                // It preempts.
                world.until_at(true).await;
                world.until(|| world.said("Entering BACKUP STATE") >= 2).await;
            })
            .await;
            // Resigns: no waiting for three intervals.
            let begun = Instant::now();
            node.stop().await;
            world.until_at(false).await;
            let took = begun.elapsed();
            println!("{kind:?}: theirs after {took:?}");
            assert!(took < kind.interval * 3, "{took:?}");
            let node = Node::start(&world, world.instance(150)).await;
            while_working(&node, world.until_at(true)).await;
            node.stop().await;
        });
    }
}

#[test]
fn a_backup_takes_over_from_the_dead_and_yields_to_the_living() {
    for kind in KINDS {
        let world = World::new(kind);
        world.ours.enter(async || {
            let node = Node::start(&world, world.instance(50)).await;
            let keepalived = world.keepalived(100, "");
            while_working(&node, async {
                world.until_at(false).await;
                keepalived.kill();
                let begun = Instant::now();
                world.until(|| world.has(&world.ours)).await;
                let took = begun.elapsed();
                println!("{kind:?}: ours after {took:?}");
                assert!(took > kind.interval * 2 && took < kind.interval * 5, "{took:?}");
                // What the dead one could not give back.
                world.theirs.ip(&format!("address del {}/{} dev eth0", kind.vip, kind.prefix));
                let _keepalived = world.keepalived(100, "");
                world.until_at(false).await;
                world.until(|| node.leases.try_iter().any(|lease| lease == Lease::Ended)).await;
            })
            .await;
            node.stop().await;
        });
    }
}

/// Among equals the larger address wins, whichever of them asserts itself.
#[test]
fn among_equals_the_larger_address_wins() {
    for (hosts, ours) in [(["10.7.0.1", "10.7.0.2"], false), (["10.7.0.2", "10.7.0.1"], true)] {
        let world = World::new(Kind { hosts, ..V4 });
        world.switch.ip("link set two nomaster");
        world.ours.enter(async || {
            let node = Node::start(&world, world.instance(100)).await;
            let _keepalived = world.keepalived(100, "");
            while_working(&node, async {
                // Each is active before it hears the other.
                world.until(|| world.has(&world.ours) && world.has(&world.theirs)).await;
                world.switch.ip("link set two master br0");
                world.until_at(ours).await;
            })
            .await;
            node.stop().await;
        });
    }
}

/// Clients keep what they know: whichever of the two is active, the address is at one MAC.
#[test]
fn the_virtual_mac_moves_with_the_address() {
    for kind in [V4, V6].map(|kind| Kind { virtual_mac: true, ..kind }) {
        let world = World::new(kind);
        let client = Namespace::new("client");
        world.switch.ip(&format!("link add three type veth peer name eth0 netns {}", client.name));
        world.switch.ip("link set three up master br0");
        client.run("sysctl -qw net.ipv6.conf.eth0.accept_dad=0");
        client.ip("link set eth0 up");
        // Or its kernel would ask for the client in the name of the address, from the MAC of eth0.
        world.theirs.run("sysctl -qw net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.all.arp_ignore=1");
        for (machine, host) in [(&client, 9), (&world.ours, 1), (&world.theirs, 2)] {
            match kind.vip.contains(':') {
                true => machine.ip(&format!("address add 2001:db8:7::{host}/64 dev eth0 nodad")),
                false if host == 9 => machine.ip("address add 10.7.0.9/24 dev eth0"),
                false => String::new(),
            };
        }
        let mac = if kind.vip.contains(':') { "00:00:5e:00:02:33" } else { "00:00:5e:00:01:33" };
        let reaches = || {
            client.ip("neighbour flush dev eth0");
            client.run(&format!("ping -c 1 -W 5 {}", kind.vip));
            let neighbour = client.ip(&format!("neighbour show {}", kind.vip));
            assert!(neighbour.contains(mac), "{neighbour}");
        };
        world.ours.enter(async || {
            let keepalived = world.keepalived(100, "");
            world.until_at(false).await;
            reaches();
            let node = Node::start(&world, world.instance(150)).await;
            while_working(&node, async {
                world.until_at(true).await;
                reaches();
                let status = &node.vrrp.describe().await[0];
                assert_eq!((status.state.as_str(), status.virtual_mac.as_deref()), ("active", Some(mac)));
            })
            .await;
            node.stop().await;
            assert!(!world.ours.ip("link show").contains("vmac"), "its interface is left");
            world.until_at(false).await;
            reaches();
            // As a backup it takes over from the dead.
            let node = Node::start(&world, world.instance(50)).await;
            while_working(&node, async {
                world.until(|| world.said("Entering MASTER STATE") >= 2).await;
                keepalived.kill();
                world.switch.ip("link set two down");
                world.until(|| world.has(&world.ours)).await;
                reaches();
            })
            .await;
            node.stop().await;
        });
    }
}

/// What an operator deletes by mistake: another machine may serve meanwhile, and it is made anew.
#[test]
fn a_deleted_interface_with_the_virtual_mac_is_made_anew() {
    let world = World::new(Kind { virtual_mac: true, ..V4 });
    world.ours.enter(async || {
        let node = Node::start(&world, world.instance(150)).await;
        while_working(&node, async {
            world.until(|| world.has(&world.ours)).await;
            world.ours.ip("link del vmac4.51");
            world.until(|| world.has(&world.ours)).await;
            let ended = node.leases.try_iter().filter(|lease| *lease == Lease::Ended).count();
            assert_eq!(ended, 1, "its lease has ended, once");
            // Routers on the link must not give it addresses that the other machine would have too.
            for setting in ["accept_ra", "autoconf"] {
                let value = world.ours.run(&format!("sysctl -n net/ipv6/conf/vmac4.51/{setting}"));
                assert_eq!(value.trim(), "0", "{setting}");
            }
        })
        .await;
        node.stop().await;
    });
}

/// A reload that changes no more than priority and addresses costs no failover.
#[test]
fn another_configuration_leaves_it_active() {
    let world = World::new(V4);
    world.ours.enter(async || {
        let _keepalived = world.keepalived(100, "");
        world.until_at(false).await;
        let node = Node::start(&world, world.instance(150)).await;
        while_working(&node, async {
            world.until_at(true).await;
            world.until(|| world.said("Entering BACKUP STATE") >= 2).await;
            let more = GroupAddress { address: ip("10.7.0.101"), ..world.instance(150).addresses[0].clone() };
            let mut instance = world.instance(160);
            instance.addresses.push(more);
            let sent = node.vrrp.describe().await[0].counts.sent;
            node.takeover.configure(groups(std::slice::from_ref(&instance))).await.unwrap();
            node.vrrp.configure(vec![instance.clone()]);
            let status = node.vrrp.describe().await.remove(0);
            assert_eq!((status.state.as_str(), status.priority, status.counts.turns), ("active", 160, 1));
            assert!(status.counts.sent > sent, "the others are told at once");
            assert!(world.ours.ip("-oneline address show").contains("10.7.0.101/32"));
            // Below the other machine: that one preempts.
            node.vrrp.configure(vec![VrrpInstance { priority: 50, ..instance }]);
            world.until_at(false).await;
            // One address after the other.
            world.until(|| !world.ours.ip("-oneline address show").contains("10.7.0.101/32")).await;
        })
        .await;
        assert_eq!(world.said("Entering MASTER STATE"), 2, "at its start, and when ours was the worse one");
        node.stop().await;
    });
}

/// With priority 255 too: what lvsd did not put up is not its to take away.
#[test]
fn an_address_of_the_interface_itself_stays() {
    let world = World::new(Kind { vip: "10.7.0.1", prefix: 24, ..V4 });
    world.ours.ip("address add 10.7.0.9/24 dev eth0");
    world.ours.enter(async || {
        let instance = VrrpInstance { source_address: Some(ip("10.7.0.9")), ..world.instance(255) };
        let node = Node::start(&world, instance).await;
        while_working(&node, async {
            world.until(|| node.leases.try_iter().next().is_some()).await;
        })
        .await;
        node.stop().await;
        assert!(world.has(&world.ours), "it has gone");
    });
}

#[test]
fn without_preemption_the_worse_one_goes_on() {
    let world = World::new(V4);
    world.ours.enter(async || {
        let keepalived = world.keepalived(100, "");
        world.until_at(false).await;
        let instance = VrrpInstance { preempt: false, ..world.instance(150) };
        let node = Node::start(&world, instance).await;
        while_working(&node, async {
            // As long as it takes to preempt, and again.
            let waited = tokio::time::timeout(V4.interval * 10, world.until(|| world.has(&world.ours))).await;
            assert!(waited.is_err(), "it has preempted");
            keepalived.kill();
            world.until(|| world.has(&world.ours)).await;
        })
        .await;
        node.stop().await;
    });
    // Nor does keepalived preempt us.
    let world = World::new(V4);
    world.ours.enter(async || {
        let node = Node::start(&world, world.instance(100)).await;
        while_working(&node, async {
            world.until_at(true).await;
            let _keepalived = world.keepalived(150, "nopreempt");
            world.until(|| world.said("Entering BACKUP STATE") >= 1).await;
            let waited =
                tokio::time::timeout(V4.interval * 10, world.until(|| world.has(&world.theirs))).await;
            assert!(waited.is_err(), "it has preempted");
        })
        .await;
        node.stop().await;
    });
}

#[test]
fn peers_may_be_told_one_by_one() {
    for kind in [V4, OLD] {
        let world = World::new(kind);
        world.ours.enter(async || {
            let [own, other] = kind.hosts;
            let unicast = format!(
                "unicast_src_ip {other}
 unicast_peer {{
  {own}
 }}"
            );
            let _keepalived = world.keepalived(100, &unicast);
            world.until_at(false).await;
            let instance = VrrpInstance { unicast_peers: vec![ip(other)], ..world.instance(150) };
            let node = Node::start(&world, instance).await;
            while_working(&node, async {
                world.until_at(true).await;
                world.until(|| world.said("Entering BACKUP STATE") >= 2).await;
            })
            .await;
            node.stop().await;
            world.until_at(false).await;
        });
    }
}

/// Without its link, or its agent's progress, it is not active; with them it is again.
#[test]
fn it_takes_no_part_without_link_or_agent() {
    let world = World::new(V4);
    world.ours.enter(async || {
        let node = Node::start(&world, world.instance(100)).await;
        while_working(&node, async {
            world.until(|| world.has(&world.ours)).await;
            world.ours.ip("link set eth0 down");
            world.until(|| !world.has(&world.ours)).await;
            world.ours.ip("link set eth0 up");
            world.until(|| world.has(&world.ours)).await;
        })
        .await;
        // The agent hangs.
        world.until(|| !world.has(&world.ours)).await;
        while_working(&node, world.until(|| world.has(&world.ours))).await;
        // While it is active its leases follow one another without a gap.
        let leases: Vec<_> = node.leases.try_iter().collect();
        assert_eq!(leases.iter().filter(|lease| **lease == Lease::Ended).count(), 2);
        for pair in leases.windows(2) {
            if let [Lease::Renewed { ends, .. }, Lease::Renewed { at, .. }] = pair {
                assert!(at < ends, "{pair:?}");
            }
        }
        node.stop().await;
        assert!(!world.has(&world.ours));
    });
}
