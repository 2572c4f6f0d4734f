//! Who has no key, and who sends what he has recorded, is refused and counted, and changes nothing; and keys change
//! while directors and clients go on.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::arp::{ArpWatch, who_answers};
use lvs_tests::lab::capture::Capture;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::forge::{Datagram, Forger, segment};
use lvs_tests::lab::pair::{KEYS, Pair, heartbeat};
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::Connections;
use lvs_userspace::cluster::keys::{Keyring, Kind};
use lvs_userspace::cluster::pulse::Status;
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use crate::setup::dialled;

const PATIENCE: Duration = Duration::from_secs(20);
const BEATS: u16 = 694;
const REST: u16 = 695;
const FLOWS: usize = 60;
/// Nobody on the heartbeat network.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 77);
/// The name of the directors' key with another secret, and another key.
const FORGED: &str = "lab another-secret-of-some-length";
const UNKNOWN: &str = "next fedcba9876543210-of-a-lab-key";

fn keyring(lines: &str) -> Result<Keyring> {
    Ok(Keyring::parse(lines, Path::new("cluster.key"))?)
}

/// Of a director on the first heartbeat network.
fn at(director: usize, port: u16) -> Result<SocketAddrV4> {
    match SocketAddr::new(heartbeat(0, director), port) {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(address) => bail!("{address} is no IPv4 address"),
    }
}

fn flows(stage: &Stage) -> Result<Flows> {
    let targets = Family::BOTH.map(|family| dialled(family, ECHO_PORT));
    Flows::open(&stage.pair.network.client, &targets, FLOWS)
}

/// What must stay as it is.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    roles: [String; 2],
    term: usize,
    times_held: [usize; 2],
    /// Who is connected to what, at each director.
    connections: [BTreeSet<String>; 2],
}

impl Standing {
    fn of(pair: &Pair) -> Result<Self> {
        let connections = |index: usize| -> Result<BTreeSet<String>> {
            let all: Connections = pair.agent(index)?.control().json(&["connections", "--limit", "1000"])?;
            let established = all.connections.iter().filter(|one| one.state == "ESTABLISHED");
            let ends =
                established.map(|one| format!("{:?} {:?} {:?}", one.client, one.dialled, one.destination));
            Ok(ends.collect())
        };
        Ok(Self {
            roles: [0, 1].map(|index| pair.role(index)),
            term: pair.takeovers()?,
            times_held: [0, 1].map(|index| pair.times_held(index)),
            connections: [connections(0)?, connections(1)?],
        })
    }
}

/// By reason.
type Counts = Vec<(String, u64)>;

/// How often a director has refused something for this reason.
fn count(refused: &[(String, u64)], reason: &str) -> u64 {
    refused.iter().filter(|(name, _)| name == reason).map(|(_, count)| count).sum()
}

/// What went over the first heartbeat network.
struct Record {
    datagrams: Vec<Datagram>,
    /// What the second director has asked the first one with, over TCP.
    question: Vec<u8>,
}

impl Record {
    /// In two lives of the second director.
    fn of_a_restart(pair: &mut Pair) -> Result<Self> {
        let directory = pair.network.identity.directory();
        let capture = Capture::start(&pair.directors[1], "hb0", &directory)?;
        // Beats of both, and what of connections is told and acknowledged.
        all_are_heard(pair)?;
        let told = |pair: &Pair| -> Result<u64> {
            let views = pair.status(0)?.synchronisation.context("nothing is told")?;
            Ok(views.iter().map(|view| view.sent.datagrams).sum())
        };
        let before = told(pair)?;
        wait_until("connections to be told", PATIENCE, || told(pair).is_ok_and(|now| now > before + 1))?;
        all_are_heard(pair)?;
        // It asks for the state once it is back.
        pair.agents[1].as_mut().context("it runs")?.kill()?;
        pair.agents[1].as_mut().context("it was there")?.start_again()?;
        pair.wait_until_settled(1)?;
        let frames = capture.finish()?;
        let asked = at(0, REST)?;
        let question = frames.iter().filter_map(|frame| segment(frame)).find(|(_, to, _)| *to == asked);
        let question = question.context("nobody has asked for the state")?.2.to_vec();
        Ok(Self { datagrams: frames.iter().filter_map(|frame| Datagram::of(frame)).collect(), question })
    }

