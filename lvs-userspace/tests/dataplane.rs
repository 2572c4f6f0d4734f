//! The data plane against the real kernel. Needs root and the director's object (`cargo xtask build-ebpf`).
//! Each test has a thread, a network namespace and an instance name of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::{fs, thread};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::connection::{Connection, Return, flags};
use lvs_common::counters::Counters;
use lvs_common::destination::{Destination, Load, destination_flags, forward};
use lvs_common::flow::FlowKey;
use lvs_common::ring::Slot;
use lvs_common::service::{
    Member, MemberChunk, Service, ServiceKey, Source, Vip, owner, protocol, scheduler, source_role,
};
use lvs_common::settings::Settings;
use lvs_common::tcp_state::state;
use lvs_common::{LAYOUT_VERSION, limits, names};
use lvs_userspace::config::model::Limits;
use lvs_userspace::control::command::{Command, Snapshot};
use lvs_userspace::dataplane::{
    AttachError, AttachMode, Dataplane, MapError, OpenError, OpenOptions, now_ticks, object,
};

const SMALL: Limits = Limits { connections: 4096, embryonic: 1000, destinations: 64 };

/// A namespace with a veth pair `lvs0` - `peer0`, and pins that go when the test ends.
struct Lab {
    instance: String,
    object: &'static [u8],
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nothing to remove when the test closed the data plane itself.
        fs::remove_dir_all(Path::new("/sys/fs/bpf").join(&self.instance)).ok();
    }
}

impl Lab {
    fn run(name: &str, test: impl FnOnce(&Self) + Send + 'static) {
        let instance = format!("test-dataplane-{}-{name}", std::process::id());
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("these tests need root");
            let lab = Self { instance, object: object::director().unwrap() };
            ip("link set lo up");
            ip("link add lvs0 type veth peer name peer0");
            ip("link set lvs0 up");
            ip("link set peer0 up");
            test(&lab);
        });
        if let Err(panic) = thread.unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn options(&self) -> OpenOptions<'_> {
        OpenOptions {
            instance: &self.instance,
            object: self.object,
            limits: SMALL,
            interfaces: vec!["lvs0".to_owned()],
            allow_generic: false,
        }
    }

    fn open(&self) -> Dataplane {
        Dataplane::open(&self.options()).unwrap()
    }

    fn directory(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(&self.instance).join(format!("v{LAYOUT_VERSION}"))
    }

    /// The map itself, for what only the kernel's side writes.
    fn map(&self, name: &str) -> Map {
        Map::from_map_data(MapData::from_pin(self.directory().join(name)).unwrap()).unwrap()
    }
}

