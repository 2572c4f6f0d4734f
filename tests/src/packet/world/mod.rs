//! A director of its own for one test: namespace, maps, programs, and control to fill them.

mod judge;
mod read;
mod run;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use aya::maps::{HashMap, Map, MapData};
use lvs_common::cause::Cause;
use lvs_common::counters::Counters;
use lvs_common::lease::Lease;
use lvs_common::settings::{Interface, Settings};
use lvs_common::{LAYOUT_VERSION, names};
use lvs_userspace::config;
use lvs_userspace::config::model::Cluster;
use lvs_userspace::control::{Capacity, Command, Event, NextHop, State};
use lvs_userspace::dataplane::{
    Dataplane, FlowReader, FlowWriter, OpenOptions, Probes, SweepReport, Sweeper, now_ticks, object,
};

use super::frame::address;
use super::place::{self, Interfaces, Side};
use crate::cluster;

pub use judge::{Expect, Outcome};
pub use run::Runner;

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
        Self::with_cluster(services, SMALL, cluster::of_groups(groups))
    }

    /// The same with a table of another size.
    pub fn with_cluster(services: &str, limits: &str, cluster: Cluster) -> Self {
        Self::open(services, limits, Some(Arc::new(cluster)))
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

    /// Has control find out that no connection differs from the rings. There is none yet.
    pub fn settle(&mut self) {
        self.tick(2);
        if let Some(census) = self.state.census(self.now) {
            self.event(Event::Counted(census));
        }
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

    /// Connections of probes that take the path.
    pub fn probes(&self) -> Probes {
        self.dataplane().probes()
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

    fn dataplane(&self) -> &Dataplane {
        self.dataplane.as_ref().unwrap_or_else(|| unreachable!("taken when dropped"))
    }

    fn dataplane_mut(&mut self) -> &mut Dataplane {
        self.dataplane.as_mut().unwrap_or_else(|| unreachable!("taken when dropped"))
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