    fn sent_by(&self, director: usize, port: u16) -> Result<Vec<&Datagram>> {
        let from = at(director, port)?;
        let sent: Vec<_> = self.datagrams.iter().filter(|datagram| datagram.from == from).collect();
        ensure!(!sent.is_empty(), "nothing was recorded of {from}");
        Ok(sent)
    }
}

/// Who sends to the first director from the machine of the second one, in its name and in others.
struct Intruder<'pair> {
    pair: &'pair Pair,
    record: &'pair Record,
    forger: Forger,
}

impl<'pair> Intruder<'pair> {
    fn start(pair: &'pair Pair, record: &'pair Record) -> Result<Self> {
        let machine = &pair.directors[1];
        machine.addresses(Family::V4, &format!("addr add {STRANGER}/24 dev hb0\n"))?;
        Ok(Self { pair, record, forger: Forger::start(machine)? })
    }

    fn send(&self, port: u16, payload: Vec<u8>) -> Result<()> {
        self.forger.send(&Datagram { from: at(1, port)?, to: at(0, port)?, payload })
    }

    /// Bytes that mean nothing, shorter and longer than what means something.
    fn send_garbage(&self) -> Result<()> {
        let mut random = std::fs::File::open("/dev/urandom")?;
        for length in [0, 3, 7, 40, 200, 1400] {
            let mut bytes = vec![0; length];
            random.read_exact(&mut bytes)?;
            // Nothing of ours begins so, nor has a frame this length.
            bytes.iter_mut().take(1).for_each(|byte| *byte = 0xff);
            self.send(BEATS, bytes.clone())?;
            self.send(REST, bytes.clone())?;
            self.ask(*at(1, 0)?.ip(), |_| bytes)?;
        }
        Ok(())
    }

    /// What the second director has said, sealed with keys that the first one does not have.
    fn send_forged(&self) -> Result<()> {
        let right = keyring(KEYS)?;
        for keys in [keyring(FORGED)?, keyring(UNKNOWN)?] {
            for (port, kind) in [(BEATS, Kind::Beat), (REST, Kind::Sync)] {
                for datagram in self.record.sent_by(1, port)? {
                    self.send(port, keys.seal(kind, right.open(kind, &datagram.payload)?))?;
                }
            }
            self.ask(*at(1, 0)?.ip(), |nonce| framed(&keys, nonce))?;
        }
        Ok(())
    }

    /// What it has said itself: again, at the other port, and from an address that nobody has.
    fn send_recorded(&self) -> Result<()> {
        for (port, other) in [(BEATS, REST), (REST, BEATS)] {
            for datagram in self.record.sent_by(1, port)? {
                let Datagram { from, payload, .. } = datagram.clone();
                let to = at(0, port)?;
                self.forger.send(datagram)?;
                self.send(other, payload.clone())?;
                self.forger.send(&Datagram {
                    from: SocketAddrV4::new(STRANGER, from.port()),
                    to,
                    payload,
                })?;
            }
        }
        self.ask(*at(1, 0)?.ip(), |_| self.record.question.clone())?;
        self.ask(STRANGER, |_| self.record.question.clone())
    }

    /// Says something to the first director's TCP port; `what` is told what that has sent, if anything.
    fn ask(&self, from: Ipv4Addr, what: impl FnOnce(&[u8]) -> Vec<u8> + Send) -> Result<()> {
        self.pair.directors[1].enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddrV4::new(from, 0).into())?;
            socket.connect(&at(0, REST)?.into())?;
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut nonce = [0; 16];
            // A stranger is told nothing, and what is said to a closed stream is lost.
            let length = stream.read(&mut nonce).unwrap_or_default();
            stream.write_all(&what(&nonce[..length])).ok();
            stream.shutdown(std::net::Shutdown::Write).ok();
            stream.read_to_end(&mut Vec::new()).ok();
            Ok(())
        })
    }
}