fn ip(arguments: &str) {
    output("ip", &arguments.split(' ').collect::<Vec<_>>());
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Process::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn destination(generation: u32) -> Destination {
    Destination {
        next_hop: [2, 0, 0, 0, 0, 7],
        port: 8080,
        source: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        interface: 1,
        generation,
        address: address("192.168.1.2"),
        tunnel_source: Address::UNSPECIFIED,
        service: 0,
        forward: forward::NAT,
        flags: destination_flags::NEXT_HOP_KNOWN,
        reserved: 0,
    }
}

/// What a plan's commands should leave in the kernel.
fn plan() -> (Vec<Command>, Snapshot) {
    let key = ServiceKey::new(address("10.0.0.3"), 80, protocol::TCP);
    let other = ServiceKey::new(address("2001:db8::3"), 53, protocol::UDP);
    let mut members = [Member::FREE; 16];
    members[0] = Member { destination: 3, weight: 2 };
    let chunk = MemberChunk { members };
    let ring: Vec<Slot> = (0..limits::RING_SIZES[2]).map(|slot| Slot::single((slot % 18) as u16)).collect();
    let sequence = vec![Slot::single(0)];
    let service = |index, ring, ring_slots, member_count| Service {
        index,
        ring,
        ring_slots,
        members: 2,
        member_count,
        scheduler: scheduler::MH,
        flags: 0,
        owner: owner::FILE,
        reserved: 0,
    };
    let settings = Settings { embryonic_slots: 1024, ..Settings::defaults() };
    let snapshot = Snapshot {
        settings: Some(settings),
        services: BTreeMap::from([(key, service(0, 5, ring.len() as u32, 18)), (other, service(1, 0, 1, 1))]),
        vips: BTreeMap::from([(key.address, Vip { services: 1 }), (other.address, Vip { services: 1 })]),
        sources: BTreeMap::from([(
            ServiceKey::new(address("192.168.1.2"), 8080, protocol::TCP),
            Source { role: source_role::NAT_SERVER },
        )]),
        members: BTreeMap::from([(2, chunk), (3, chunk)]),
        destinations: BTreeMap::from([(3, destination(1)), (63, destination(7))]),
        rings: BTreeMap::from([(5, ring), (0, sequence)]),
    };
    // The size that the configuration wanted; the maps' own is what must arrive.
    let mut commands = vec![Command::SetSettings(Settings { embryonic_slots: 1, ..settings })];
    let of = &snapshot;
    commands.extend(of.destinations.keys().map(|index| Command::ZeroDestination { index: *index }));
    let destinations = of.destinations.iter();
    commands.extend(destinations.map(|(i, value)| Command::SetDestination { index: *i, value: *value }));
    commands.extend(of.members.iter().map(|(i, value)| Command::SetMembers { chunk: *i, value: *value }));
    let rings = of.rings.iter();
    commands.extend(rings.map(|(ring, slots)| Command::SetRing { ring: *ring, slots: slots.clone() }));
    commands.extend(of.sources.iter().map(|(key, value)| Command::SetSource { key: *key, value: *value }));
    commands.extend(of.vips.iter().map(|(at, value)| Command::SetVip { address: *at, value: *value }));
    commands.extend(of.services.iter().map(|(key, value)| Command::SetService { key: *key, value: *value }));
    (commands, snapshot)
}

fn link_and_program() -> (u64, u64) {
    let shown: serde_json::Value =
        serde_json::from_str(&output("ip", &["-j", "link", "show", "lvs0"])).unwrap();
    let program = shown[0]["xdp"]["prog"]["id"].as_u64().expect("no XDP program on lvs0");
    let links: serde_json::Value = serde_json::from_str(&output("bpftool", &["-j", "link"])).unwrap();
    let link = links.as_array().unwrap().iter().find(|link| link["prog_id"].as_u64() == Some(program));
    (link.expect("the program has no link")["id"].as_u64().unwrap(), program)
}

#[test]
fn a_plan_survives_the_agent_and_the_next_one_takes_it_over() {
    Lab::run("adopt", |lab| {
        let (commands, expected) = plan();
        let mut dataplane = lab.open();
        assert_eq!(dataplane.snapshot().unwrap(), Snapshot::default());
        assert_eq!(dataplane.attachments()[0].mode, AttachMode::Native);
        assert!(dataplane.warnings().is_empty(), "{:?}", dataplane.warnings());
        dataplane.apply(&commands).unwrap();
        assert_eq!(dataplane.snapshot().unwrap(), expected);
        let (link, program) = link_and_program();
        // As if killed: nothing is closed.
        drop(dataplane);
        assert_eq!(link_and_program(), (link, program));

        let mut dataplane = lab.open();
        assert_eq!(dataplane.snapshot().unwrap(), expected);
        let (same_link, new_program) = link_and_program();
        assert_eq!(same_link, link, "a link was made anew: packets passed without a program");
        assert_ne!(new_program, program);

        let removal: Vec<Command> =
            (expected.services.keys().map(|key| Command::DeleteService { key: *key }))
                .chain(expected.vips.keys().map(|address| Command::DeleteVip { address: *address }))
                .chain(expected.sources.keys().map(|key| Command::DeleteSource { key: *key }))
                .chain(expected.rings.keys().map(|ring| Command::DeleteRing { ring: *ring }))
                .collect();
        dataplane.apply(&removal).unwrap();
        dataplane.apply(&removal).expect("what is deleted already is none the worse");
        let left = dataplane.snapshot().unwrap();
        let expected = Snapshot {
            settings: expected.settings,
            destinations: expected.destinations,
            ..Default::default()
        };
        assert_eq!(left, expected);
        dataplane.close(false).unwrap();
        assert!(!lab.directory().parent().unwrap().exists());
        assert!(!output("ip", &["link", "show", "lvs0"]).contains("xdp"));
    });
}

#[test]
fn bpftool_prints_the_fields_of_a_ring() {
    Lab::run("names", |lab| {
        let mut dataplane = lab.open();
        dataplane.apply(&[Command::SetRing { ring: 0, slots: vec![Slot::single(7)] }]).unwrap();
        let rings = lab.directory().join(names::RINGS);
        let outer = output("bpftool", &["-j", "map", "dump", "pinned", rings.to_str().unwrap()]);
        let outer: serde_json::Value = serde_json::from_str(&outer).unwrap();
        let bytes = outer[0]["value"].as_array().unwrap_or_else(|| panic!("{outer}"));
        let bytes: Vec<u8> =
            bytes.iter().map(|b| u8::from_str_radix(&b.as_str().unwrap()[2..], 16).unwrap()).collect();
        let id = u32::from_ne_bytes(bytes.try_into().unwrap()).to_string();
        let shown = output("bpftool", &["map", "dump", "id", &id]);
        assert!(shown.contains("\"current\": 7"), "{shown}");
        assert!(output("bpftool", &["map", "show", "id", &id]).contains("ring_0"));
    });
}

#[test]
fn neighbouring_rings_share_a_grace_period() {
    Lab::run("rings", |lab| {
        let mut dataplane = lab.open();
        let slots = |ring: u32| vec![Slot::single(ring as u16); 4093];
        let commands: Vec<Command> =
            (0..600).map(|ring| Command::SetRing { ring, slots: slots(ring) }).collect();
        let begin = std::time::Instant::now();
        dataplane.apply(&commands).unwrap();
        println!("600 rings of 4093 slots: {:?}", begin.elapsed());
        // Only what a service uses is read back.
        let services: Vec<Command> = (0..600).map(service_on_ring).collect();
        dataplane.apply(&services).unwrap();
        let rings = dataplane.snapshot().unwrap().rings;
        assert_eq!(rings.len(), 600);
        assert!(rings.iter().all(|(ring, read)| *read == slots(*ring)));
    });
}

/// A service that reads ring `ring` and has no members.
fn service_on_ring(ring: u32) -> Command {
    let value = Service {
        index: ring,
        ring,
        ring_slots: 4093,
        members: 0,
        member_count: 0,
        scheduler: scheduler::MH,
        flags: 0,
        owner: owner::FILE,
        reserved: 0,
    };
    Command::SetService { key: ServiceKey::new(address("10.0.0.3"), ring as u16 + 1, protocol::TCP), value }
}

#[test]
fn errors_name_the_command_the_map_and_the_remedy() {
    Lab::run("full", |lab| {
        let mut dataplane = lab.open();
        let set = |index| Command::SetDestination { index, value: destination(1) };
        let error = dataplane.apply(&[set(0), set(1), set(SMALL.destinations), set(2)]).unwrap_err();
        assert_eq!(error.position, 3);
        assert_eq!(
            error.to_string(),
            "command 3 of 4, set destination 64 (192.168.1.2), failed: map DESTINATIONS is full: it holds \
             64 entries; raise limits.destinations and restart without the old maps"
        );
        let written = dataplane.snapshot().unwrap().destinations;
        assert_eq!(written.keys().copied().collect::<Vec<_>>(), [0, 1]);

        let vip = |number: u32| Command::SetVip {
            address: Address::from_v4(number.to_be_bytes()),
            value: Vip { services: 1 },
        };
        let error = dataplane.apply(&(0..=limits::SERVICES).map(vip).collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.position, limits::SERVICES as usize + 1, "{error}");
        assert!(matches!(error.reason, MapError::Full { map: names::VIPS, .. }));
    });
}

#[test]
fn pinned_maps_of_another_size_are_kept_and_of_another_layout_refused() {
    Lab::run("sizes", |lab| {
        drop(lab.open());
        let options = OpenOptions { limits: Limits { connections: 8192, ..SMALL }, ..lab.options() };
        let dataplane = Dataplane::open(&options).unwrap();
        let warnings = dataplane.warnings().join("\n");
        assert!(warnings.contains("map CONNECTIONS keeps its 4096 entries; 8192 take effect"), "{warnings}");
        assert_eq!(dataplane.warnings().len(), 2, "CONNECTIONS and RETURNS: {warnings}");
        drop(dataplane);

        let path = lab.directory().join(names::SETTINGS);
        fs::remove_file(&path).unwrap();
        let stranger = Array::<MapData, u32>::create(1, 0).unwrap();
        stranger.pin(&path).unwrap();
        let error = Dataplane::open(&lab.options()).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, OpenError::Mismatch { property: "value size", found: 4, .. }), "{message}");
        assert!(message.contains("SETTINGS"), "{message}");
    });
}

