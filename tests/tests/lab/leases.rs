//! One director of a cluster, whose lease the test writes: what clients notice of it.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lvs_common::cause::Cause;
use lvs_common::lease::Lease;
use lvs_tests::cluster::{HELD, STALE, of_groups};
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::capture::Capture;
use lvs_tests::lab::client::{self, TcpFlow};
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::namespace::Namespace;
use lvs_tests::lab::network::{Arms, Network, Replies, Shape};
use lvs_tests::lab::realserver::HTTP_PORT;
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::cluster::identity::GroupId;
use lvs_userspace::cluster::takeover::{Answer, Claim, Probing, Takeover, Timing};
use lvs_userspace::config::{
    self,
    model::{Config, Group, GroupAddress},
};
use lvs_userspace::control::{Capacity, Event, State};
use lvs_userspace::dataplane::{Dataplane, LeaseWriter, OpenOptions, monotonic_nanoseconds, object};

use crate::setup::{Balanced, Preparation, dialled, every_service};

/// Of the only group.
const LEASE: u8 = 1;
const PATIENCE: Duration = Duration::from_secs(10);
const SSH: u16 = 22;

/// The data plane in the hands of this test, as the heir of an agent that died.
struct Fenced {
    dataplane: Dataplane,
    leases: LeaseWriter,
}

impl Fenced {
    /// Adopts what the agent has left, with all VIPs in one group of which no lease is held.
    fn adopt(network: &Network, file: &str) -> Result<Self> {
        let config = config::parse(file, "lvs.yaml").map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
        let config = Config { cluster: Some(Arc::new(of_groups([network.vips().collect()]))), ..config };
        let interfaces = config.interfaces.clone();
        let dataplane = network.director.enter(|| {
            let mut dataplane = Dataplane::open(&OpenOptions {
                instance: &network.identity.name(),
                object: object::director()?,
                limits: config.limits,
                interfaces: interfaces.clone(),
                allow_generic: false,
            })?;
            let mut state = State::adopt_with(dataplane.snapshot()?, Capacity::of(&config.limits));
            dataplane.apply(&state.handle(Event::Desired(config), Duration::from_secs(1)))?;
            dataplane.want_egress(true);
            dataplane.attach(&interfaces, false)?;
            Ok(dataplane)
        })?;
        Ok(Self { leases: dataplane.lease_writer(), dataplane })
    }

    fn write(&self, lease: Lease) -> Result<()> {
        Ok(self.leases.write(LEASE, lease)?)
    }

    fn counted(&self, cause: Cause) -> Result<u64> {
        let causes = self.dataplane.readback().causes()?;
        Ok(causes.iter().filter(|(one, _)| *one == cause).map(|(_, count)| count).sum())
    }

    /// Does something, and waits until the director has dropped a packet for this cause since.
    fn until_dropped<T>(&self, cause: Cause, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.counted(cause)?;
        let done = work()?;
        wait_until(cause.name(), PATIENCE, || self.counted(cause).is_ok_and(|now| now > before))?;
        Ok(done)
    }
}

#[test]
fn a_dr_director_answers_while_it_holds_the_lease() -> Result<()> {
    answers_under_the_lease("dr", Shape::default())
}

#[test]
fn a_nat_director_answers_while_it_holds_the_lease() -> Result<()> {
    let shape = Shape { arms: Arms::Two, replies: Replies::ThroughDirector, ..Shape::default() };
    answers_under_the_lease("nat", shape)
}

fn answers_under_the_lease(forward: &'static str, shape: Shape) -> Result<()> {
    let mut file = String::new();
    let mut balanced = Balanced::start(shape, Preparation::of(forward), |network| {
        let services = Family::BOTH.map(|family| every_service(network, forward, family, family));
        let configuration = Configuration::new(network, services.concat());
        file = configuration.to_string();
        configuration
    })?;
    balanced.agent.kill()?;
    let fenced = Fenced::adopt(&balanced.network, &file)?;
    for family in Family::BOTH {
        with_and_without(&balanced.network, &fenced, family)
            .with_context(|| format!("{forward} {family}: {:?}", fenced.dataplane.readback().causes()))?;
    }
    // Of an agent whose file has no cluster nobody asks for a lease.
    fenced.write(Lease::NONE)?;
    drop(fenced);
    balanced.agent.start_again()?;
    for family in Family::BOTH {
        client::curl(&balanced.network.client, dialled(family, HTTP_PORT), "/")?;
    }
    Ok(())
}