/// A question for the state, which belongs to this connection.
fn framed(keys: &Keyring, nonce: &[u8]) -> Vec<u8> {
    let sealed = keys.seal(Kind::State, &[&[1], nonce, &[0; 16]].concat());
    [&(sealed.len() as u32).to_be_bytes(), sealed.as_slice()].concat()
}

/// Each reason must have been counted at each port, more often than before.
fn expect_counted(before: &Status, after: &Status) -> Result<()> {
    type Of = fn(&Status) -> &Counts;
    let expected: [(&str, Of, &[&str]); 3] = [
        (
            "beats",
            |status| &status.refused,
            &["short", "foreign", "kind", "signature", "unknown_key", "replayed"],
        ),
        (
            "connections",
            |status| &status.refused_connections,
            &["short", "foreign", "kind", "signature", "unknown_key", "stranger", "stale"],
        ),
        (
            "state",
            |status| &status.refused_state,
            &["short", "long", "signature", "unknown_key", "stranger", "replayed"],
        ),
    ];
    for (what, of, reasons) in expected {
        for reason in reasons {
            let [before, after] = [before, after].map(|status| count(of(status), reason));
            ensure!(after > before, "{what}: {reason} was {before} and is {after}");
        }
    }
    let dropped = |status: &Status| status.paths.iter().map(|path| path.dropped).sum::<u64>();
    ensure!(dropped(after) > dropped(before), "beats from a strange address were not dropped");
    Ok(())
}

#[test]
fn what_was_not_said_by_a_director_is_counted_and_changes_nothing() -> Result<()> {
    let mut stage = Stage::start("wlc", "dr", Pair::start_witness)?;
    let flows = flows(&stage)?;
    let record = Record::of_a_restart(&mut stage.pair)?;
    let vips: Vec<_> = stage.pair.network.vips().collect();
    let watch = ArpWatch::start(&stage.pair.network.client, "eth0", &vips)?;
    let (before, was) = (stage.pair.status(0)?, Standing::of(&stage.pair)?);
    ensure!(was.connections[0].len() >= FLOWS, "{was:?}");

    let intruder = Intruder::start(&stage.pair, &record)?;
    intruder.send_garbage()?;
    intruder.send_forged()?;
    intruder.send_recorded()?;
    // To the other one, what the first one has said and says still.
    let echoer = Forger::start(&stage.pair.directors[0])?;
    let own = [record.sent_by(0, BEATS)?, record.sent_by(0, REST)?].concat();
    own.iter().try_for_each(|datagram| echoer.send(datagram))?;
    wait_until("all of it to be counted", PATIENCE, || {
        stage.pair.status(0).is_ok_and(|after| expect_counted(&before, &after).is_ok())
    })
    .or_else(|_| expect_counted(&before, &stage.pair.status(0)?))
    .with_context(|| stage.pair.explain())?;
    wait_until("every connection to be used", PATIENCE, {
        let exchanges = flows.exchanges();
        let flows = &flows;
        move || flows.exchanges() > exchanges + 3 * FLOWS as u64 || flows.broken() > 0
    })?;
    let is = Standing::of(&stage.pair)?;
    ensure!(is == was, "{was:?}\nbecame\n{is:?}\n{}", stage.pair.explain());
    // Who has the addresses now.
    for vip in &vips {
        let client = &stage.pair.network.client;
        client.run("ip", &["neighbour", "flush", "to", &vip.to_string(), "dev", "eth0"])?;
    }
    wait_until("somebody to answer for the VIPs", PATIENCE, || {
        let claims = watch.claims();
        vips.iter().all(|vip| !who_answers(&claims, *vip).is_empty())
    })?;
    stage.expect_turns(&watch.stop()?, 0)?;
    let metrics = stage.pair.agent(0)?.control().run(&["metrics"])?;
    for sample in [
        "lvs_cluster_refused_messages_total{reason=\"replayed\"}",
        "lvs_cluster_refused_state_total{reason=\"stranger\"}",
        "lvs_sync_refused_datagrams_total{reason=\"signature\"}",
    ] {
        let line = metrics.lines().find_map(|line| line.strip_prefix(sample));
        let value: f64 = line.with_context(|| format!("there is no {sample}"))?.trim().parse()?;
        ensure!(value > 0.0, "{sample} is {value}");
    }

    // Nor does a recording keep a dead director alive.
    stage.pair.agents[0].as_mut().context("it runs")?.kill()?;
    wait_until("a dead director to be replaced while its beats are sent again", PATIENCE, || {
        own.iter().all(|datagram| echoer.send(datagram).is_ok()) && stage.pair.is_active(1)
    })
    .with_context(|| stage.pair.explain())?;
    stage.answers()?;
    flows.stop()?.expect_none_broken()
}

