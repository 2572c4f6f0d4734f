//! What it takes to keep a second director's connection table in step: two data planes in one process, a thread and
//! a socket of the loopback interface for each.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::thread::JoinHandleExt as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use lvs_common::adoption::{Adoption, action, outcome};
use lvs_common::connection::{Entry, flags};
use lvs_common::destination::Destination;
use lvs_common::tcp_state::state;
use lvs_userspace::cluster::reach::Addresses;
use lvs_userspace::cluster::sync::link::{Link, Parts, PeerStatus, Status};
use lvs_userspace::cluster::sync::{Directory, Key, Options as Pace};
use lvs_userspace::config::model::Limits;
use lvs_userspace::dataplane::{FlowWriter, now_ticks};
use tokio::sync::{oneshot, watch};

use super::Options;
use super::director::{Director, parse};
use super::figure::{Better, Figure};

/// Longest wait for the other director.
const PATIENCE: Duration = Duration::from_secs(120);
/// Records that are carried out together: a millisecond's worth of changes.
const AT_ONCE: usize = 21;
const SERVERS: u32 = 16;
/// More than any pace.
const UNLIMITED: u64 = 10_000_000_000;
const BOTH: &str = "anonymous memory of the process; the table itself is the kernel's";
const LOOPBACK: &str =
    "over the loopback interface, which costs the sender the receiver's part of the network too";

pub fn figures(options: &Options) -> Result<Vec<Figure>> {
    let connections = options.pick(2000, 50_000, 500_000);
    let mut figures = Vec::new();
    for (pace, bytes_per_second) in
        [("default pace", Pace::default().bytes_per_second), ("no pace", UNLIMITED)]
    {
        let pair = Pair::open(connections, bytes_per_second)?;
        let case = |what: &str| format!("a joiner learns {connections} connections, {pace}: {what}");
        figures.extend(pair.bulk(case)?);
        if bytes_per_second != UNLIMITED {
            figures.extend(pair.at_rest(options.pick(0.2, 2.0, 10.0))?);
            figures.extend(pair.changes(options.pick(3, 20, 100))?);
        }
    }
    Ok(figures)
}

/// Two directors; only the left one has connections.
struct Pair {
    left: Director,
    right: Director,
    connections: u32,
    ends: [End; 2],
    /// Anonymous memory before the ends began, in bytes.
    memory: f64,
    began: Instant,
}

impl Pair {
    fn open(connections: u32, bytes_per_second: u64) -> Result<Self> {
        // With a little room, as a table has that is large enough.
        let limits = Limits { connections: connections + connections / 4, embryonic: 1024, destinations: 64 };
        let servers: Vec<String> =
            (0..SERVERS).map(|server| format!("{{address: 10.0.1.{server}}}")).collect();
        let file = format!(
            "version: 1\ninterfaces: [lo]\nservices:\n  - {{name: web, vip: 10.0.0.3, port: 80, protocol: tcp, \
             scheduler: wlc, real_servers: [{}]}}\n",
            servers.join(", ")
        );
        let mut directors = Vec::new();
        for _ in 0..2 {
            let mut director = Director::open(limits)?;
            director.desire(parse(&file)?)?;
            directors.push(director);
        }
        let (Some(right), Some(left)) = (directors.pop(), directors.pop()) else {
            return Err(anyhow!("two"));
        };
        fill(&left, connections)?;
        let sockets = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
        let memory = anonymous_memory()?;
        let began = Instant::now();
        let ends = [
            End::start(&left, &sockets[0], &sockets[1], true, bytes_per_second)?,
            End::start(&right, &sockets[1], &sockets[0], false, bytes_per_second)?,
        ];
        Ok(Self { left, right, connections, ends, memory, began })
    }