fn with_and_without(network: &Network, fenced: &Fenced, family: Family) -> Result<()> {
    let (client, vip) = (&network.client, address::vip(family, 0));
    let web = dialled(family, HTTP_PORT);
    fenced.write(HELD)?;
    client::curl(client, web, "/").context("under the lease")?;
    let answer = about_to_take(client, vip)?;
    let claim = Claim { address: vip, by: mac_of(network)? };
    ensure!(answer == Answer::Answered(claim), "who is about to take the VIP hears {answer:?}");
    let mut flow = client.enter(|| TcpFlow::open(dialled(family, ECHO_PORT)))?;
    flow.echo(b"under the lease")?;

    let ends = monotonic_nanoseconds() + 300_000_000;
    fenced.write(Lease { ends, fresh_until: ends })?;
    client.enter(|| nothing_is_answered_after(ends, dialled(family, ECHO_PORT)))?;

    let capture = Capture::start(client, "eth0", &network.identity.directory())?;
    the_kernel_does_not_see(network, fenced, family)?;
    neither_does_it_speak(network, fenced, family)?;
    let director = mac_of(network)?;
    // Its kernel hears who is about to take the VIP, which it has still, and answers; but that does not leave.
    let answer = fenced.until_dropped(Cause::NoLeaseToSend, || about_to_take(client, vip))?;
    ensure!(answer == Answer::Silent, "who is about to take the VIP hears {answer:?}");
    for frame in capture.finish()? {
        let speaks = frame[6..12] == director && speaker(&frame) == Some(vip);
        ensure!(!speaks, "the director has sent {frame:02x?} without the lease");
    }

    // What the client says meanwhile is late and not lost, and nobody resets its connection.
    thread::scope(|scope| {
        // It has forgotten the VIP's MAC and asks for it first.
        let before = fenced.counted(Cause::NoLeaseToAnswer)?;
        let echo = scope.spawn(|| flow.echo(b"without the lease"));
        let dropped = wait_until("a question to be dropped", PATIENCE, || {
            fenced.counted(Cause::NoLeaseToAnswer).is_ok_and(|now| now > before)
        });
        fenced.write(HELD)?;
        echo.join().unwrap_or_else(|_| bail!("the client panicked")).context("a connection that goes on")?;
        dropped
    })?;
    client::curl(client, web, "/").context("after the lease was renewed")?;
    client.enter(|| client::ping(vip, 56)).context("after the lease was renewed")?;

    // Not renewed for a while: who is known goes on, who begins is served when it tries again.
    fenced.write(STALE)?;
    flow.echo(b"under a stale lease").context("under a stale lease")?;
    thread::scope(|scope| {
        let begun =
            fenced.until_dropped(Cause::StaleLease, || Ok(scope.spawn(|| client::curl(client, web, "/"))));
        fenced.write(HELD)?;
        begun?.join().unwrap_or_else(|_| bail!("the client panicked")).context("begun under a stale lease")
    })?;
    Ok(())
}

/// Sends datagrams until a while after `ends`. Those that were sent before are answered, and no other.
fn nothing_is_answered_after(ends: u64, echo: SocketAddr) -> Result<()> {
    const A_WHILE: u64 = 200_000_000;
    let any: SocketAddr = if echo.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(echo)?;
    // Paces the datagrams too.
    socket.set_read_timeout(Some(Duration::from_millis(1)))?;
    let mut sent = Vec::new();
    let mut answered = 0;
    let mut buffer = [0; 256];
    while sent.last().is_none_or(|at| *at < ends + A_WHILE) {
        sent.push(monotonic_nanoseconds());
        socket.send(format!("{}", sent.len() - 1).as_bytes())?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&buffer[..length]);
                let number = text.rsplit(' ').next().unwrap_or_default().parse::<usize>()?;
                let at = *sent.get(number).with_context(|| format!("an answer to what? {text}"))?;
                ensure!(at < ends, "an answer to what was sent {} ns after the end", at - ends);
                answered += 1;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => bail!("waiting for an answer: {error}"),
        }
    }
    let before = sent.iter().filter(|at| **at < ends).count();
    ensure!(answered > 10, "{answered} of {before} were answered before the lease was over");
    Ok(())
}