/// The three steps of the manual.
#[test]
fn keys_change_without_an_outage() -> Result<()> {
    const NEW: &str = "2026-12 0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let stage = Stage::start("wlc", "dr", Pair::start_witness)?;
    let pair = &stage.pair;
    let flows = flows(&stage)?;
    pair.wait_until_settled(1)?;
    let (terms, former) = (pair.takeovers()?, keyring(KEYS)?);
    let forger = Forger::start(&pair.directors[1])?;
    // Sealed with the old key, and without a meaning.
    let beat = Datagram { from: at(1, BEATS)?, to: at(0, BEATS)?, payload: former.seal(Kind::Beat, &[1]) };
    let refused = |reason: &str| pair.status(0).map(|status| count(&status.refused, reason));
    let expect_refused = |reason: &str| -> Result<()> {
        let before = refused(reason)?;
        forger.send(&beat)?;
        wait_until(reason, PATIENCE, || refused(reason).is_ok_and(|now| now > before))
            .with_context(|| pair.explain())
    };

    for (step, keys) in
        [format!("{KEYS}{NEW}\n"), format!("{NEW}\n{KEYS}"), format!("{NEW}\n")].iter().enumerate()
    {
        if step == 2 {
            expect_refused("malformed").context("the old key is known still")?;
        }
        pair.write_keys(keys)?;
        for index in [0, 1] {
            pair.agent(index)?.control().run(&["reload"])?;
            // The others have not read it yet.
            all_are_heard(pair)?;
        }
        let witness = pair.witness.as_ref().context("there is a voter")?;
        witness.signal(Signal::SIGHUP)?;
        wait_until("the voter to read its keys", PATIENCE, || {
            witness.log().matches("has read its keys again").count() == step + 1
        })?;
        all_are_heard(pair)?;
    }
    for index in [0, 1] {
        let Status { refused, refused_connections, refused_state, .. } = pair.status(index)?;
        for counts in [refused, refused_connections, refused_state] {
            for reason in ["unknown_key", "signature"] {
                ensure!(count(&counts, reason) == 0, "{reason} {counts:?}\n{}", pair.explain());
            }
        }
    }
    expect_refused("unknown_key").context("the old key is known no more")?;

    // Connections and the desired state go over with the new key.
    let drained = pair.network.servers[0].clone();
    stage.set_drained(0, &drained, true)?;
    ensure!(pair.takeovers()? == terms && pair.times_held(0) == 1, "{}", pair.explain());
    ensure!(pair.is_active(0) && pair.role(1) == "standby", "{}", pair.explain());
    let (before, flows) = (flows.exchanges(), flows);
    wait_until("every connection to be used", PATIENCE, || flows.exchanges() > before + 2 * FLOWS as u64)?;
    flows.stop()?.expect_none_broken()
}

/// Both directors hear each other and the voter, by messages that came after this was asked.
fn all_are_heard(pair: &Pair) -> Result<()> {
    let received = |index: usize| -> Result<Vec<u64>> {
        let peers = pair.status(index)?.peers;
        Ok(peers.iter().map(|peer| peer.heard.iter().map(|heard| heard.received).sum()).collect())
    };
    let before = [received(0)?, received(1)?];
    wait_until("all to be heard", PATIENCE, || {
        (0..2).all(|index| {
            let now = received(index).unwrap_or_default();
            now.len() == before[index].len()
                && now.iter().zip(&before[index]).all(|(now, before)| now > before)
        })
    })
    .with_context(|| pair.explain())
}
