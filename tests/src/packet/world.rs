//! A director of its own for one test: namespace, maps, programs, and control to fill them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use aya::maps::{Array, HashMap, Map, MapData};
use lvs_common::address::Address;
use lvs_common::cause::{Cause, Verdict as Fate};
use lvs_common::connection::{Connection, TableState, flags};
use lvs_common::counters::Counters;
use lvs_common::destination::Load;
use lvs_common::flow::FlowKey;
use lvs_common::lease::Lease;
use lvs_common::ring::Slot;
use lvs_common::service::{MEMBERS_PER_CHUNK, Service, ServiceKey};
use lvs_common::settings::{Interface, Settings};
use lvs_common::{LAYOUT_VERSION, names};
use lvs_userspace::config;
use lvs_userspace::config::model::Cluster;
use lvs_userspace::control::{Capacity, Command, Event, NextHop, Snapshot, State};
use lvs_userspace::dataplane::{
    Dataplane, FlowReader, FlowWriter, OpenOptions, Probes, SweepReport, Sweeper, now_ticks, object,
};

use super::frame::{address, packet_of};
use super::place::{self, Interfaces, Side};
use super::program::{self, Verdict};
use super::show;
use crate::cluster;
use crate::lab::checksums::check_frame;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Longest wait for something that needs time to pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pins, gone at the end whatever happens.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        // Nothing is there to remove when opening failed early.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The program, for a thread of its own.
#[derive(Debug)]
pub struct Runner {
    program: OwnedFd,
    ingress: u32,
}

impl Runner {
    /// What the program makes of `frame`.
    pub fn run(&self, frame: &[u8]) -> Verdict {
        let run = program::run(self.program.as_fd(), self.ingress, frame);
        run.unwrap_or_else(|error| panic!("BPF_PROG_TEST_RUN: {error}")).0
    }
}

/// What became of one frame.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    pub frame: Vec<u8>,
    /// Causes that were counted, and how often.
    pub causes: Vec<(Cause, u64)>,
    /// Counters that rose, by destination.
    pub counters: BTreeMap<u32, Counters>,
}

impl Outcome {
    pub fn has(&self, cause: Cause) -> bool {
        self.causes.iter().any(|(counted, _)| *counted == cause)
    }
}

/// What should become of a frame.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Left to the kernel, untouched.
    Pass(Cause),
    /// Left to the kernel in this form.
    Given(Cause, Vec<u8>),
    Drop(Cause),
    /// Sent out by this interface, in this form, and counted once for one destination.
    Out(Side, Vec<u8>),
    /// As [`Self::Out`] without a destination's count: what is only routed, and ICMP errors on their way.
    Routed(Side, Vec<u8>),
    /// Sent back in this form.
    Answer(Cause, Vec<u8>),
}

/// A director that belongs to one test.
///
/// [`World::row`] collects what fails and goes on; the test fails when the world goes.
pub struct World {
    dataplane: Option<Dataplane>,
    sweeper: Sweeper,
    state: State,
    now: Duration,
    interfaces: Interfaces,
    destinations: u32,
    causes: Vec<(Cause, u64)>,
    counters: Vec<Counters>,
    failures: Vec<String>,
    rows: u32,
    pins: Pins,
    /// Of every file this director is given.
    cluster: Option<Arc<Cluster>>,
    /// The last file.
    config: config::Config,
}

/// A file with these services (the text of the list below `services:`) and small tables.
fn file(services: &str, limits: &str) -> String {
    format!("version: 1\ninterfaces: [front, back]\nlimits: {{{limits}}}\nservices:\n{services}\n")
}

const SMALL: &str = "connections: 1024, embryonic: 1024, destinations: 64";

impl World {
    /// A director with `services`, the YAML list of a configuration file.
    ///
    /// # Panics
    /// As everything here: when something fails that must not.
    pub fn new(services: &str) -> Self {
        Self::with_limits(services, SMALL)
    }

    /// The same with tables of other sizes, as in the file's `limits`.
    pub fn with_limits(services: &str, limits: &str) -> Self {
        Self::open(services, limits, None)
    }