#[test]
fn what_an_interrupted_start_left_makes_way() {
    Lab::run("remains", |lab| {
        drop(lab.open());
        for entry in fs::read_dir(lab.directory()).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with(names::CONNECTIONS) {
                fs::remove_file(path).unwrap();
            }
        }
        let options = OpenOptions { limits: Limits { connections: 8192, ..SMALL }, ..lab.options() };
        let dataplane = Dataplane::open(&options).unwrap();
        assert!(dataplane.warnings().is_empty(), "{:?}", dataplane.warnings());
    });
}

#[test]
fn interfaces_come_and_go() {
    Lab::run("interfaces", |lab| {
        let mut dataplane = lab.open();
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(dataplane.attach(&names(&["lvs0", "peer0"]), false).unwrap().len(), 2);
        let error = dataplane.attach(&names(&["lvs0", "eth77"]), false).unwrap_err();
        assert_eq!(error.to_string(), "interface eth77 does not exist");
        dataplane.attach(&names(&["peer0"]), false).unwrap();
        assert!(!output("ip", &["link", "show", "lvs0"]).contains("xdp"));
        assert!(output("ip", &["link", "show", "peer0"]).contains("xdp"));

        // The interface dies and another one of the same name is born: the old link is only a pin.
        let old = dataplane.attachments()[0].index;
        ip("link del lvs0");
        ip("link add lvs0 type veth peer name peer0");
        let attachments = dataplane.attach(&names(&["peer0"]), false).unwrap();
        assert_ne!(attachments[0].index, old);
        assert!(!lab.directory().join(format!("link_{old}")).exists());

        let stranger = OpenOptions { instance: &format!("{}-b", lab.instance), ..lab.options() };
        let second = Lab { instance: stranger.instance.to_owned(), object: &[] };
        let stranger = OpenOptions { interfaces: names(&["peer0"]), ..stranger };
        let error = Dataplane::open(&stranger).unwrap_err();
        assert!(matches!(error, OpenError::Attach(AttachError::Occupied { .. })), "{error}");
        drop(second);
    });
}