    fn bulk(&self, case: impl Fn(&str) -> String) -> Result<Vec<Figure>> {
        let mut status = self.ends[1].status.clone();
        wait(&mut status, |status| status.peers[0].receiver.is_complete)?;
        let took = self.began.elapsed();
        let memory = anonymous_memory()? - self.memory;
        let (used, right) = ([self.ends[0].used()?, self.ends[1].used()?], self.ends[1].status());
        // At this load the window of one in a million is full.
        let enough = u64::from(self.connections - self.connections / 1000);
        ensure!(right.receiver.inserted >= enough, "not all have arrived: {right:?}");
        let sent = self.ends[0].status().sender;
        let each = sent.bytes as f64 / f64::from(self.connections);
        Ok(vec![
            figure(case("time"), "ms", milliseconds(took), None),
            figure(case("processor of the sender"), "ms", milliseconds(used[0]), Some(LOOPBACK)),
            figure(case("processor of the receiver"), "ms", milliseconds(used[1]), None),
            figure(case("sent for each connection"), "bytes", each, None),
            figure(case("datagrams lost"), "count", sent.lost as f64, None),
            figure(case("memory of both ends"), "MiB", memory / f64::from(1 << 20), Some(BOTH)),
        ])
    }

    fn at_rest(&self, seconds: f64) -> Result<Vec<Figure>> {
        let before = [self.ends[0].used()?, self.ends[1].used()?];
        thread::sleep(Duration::from_secs_f64(seconds));
        let share = |end: usize| -> Result<f64> {
            Ok((self.ends[end].used()? - before[end]).as_secs_f64() / seconds * 100.0)
        };
        let case = |end| format!("{} connections, nothing changes: processor of the {end}", self.connections);
        Ok(vec![figure(case("sender"), "%", share(0)?, None), figure(case("receiver"), "%", share(1)?, None)])
    }

    /// About 20 000 connections change their state in a second; one of them is watched each time.
    fn changes(&self, rounds: u32) -> Result<Vec<Figure>> {
        let (mut writer, reader) = (self.left.dataplane.flow_writer()?, self.right.dataplane.flow_writer()?);
        let records = records(&self.left, self.connections)?;
        let watched = records.first().copied().context("a connection")?;
        let place = place_of(&reader, &watched).context("the watched connection at the receiver")?;
        let before = [self.ends[0].used()?, self.ends[1].used()?];
        let (began, mut changes, mut lags) = (Instant::now(), 0_u32, Vec::new());
        let mut others = records[1..].chunks(AT_ONCE).cycle();
        for round in 0..rounds {
            let closing = if round % 2 == 0 { state::FIN_WAIT } else { state::ESTABLISHED } as u8;
            for _ in 0..10 {
                let mut some = others.next().unwrap_or_default().to_vec();
                some.iter_mut().for_each(|record| record.state = closing);
                writer.apply(&mut some)?;
                changes += some.len() as u32;
                thread::sleep(Duration::from_millis(1));
            }
            writer.apply(&mut [Adoption { state: closing, ..watched }])?;
            let changed = Instant::now();
            while reader.entry(place).is_none_or(|entry| entry.state != closing) {
                ensure!(changed.elapsed() < PATIENCE, "a change did not arrive");
                thread::yield_now();
            }
            lags.push(milliseconds(changed.elapsed()));
        }
        let seconds = began.elapsed().as_secs_f64();
        let per_second = f64::from(changes) / seconds;
        let share = |end: usize| -> Result<f64> {
            Ok((self.ends[end].used()? - before[end]).as_secs_f64() / seconds * 100.0)
        };
        let name = format!("changes among {} connections: ", self.connections);
        let case = |what: &str| format!("{name}{what}");
        Ok(vec![
            Figure { better: Better::Higher, ..figure(case("how many"), "1/s", per_second, None) },
            Figure { samples: lags, ..figure(case("until one has arrived"), "ms", 0.0, None) },
            figure(case("processor of the sender"), "%", share(0)?, None),
            figure(case("processor of the receiver"), "%", share(1)?, None),
        ])
    }
}