    /// The same as [`Self::new`] in a cluster with these groups of addresses. No lease is held yet.
    pub fn with_groups(services: &str, groups: &[&[&str]]) -> Self {
        let groups = groups.iter().map(|group| group.iter().map(|text| address(text)).collect());
        Self::open(services, SMALL, Some(Arc::new(cluster::of_groups(groups))))
    }

    fn open(services: &str, limits: &str, cluster: Option<Arc<Cluster>>) -> Self {
        let interfaces = place::build().unwrap_or_else(|error| panic!("{error:#}"));
        let text = file(services, limits);
        let config = config::parse(&text, "test.yaml").unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("packet-{}-{number}", std::process::id());
        let pins = Pins(PathBuf::from("/sys/fs/bpf").join(&instance));
        let options = OpenOptions {
            instance: &instance,
            object: object::director().unwrap_or_else(|error| panic!("{error}")),
            limits: config.limits,
            interfaces: Vec::new(),
            allow_generic: false,
        };
        let dataplane = Dataplane::open(&options).unwrap_or_else(|error| panic!("{error:#}"));
        let snapshot = dataplane.snapshot().unwrap_or_else(|error| panic!("{error}"));
        let mut world = Self {
            sweeper: dataplane.sweeper(),
            destinations: dataplane.destination_capacity(),
            dataplane: Some(dataplane),
            state: State::adopt_with(snapshot, Capacity::of(&config.limits)),
            now: Duration::from_secs(100),
            interfaces,
            causes: Vec::new(),
            counters: Vec::new(),
            failures: Vec::new(),
            rows: 0,
            pins,
            cluster,
            config: config.clone(),
        };
        world.desire(config);
        (world.causes, world.counters) = (world.read_causes(), world.read_counters());
        world
    }

    /// Another file in place of the last one.
    pub fn reload(&mut self, services: &str) {
        let config = config::parse(&file(services, SMALL), "test.yaml");
        self.desire(config.unwrap_or_else(|mistakes| panic!("{mistakes}")));
        self.counters = self.read_counters();
    }