#[test]
fn a_link_of_another_namespace_is_left_alone() {
    Lab::run("foreign", |lab| {
        let _dataplane = lab.open();
        let (instance, object) = (lab.instance.clone(), lab.object);
        let other = thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            // The same index as in the first namespace.
            ip("link add lvs0 type veth peer name peer0");
            let interfaces = vec!["lvs0".to_owned()];
            let options =
                OpenOptions { instance: &instance, object, limits: SMALL, interfaces, allow_generic: false };
            Dataplane::open(&options).map(drop).unwrap_err()
        });
        let error = other.join().unwrap();
        assert!(matches!(error, OpenError::Attach(AttachError::Foreign { .. })), "{error}");
        link_and_program();
    });
}

#[test]
fn generic_mode_only_when_allowed() {
    Lab::run("generic", |lab| {
        let lo = OpenOptions { interfaces: vec!["lo".to_owned()], ..lab.options() };
        let error = Dataplane::open(&lo).unwrap_err();
        assert!(matches!(error, OpenError::Attach(AttachError::NotNative { .. })), "{error}");
        let allowed = OpenOptions { allow_generic: true, ..lo };
        let dataplane = Dataplane::open(&allowed).unwrap();
        assert_eq!(dataplane.attachments()[0].mode, AttachMode::Generic);
        drop(dataplane);
        let dataplane = Dataplane::open(&allowed).unwrap();
        assert_eq!(dataplane.attachments()[0].mode, AttachMode::Generic, "known after adoption too");

        ip("link set lvs0 mtu 9000");
        ip("link set peer0 mtu 9000");
        let error = Dataplane::open(&lab.options()).unwrap_err();
        assert!(matches!(error, OpenError::Attach(AttachError::Mtu { mtu: 9000, .. })), "{error}");
    });
}