/// One end of the synchronisation, on a thread of its own.
struct End {
    status: watch::Receiver<Status>,
    /// The link ends when this goes.
    _plan: watch::Sender<Arc<Directory>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl End {
    fn start(
        director: &Director,
        socket: &UdpSocket,
        peer: &UdpSocket,
        active: bool,
        bytes_per_second: u64,
    ) -> Result<Self> {
        let snapshot = director.dataplane.snapshot()?;
        let (plan, directory) = watch::channel(Arc::new(Directory::of(&snapshot, |_| active)));
        // They stay as they are: the sender may go.
        let (_, addresses) = watch::channel(Arc::new(Addresses(vec![vec![peer.local_addr()?]])));
        let parts = Parts {
            socket: socket.try_clone()?,
            peers: vec!["the other one".to_owned()],
            addresses,
            seal: Key::new(b"of both directors").context("a key")?,
            reader: director.dataplane.flow_reader()?,
            writer: director.dataplane.flow_writer()?,
            directory,
            options: Pace { bytes_per_second, ..Pace::default() },
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, status) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                if let Ok((link, status)) = Link::new(parts)
                    && ready.send(status).is_ok()
                {
                    link.run(async { stopped.await.unwrap_or_default() }).await;
                }
            });
        });
        let status = status.recv().context("the link did not begin")?;
        Ok(Self { status, _plan: plan, stop: Some(stop), thread: Some(thread) })
    }

    fn status(&self) -> PeerStatus {
        self.status.borrow().peers[0]
    }

    /// Processor time of its thread.
    fn used(&self) -> Result<Duration> {
        let thread = self.thread.as_ref().context("it runs")?.as_pthread_t();
        let mut clock = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the thread was not joined; both are written to.
        let failed = unsafe {
            libc::pthread_getcpuclockid(thread, &raw mut clock) != 0
                || libc::clock_gettime(clock, &raw mut time) != 0
        };
        ensure!(!failed, "the clock of a thread cannot be read");
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of its was printed.
        self.thread.take().map(JoinHandle::join);
    }
}

/// Connections of the left director: `connections` of them, established, spread over its servers.
fn records(director: &Director, connections: u32) -> Result<Vec<Adoption>> {
    let snapshot = director.dataplane.snapshot()?;
    let servers: Vec<(u32, Destination)> = snapshot.destinations.into_iter().collect();
    ensure!(!servers.is_empty(), "no destinations");
    let record = |number: u32| {
        let (destination, value) = servers[number as usize % servers.len()];
        Adoption {
            client: IpAddr::from((0x6440_0000 + number / 512).to_be_bytes()).into(),
            client_port: 1024 + (number % 512) as u16,
            virtual_port: 80,
            service: value.service,
            destination,
            generation: value.generation,
            last_seen: now_ticks(),
            state: state::ESTABLISHED as u8,
            flags: flags::COUNTED,
            action: action::HOLD,
            ..Adoption::NONE
        }
    };
    Ok((0..connections).map(record).collect())
}

fn fill(director: &Director, connections: u32) -> Result<()> {
    let mut records = records(director, connections)?;
    director.dataplane.flow_writer()?.apply(&mut records)?;
    let inserted = records.iter().filter(|record| record.outcome == outcome::INSERTED).count();
    // One of 25 000 finds its window full.
    ensure!(inserted as f64 > f64::from(connections) * 0.999, "only {inserted} of {connections} fit");
    Ok(())
}

fn place_of(writer: &FlowWriter, wanted: &Adoption) -> Option<u32> {
    let same = |entry: Entry| (entry.client, entry.client_port) == (wanted.client, wanted.client_port);
    (0..writer.buckets() * 4).find(|place| writer.entry(*place).is_some_and(same))
}

fn wait(status: &mut watch::Receiver<Status>, condition: impl Fn(&Status) -> bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let waited = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, status.wait_for(|status| condition(status)))
            .await
            .map(|found| found.is_ok())
    });
    ensure!(waited.context("the other director took too long")?, "the link has ended");
    Ok(())
}

/// Bytes.
fn anonymous_memory() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kibibytes.context("RssAnon in /proc/self/status")? * 1024.0)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn figure(case: String, unit: &str, value: f64, note: Option<&str>) -> Figure {
    Figure {
        section: "sync".into(),
        case,
        unit: unit.into(),
        samples: vec![value],
        reference: None,
        goal: None,
        better: Better::Lower,
        note: note.map(str::to_owned),
    }
}