/// Neither a port that nobody listens on nor ARP nor NDP is answered, so that no client learns where the VIP is.
fn the_kernel_does_not_see(network: &Network, fenced: &Fenced, family: Family) -> Result<()> {
    let (client, vip) = (&network.client, address::vip(family, 0));
    fenced.until_dropped(Cause::NoLease, || {
        client.enter(|| {
            let short = Duration::from_millis(300);
            let error = TcpStream::connect_timeout(&SocketAddr::new(vip, SSH), short).err();
            let kind = error.map(|error| error.kind());
            ensure!(kind == Some(ErrorKind::TimedOut), "ssh to the VIP: {kind:?}");
            Ok(())
        })
    })?;
    forget(&network.client, vip)?;
    fenced.until_dropped(Cause::NoLeaseToAnswer, || client.enter(|| send_one(vip, None)))?;
    let neighbour = client.run("ip", &["neigh", "show", &vip.to_string()])?;
    ensure!(!neighbour.contains("lladdr"), "the client has learnt where the VIP is: {neighbour}");
    Ok(())
}

/// A program of the director's that has bound the VIP is not heard: neither its packets nor the question where
/// the client is, which carries the VIP too.
fn neither_does_it_speak(network: &Network, fenced: &Fenced, family: Family) -> Result<()> {
    let (director, vip) = (&network.director, address::vip(family, 0));
    let client = address::client(family);
    let speak = || director.enter(|| send_one(client, Some(vip)));
    forget(director, client)?;
    fenced.until_dropped(Cause::NoLeaseToSend, speak).context("where the client is not known")?;
    // From its own address it is heard, and learns where the client is.
    director.enter(|| client::ping(client, 56)).context("from the director's own address")?;
    fenced.until_dropped(Cause::NoLeaseToSend, speak).context("where the client is known")
}

/// What another director would find that is about to take the VIP.
fn about_to_take(machine: &Namespace, vip: IpAddr) -> Result<Answer> {
    let address = GroupAddress { address: vip, prefix: 32, interface: "eth0".to_owned(), label: None };
    let group = Group {
        name: "www".to_owned(),
        order: Vec::new(),
        addresses: vec![address],
        resources: Vec::new(),
        fence: None,
    };
    machine.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let directory = tempfile::tempdir()?;
            let (kernel, _events) = lvs_userspace::network::Network::connect()?;
            let opened = Takeover::open(kernel, directory.path(), vec![group], Timing::default()).await;
            let (takeover, _notices) = opened?;
            let probed = takeover.probe(GroupId::of("www"), Probing::default()).await;
            takeover.close();
            Ok(probed?.answer)
        })
    })
}

/// A datagram that nobody waits for.
fn send_one(to: IpAddr, from: Option<IpAddr>) -> Result<()> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((from.unwrap_or(any), 0))?;
    socket.send_to(b"anybody?", (to, ECHO_PORT))?;
    Ok(())
}

fn forget(machine: &Namespace, neighbour: IpAddr) -> Result<()> {
    let address = neighbour.to_string();
    if !machine.run("ip", &["neigh", "show", &address])?.is_empty() {
        machine.run("ip", &["neigh", "del", &address, "dev", "eth0"])?;
    }
    Ok(())
}

fn mac_of(network: &Network) -> Result<[u8; 6]> {
    let links = network.director.run("ip", &["-j", "link", "show", "eth0"])?;
    let links: serde_json::Value = serde_json::from_str(&links)?;
    let text = links[0]["address"].as_str().context("eth0 has no MAC")?;
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("{text} is no MAC"))
}

/// The sender of a frame without a tag: ARP's, or the packet's source.
fn speaker(frame: &[u8]) -> Option<IpAddr> {
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    match frame.get(12..14)? {
        [8, 6] => v4(14 + 14),
        [8, 0] => v4(14 + 12),
        [0x86, 0xdd] => Some(IpAddr::from(<[u8; 16]>::try_from(frame.get(22..38)?).ok()?)),
        _ => None,
    }
}