#[test]
fn counters_are_summed_over_cpus_and_zeroed_for_a_new_owner() {
    Lab::run("counters", |lab| {
        let mut dataplane = lab.open();
        let mut counters: PerCpuArray<_, Counters> = lab.map(names::COUNTERS).try_into().unwrap();
        let cpus = aya::util::nr_cpus().unwrap();
        let one = Counters { connections: 1, packets_in: 2, bytes_in: 3, packets_out: 4, bytes_out: 5 };
        counters.set(9, PerCpuValues::try_from(vec![one; cpus]).unwrap(), 0).unwrap();
        let mut loads: Array<_, Load> = lab.map(names::LOADS).try_into().unwrap();
        loads.set(9, Load { active: 4, inactive: 5 }, 0).unwrap();

        let readback = dataplane.readback();
        let sums = readback.counters(0..SMALL.destinations).unwrap();
        let cpus = cpus as u64;
        let expected = Counters {
            connections: cpus,
            packets_in: 2 * cpus,
            bytes_in: 3 * cpus,
            packets_out: 4 * cpus,
            bytes_out: 5 * cpus,
        };
        assert_eq!(sums[9], expected);
        assert!(sums.iter().enumerate().all(|(index, sum)| index == 9 || *sum == Counters::ZERO));
        assert_eq!(readback.counters(9..10).unwrap(), [expected], "a range that does not begin at 0");
        assert_eq!(readback.loads(8..10).unwrap()[1], Load { active: 4, inactive: 5 });
        assert!(matches!(readback.loads(60..65), Err(MapError::OutOfRange { index: 64, .. })));

        dataplane.apply(&[Command::ZeroDestination { index: 9 }]).unwrap();
        assert_eq!(readback.counters(9..10).unwrap(), [Counters::ZERO]);
        assert_eq!(readback.loads(9..10).unwrap(), [Load { active: 0, inactive: 0 }]);
        let causes = readback.causes().unwrap();
        assert_eq!(causes.len(), Cause::ALL.len());
        assert!(dataplane.events().unwrap().take().is_none());
    });
}

fn flow(number: u32) -> FlowKey {
    let client = Address::from_v4((0x0a01_0000 + number).to_be_bytes());
    FlowKey::new(client, 40000, address("10.0.0.3"), 80, protocol::TCP)
}