    /// The last file, in which the real servers at these addresses are down and reset their connections.
    pub fn down(&mut self, addresses: &[&str]) {
        let mut config = self.config.clone();
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| address(text)).collect();
        let servers = config.services.iter_mut().flat_map(|service| &mut service.real_servers);
        for server in servers.filter(|server| addresses.contains(&server.address)) {
            (server.weight, server.resets) = (0, true);
        }
        self.event(Event::Desired(config));
    }

    /// The last file as it is: everybody is well again.
    pub fn up(&mut self) {
        self.event(Event::Desired(self.config.clone()));
    }

    fn desire(&mut self, config: config::Config) {
        let config = config::Config { cluster: self.cluster.clone(), ..config };
        self.config = config.clone();
        let servers: Vec<IpAddr> = config
            .services
            .iter()
            .flat_map(|service| &service.real_servers)
            .map(|server| server.address)
            .collect();
        self.event(Event::Desired(config));
        for address in servers {
            let next_hop = self.interfaces.next_hop(address);
            self.event(Event::NextHop { address, next_hop });
        }
    }

    /// Has control decide about `event`, and carries out what it says.
    pub fn event(&mut self, event: Event) {
        let commands = self.state.handle(event, self.now);
        self.apply(&commands);
    }

    /// Time passes for control, not for the data plane.
    pub fn tick(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.event(Event::Tick);
    }

    /// What the resolver knows of a real server changes.
    pub fn relocate(&mut self, text: &str, change: impl FnOnce(&mut NextHop)) {
        let address = address(text);
        let mut next_hop = self.interfaces.next_hop(address).unwrap_or_else(|| panic!("where is {text}?"));
        change(&mut next_hop);
        self.event(Event::NextHop { address, next_hop: Some(next_hop) });
    }

    /// Nothing is known of a real server any more.
    pub fn lose(&mut self, text: &str) {
        self.event(Event::NextHop { address: address(text), next_hop: None });
    }

    /// Whether the kernel of this namespace is a router.
    pub fn forwarding(&self, on: bool) {
        place::forwarding(on).unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Tells the program the MACs of its interfaces, as attaching to them does. (Here nothing is attached:
    /// the namespace's own packets would be counted with those of the rows.)
    pub fn learn_interfaces(&self) {
        let path = self.pins().join(names::INTERFACES);
        let map = MapData::from_pin(path).unwrap_or_else(|error| panic!("{error}"));
        let mut map: HashMap<_, u32, Interface> =
            Map::from_map_data(map).and_then(HashMap::try_from).unwrap_or_else(|error| panic!("{error}"));
        for side in [Side::Front, Side::Back] {
            let interface = Interface { mac: side.mac(), reserved: 0 };
            let written = map.insert(self.interfaces.index(side), interface, 0);
            written.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// Where the maps are pinned.
    pub fn pins(&self) -> PathBuf {
        self.pins.0.join(format!("v{LAYOUT_VERSION}"))
    }

    /// Writes to the maps, past control.
    pub fn apply(&mut self, commands: &[Command]) {
        self.dataplane_mut().apply(commands).unwrap_or_else(|error| panic!("{error}"));
    }

    /// What the cluster's thread does.
    pub fn lease(&self, index: u8, lease: Lease) {
        self.dataplane().lease_writer().write(index, lease).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Changes the data plane's settings, past control.
    pub fn settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.snapshot().settings.unwrap_or_else(Settings::defaults);
        change(&mut settings);
        self.apply(&[Command::SetSettings(settings)]);
    }

    /// What the agent's ageing does: proposes all that is idle by the data plane's settings.
    pub fn sweep(&mut self) -> SweepReport {
        self.sweep_ahead(0)
    }

    /// The same by a clock that is wrong by so many ticks.
    pub fn sweep_ahead(&mut self, ticks: u32) -> SweepReport {
        let settings = self.snapshot().settings.unwrap_or_else(Settings::defaults);
        self.sweeper
            .sweep(now_ticks().wrapping_add(ticks), &settings)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits for `condition`.
    pub fn wait_for(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn dataplane(&self) -> &Dataplane {
        self.dataplane.as_ref().unwrap_or_else(|| unreachable!("taken when dropped"))
    }

    fn dataplane_mut(&mut self) -> &mut Dataplane {
        self.dataplane.as_mut().unwrap_or_else(|| unreachable!("taken when dropped"))
    }

    /// What the maps hold, read back.
    pub fn snapshot(&self) -> Snapshot {
        self.dataplane().snapshot().unwrap_or_else(|error| panic!("{error}"))
    }

    fn read_causes(&self) -> Vec<(Cause, u64)> {
        self.dataplane().readback().causes().unwrap_or_else(|error| panic!("{error}"))
    }

    fn read_counters(&self) -> Vec<Counters> {
        let all = 0..self.destinations;
        self.dataplane().readback().counters(all).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Active and inactive connections of the destination at `index`.
    pub fn load(&self, index: u32) -> Load {
        let loads = self.dataplane().readback().loads(index..index + 1);
        loads.unwrap_or_else(|error| panic!("{error}"))[0]
    }

    /// Every connection: its key, itself, and whether it is embryonic.
    pub fn connections(&self) -> Vec<(FlowKey, Connection, bool)> {
        let readback = self.dataplane().readback();
        let batches = readback.connections().unwrap_or_else(|error| panic!("{error}"));
        let entries = batches.flat_map(|batch| batch.unwrap_or_else(|error| panic!("{error}")));
        entries.map(|entry| (entry.key, entry.connection, entry.embryonic)).collect()
    }

    /// The only connection.
    pub fn connection(&self) -> (Connection, bool) {
        match self.connections().as_slice() {
            [(_, connection, embryonic)] => (*connection, *embryonic),
            others => panic!("one connection expected, found {others:?}"),
        }
    }

    /// The directions real server -> client that are translated back, and what the client dialled.
    pub fn returns(&self) -> Vec<(FlowKey, (Address, u16))> {
        let destinations = self.snapshot().destinations;
        let translated = self.connections().into_iter().filter(|(_, one, _)| one.flags & flags::NAT != 0);
        let back = translated.map(|(key, one, _)| {
            let server = &destinations[&one.destination];
            let port = if server.port == 0 { key.destination_port } else { server.port };
            let back = FlowKey::new(server.address, port, key.source, key.source_port, key.protocol);
            (back, (key.destination, key.destination_port))
        });
        back.collect()
    }

    /// The installed service.
    pub fn service(&self, vip: &str, port: u16, protocol: u8) -> Service {
        let key = ServiceKey::new(Address::from(address(vip)), port, protocol);
        *self.snapshot().services.get(&key).unwrap_or_else(|| panic!("no service {key:?}"))
    }

    /// The index in DESTINATIONS of the destination in service that has this address.
    pub fn destination(&self, text: &str) -> u32 {
        let wanted = Address::from(address(text));
        let found = self.snapshot().destinations.into_iter().find(|(_, destination)| {
            destination.address == wanted
                && !destination.has(lvs_common::destination::destination_flags::REMOVED)
        });
        found.unwrap_or_else(|| panic!("no destination {text}")).0
    }

    /// The slots of a service's ring.
    pub fn ring(&self, service: &Service) -> Vec<Slot> {
        self.snapshot().rings.remove(&service.ring).unwrap_or_else(|| panic!("no ring {}", service.ring))
    }

    /// The address of the real server at a position.
    pub fn member(&self, service: &Service, position: u16) -> IpAddr {
        let snapshot = self.snapshot();
        let chunk = service.members + u32::from(position) / MEMBERS_PER_CHUNK as u32;
        let member = snapshot.members[&chunk].members[usize::from(position) % MEMBERS_PER_CHUNK];
        IpAddr::from(snapshot.destinations[&member.destination].address)
    }

    /// Runs the program on a frame that comes in by `side`.
    pub fn run(&mut self, side: Side, frame: &[u8]) -> Outcome {
        let (verdict, frame) = self.only_run(side, frame);
        let (causes, counters) = (self.read_causes(), self.read_counters());
        let rose = causes.iter().zip(&self.causes).filter(|(now, before)| now.1 != before.1);
        let risen = (0..).zip(counters.iter().zip(&self.counters));
        let outcome = Outcome {
            verdict,
            frame,
            causes: rose.map(|(now, before)| (now.0, now.1 - before.1)).collect(),
            counters: risen
                .filter(|(_, (now, before))| now != before)
                .map(|(index, (now, before))| (index, difference(now, before)))
                .collect(),
        };
        (self.causes, self.counters) = (causes, counters);
        outcome
    }

    /// The same where nobody asks for causes and counters: for thousands of frames.
    pub fn only_run(&self, side: Side, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let program = self.dataplane().director();
        program::run(program, self.interfaces.index(side), frame)
            .unwrap_or_else(|error| panic!("BPF_PROG_TEST_RUN: {error}"))
    }

    /// Whether a frame leaves that has this mark, and in which form.
    pub fn leave(&self, mark: u32, frame: &[u8]) -> (bool, Vec<u8>) {
        let program = self.dataplane().egress().unwrap_or_else(|| unreachable!("loaded with the director"));
        program::run_egress(program, mark, frame).unwrap_or_else(|error| panic!("BPF_PROG_TEST_RUN: {error}"))
    }

    /// Connections of probes that take the path.
    pub fn probes(&self) -> Probes {
        self.dataplane().probes()
    }

    /// Runs the program by other threads, on frames that come in by `side`.
    pub fn runner(&self, side: Side) -> Runner {
        let program = self.dataplane().director().try_clone_to_owned();
        Runner {
            program: program.unwrap_or_else(|error| panic!("{error}")),
            ingress: self.interfaces.index(side),
        }
    }

    /// A sweeper of its own, for another thread, and the settings it needs.
    pub fn sweeper(&self) -> (Sweeper, Settings) {
        (self.dataplane().sweeper(), self.snapshot().settings.unwrap_or_else(Settings::defaults))
    }

    /// Follows the connection table: from now on changes are marked.
    pub fn flow_reader(&self) -> FlowReader {
        self.dataplane().flow_reader().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes entries, as for another director's connections.
    pub fn flow_writer(&self) -> FlowWriter {
        self.dataplane().flow_writer().unwrap_or_else(|error| panic!("{error}"))
    }

    /// What the program has counted of its table.
    pub fn table(&self) -> TableState {
        let path = self.pins().join(names::TABLE);
        let map = MapData::from_pin(path).unwrap_or_else(|error| panic!("{error}"));
        let map: Array<_, TableState> =
            Map::from_map_data(map).and_then(Array::try_from).unwrap_or_else(|error| panic!("{error}"));
        map.get(&0, 0).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The director's program, to be run by others.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.dataplane().director()
    }

    /// Index of the interface.
    pub const fn interface(&self, side: Side) -> u32 {
        self.interfaces.index(side)
    }

    /// Packets from clients and from real servers that were sent on, over all destinations.
    pub fn packets(&self) -> u64 {
        self.read_counters().iter().map(|one| one.packets_in + one.packets_out).sum()
    }

    /// How often this cause was counted.
    pub fn counted(&self, cause: Cause) -> u64 {
        self.read_causes().iter().filter(|(one, _)| *one == cause).map(|(_, count)| count).sum()
    }

    /// Takes causes and counters as they are: the next [`World::run`] reports what rises from here.
    pub fn forget(&mut self) {
        (self.causes, self.counters) = (self.read_causes(), self.read_counters());
    }

    /// Runs one row of a table: a frame and what should become of it.
    pub fn row(&mut self, name: &str, side: Side, frame: &[u8], expect: &Expect) -> Outcome {
        self.row_by(name, side, frame, |_| expect.clone())
    }

    /// The same where the expected frame depends on what the program may choose freely.
    pub fn row_by(
        &mut self,
        name: &str,
        side: Side,
        frame: &[u8],
        expect: impl FnOnce(&Outcome) -> Expect,
    ) -> Outcome {
        let outcome = self.run(side, frame);
        self.rows += 1;
        if let Err(reason) = judge(side, frame, &outcome, &expect(&outcome)) {
            let input = show::frame(frame);
            self.failures.push(format!("row `{name}`: {reason}\n  sent     {input}"));
        }
        outcome
    }

    /// Runs one row of a table about what the machine itself sends: whether `frame` leaves, or why it does not.
    pub fn leaving_row(&mut self, name: &str, frame: &[u8], dropped: Option<Cause>) {
        self.forget();
        let (leaves, left) = self.leave(0, frame);
        let causes = self.read_causes();
        let rose = causes.iter().zip(&self.causes).filter(|(now, before)| now.1 != before.1);
        let rose: Vec<(Cause, u64)> = rose.map(|(now, before)| (now.0, now.1 - before.1)).collect();
        let expected: Vec<(Cause, u64)> = dropped.map(|cause| (cause, 1)).into_iter().collect();
        self.equal(name, (leaves, rose), (dropped.is_none(), expected));
        self.check(name, left == frame, || "the frame was changed".to_owned());
    }

    /// A row about something else than a frame.
    pub fn check(&mut self, name: &str, holds: bool, detail: impl FnOnce() -> String) {
        self.rows += 1;
        if !holds {
            self.failures.push(format!("row `{name}`: {}", detail()));
        }
    }

    /// A row that compares.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, name: &str, found: T, expected: T) {
        let holds = found == expected;
        self.check(name, holds, || format!("expected {expected:?}, found {found:?}"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let closed = self.dataplane.take().map(|dataplane| dataplane.close(false));
        if thread::panicking() {
            return;
        }
        if let Some(Err(error)) = closed {
            panic!("closing the data plane: {error}");
        }
        let (failed, rows) = (self.failures.len(), self.rows);
        assert!(failed == 0, "{failed} of {rows} rows failed\n\n{}", self.failures.join("\n"));
    }
}

const fn difference(now: &Counters, before: &Counters) -> Counters {
    Counters {
        connections: now.connections.wrapping_sub(before.connections),
        packets_in: now.packets_in.wrapping_sub(before.packets_in),
        bytes_in: now.bytes_in.wrapping_sub(before.bytes_in),
        packets_out: now.packets_out.wrapping_sub(before.packets_out),
        bytes_out: now.bytes_out.wrapping_sub(before.bytes_out),
    }
}

/// Compares what happened with what should have.
fn judge(side: Side, sent: &[u8], outcome: &Outcome, expect: &Expect) -> Result<(), String> {
    let (verdict, cause, frame) = match expect {
        Expect::Pass(cause) => (Verdict::Pass, Some(*cause), Some(sent)),
        Expect::Given(cause, frame) => (Verdict::Pass, Some(*cause), Some(frame.as_slice())),
        Expect::Drop(cause) => (Verdict::Drop, Some(*cause), None),
        Expect::Answer(cause, frame) => (Verdict::Transmit, Some(*cause), Some(frame.as_slice())),
        Expect::Out(out, frame) | Expect::Routed(out, frame) => {
            let verdict = if *out == side { Verdict::Transmit } else { Verdict::Redirect };
            (verdict, None, Some(frame.as_slice()))
        }
    };
    let causes: Vec<(Cause, u64)> = cause.map(|cause| (cause, 1)).into_iter().collect();
    if outcome.verdict != verdict || outcome.causes != causes {
        let found = (outcome.verdict, &outcome.causes);
        return Err(format!("expected {:?}, found {found:?}", (verdict, causes)));
    }
    if let Some(cause) = cause {
        let fits = match cause.verdict() {
            Fate::Pass => verdict == Verdict::Pass,
            Fate::Drop => verdict == Verdict::Drop,
            Fate::Answer => verdict == Verdict::Transmit,
            Fate::Note => false,
        };
        assert!(fits, "the row contradicts what {} says of itself", cause.name());
    }
    if let Some(frame) = frame
        && outcome.frame != frame
    {
        return Err(show::difference(frame, &outcome.frame));
    }
    if !matches!(expect, Expect::Pass(_) | Expect::Drop(_)) {
        // Does not depend on what the row expects. A frame that came in wrong goes out wrong.
        if check_frame(sent).is_ok() {
            check_frame(&outcome.frame).map_err(|error| format!("a checksum of what went out: {error:#}"))?;
        }
    }
    counted(sent, outcome, expect)
}

/// Whether the counters rose as the frame's fate says.
fn counted(sent: &[u8], outcome: &Outcome, expect: &Expect) -> Result<(), String> {
    let is_counted = matches!(expect, Expect::Out(..) | Expect::Pass(Cause::Local));
    if matches!(expect, Expect::Routed(..)) {
        return Ok(());
    }
    let bytes = ip_length(packet_of(sent));
    // Only replies go from anywhere else to the clients' router.
    let is_reply = sent[6..12] != place::ROUTER && outcome.frame.starts_with(&place::ROUTER);
    let risen: Vec<_> = outcome.counters.values().collect();
    let right = match risen.as_slice() {
        [] => !is_counted,
        [one] => {
            let (packets, bytes) = if is_reply { ((0, 1), (0, bytes)) } else { ((1, 0), (bytes, 0)) };
            is_counted
                && (one.packets_in, one.packets_out) == packets
                && (one.bytes_in, one.bytes_out) == bytes
        }
        _ => false,
    };
    if right { Ok(()) } else { Err(format!("of {bytes} bytes was counted: {:?}", outcome.counters)) }
}

/// What an IP header says of its packet's length; 0 where there is none.
fn ip_length(packet: &[u8]) -> u64 {
    let word =
        |at: usize| packet.get(at..at + 2).map_or(0, |word| u64::from(word[0]) << 8 | u64::from(word[1]));
    match packet.first().map(|first| first >> 4) {
        Some(4) => word(2),
        Some(6) => 40 + word(4),
        _ => 0,
    }
}