#[test]
fn idle_connections_are_retired_and_their_counts_settled() {
    Lab::run("sweep", |lab| {
        let mut dataplane = lab.open();
        let settings = Settings::defaults();
        let removed = Destination { flags: destination_flags::REMOVED, ..destination(1) };
        let commands = [
            Command::SetSettings(settings),
            Command::SetDestination { index: 3, value: destination(1) },
            Command::SetDestination { index: 4, value: removed },
        ];
        dataplane.apply(&commands).unwrap();
        let now = now_ticks();
        let idle = settings.timeouts[state::ESTABLISHED as usize] + 2;
        let connection = |destination, last_seen| Connection {
            destination,
            generation: 1,
            last_seen,
            state: state::ESTABLISHED,
            flags: flags::COUNTED | flags::NAT,
            sequence: 0,
        };
        let mut connections: HashMap<_, FlowKey, Connection> =
            lab.map(names::CONNECTIONS).try_into().unwrap();
        let mut returns: HashMap<_, FlowKey, Return> = lab.map(names::RETURNS).try_into().unwrap();
        let mut loads: Array<_, Load> = lab.map(names::LOADS).try_into().unwrap();
        let back = Return { virtual_address: address("10.0.0.3"), virtual_port: 80, reserved: 0 };
        let return_key = |key: &FlowKey| {
            FlowKey::new(address("192.168.1.2"), 8080, key.source, key.source_port, key.protocol)
        };
        // 100 idle, 50 alive.
        for number in 0..150 {
            let last_seen = if number < 100 { now.wrapping_sub(idle) } else { now };
            connections.insert(flow(number), connection(3, last_seen), 0).unwrap();
            returns.insert(return_key(&flow(number)), back, 0).unwrap();
        }
        loads.set(3, Load { active: 150, inactive: 0 }, 0).unwrap();
        returns.insert(return_key(&flow(999)), back, 0).unwrap();

        let mut sweeper = dataplane.sweeper();
        let report = sweeper.sweep(now, &settings).unwrap();
        assert_eq!((report.embryonic, report.established, report.expired), (0, 150, 100));
        assert_eq!(report.references, BTreeMap::from([(3, 50)]));
        assert_eq!(report.orphans, 0, "one pass proves nothing");
        let readback = dataplane.readback();
        let left: Vec<_> = readback.connections().flat_map(|batch| batch.unwrap()).collect();
        assert_eq!(left.len(), 50);
        assert!(left.iter().all(|entry| entry.connection.last_seen == now && !entry.embryonic));
        assert_eq!(readback.loads(3..4).unwrap(), [Load { active: 50, inactive: 0 }]);
        assert_eq!(readback.returns().map(|batch| batch.unwrap().len()).sum::<usize>(), 51);

        let report = sweeper.sweep(now, &settings).unwrap();
        assert_eq!((report.established, report.expired, report.orphans), (50, 0, 1));
        assert_eq!(readback.returns().map(|batch| batch.unwrap().len()).sum::<usize>(), 50);

        // Connections of a removed destination are proposed though they are not idle.
        connections.insert(flow(200), connection(4, now), 0).unwrap();
        let report = sweeper.sweep(now, &settings).unwrap();
        assert_eq!((report.expired, report.references), (1, BTreeMap::from([(3, 50)])));
    });
}

#[test]
fn a_full_connection_table_is_read_whole() {
    Lab::run("table", |lab| {
        let dataplane = lab.open();
        let mut connections: HashMap<_, FlowKey, Connection> =
            lab.map(names::CONNECTIONS).try_into().unwrap();
        let connection = Connection {
            destination: 0,
            generation: 1,
            last_seen: 0,
            state: state::ESTABLISHED,
            flags: 0,
            sequence: 0,
        };
        for number in 0..SMALL.connections {
            connections.insert(flow(number), connection, 0).unwrap();
        }
        let readback = dataplane.readback();
        let entries = readback.connections().flat_map(|batch| batch.unwrap());
        let mut keys: Vec<_> = entries.map(|entry| entry.key.source).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), SMALL.connections as usize);
    });
}
