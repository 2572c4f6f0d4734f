//! The data plane against the real kernel. Needs root and the director's object (`cargo xtask build-ebpf`).
//! Each test has a thread, a network namespace and an instance name of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::{fs, thread};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::connection::{
    Bucket, Displaced, ENTRIES_PER_BUCKET, Entry, TableState, WINDOW, buckets_for, flags,
};
use lvs_common::counters::Counters;
use lvs_common::destination::{Destination, Load, destination_flags, forward};
use lvs_common::flow::{FlowKey, hash_client, slot_of};
use lvs_common::lease::{GroupAddress, Lease};
use lvs_common::ring::Slot;
use lvs_common::service::{
    Member, MemberChunk, Service, ServiceKey, ServiceLine, Vip, line_places, owner, protocol, scheduler,
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

/// Of the table that has room for them, the embryonic ones rounded up to 1024.
const BUCKETS: u32 = buckets_for(4096 + 1024);

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

    fn settings(&self) -> Settings {
        let settings: Array<_, Settings> = self.map(names::SETTINGS).try_into().unwrap();
        settings.get(&0, 0).unwrap()
    }

    fn table_state(&self) -> TableState {
        let table: Array<_, TableState> = self.map(names::TABLE).try_into().unwrap();
        table.get(&0, 0).unwrap()
    }

    /// Indices and ids of the maps in an array of maps.
    fn inner_maps(&self, name: &str) -> Vec<(u32, u32)> {
        let path = self.directory().join(name);
        let dump = output("bpftool", &["-j", "map", "dump", "pinned", path.to_str().unwrap()]);
        let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
        let number = |bytes: &serde_json::Value| {
            let bytes = bytes.as_array()?.iter();
            let bytes: Vec<u8> =
                bytes.map(|byte| u8::from_str_radix(&byte.as_str().unwrap()[2..], 16).unwrap()).collect();
            Some(u32::from_ne_bytes(bytes.try_into().unwrap()))
        };
        let entries = dump.as_array().unwrap().iter();
        entries.filter_map(|entry| Some((number(&entry["key"])?, number(&entry["value"])?))).collect()
    }

    /// The lines in which packets find their service.
    fn service_lines(&self) -> Vec<ServiceLine> {
        let inner = self.inner_maps(names::SERVICE_LINES);
        let [(0, id)] = inner[..] else { panic!("{inner:?}") };
        let map = Map::from_map_data(MapData::from_id(id).unwrap()).unwrap();
        let lines: Array<_, ServiceLine> = map.try_into().unwrap();
        lines.iter().map(Result::unwrap).collect()
    }

    /// The services that packets find: each where they look for it, and with no other line beside it.
    fn services(&self) -> BTreeMap<ServiceKey, Service> {
        let lines = self.service_lines();
        let taken = lines.iter().filter(|line| line.taken == 1);
        let services: BTreeMap<ServiceKey, Service> = taken
            .clone()
            .map(|line| (ServiceKey::new(line.address, line.port, line.protocol), line.service))
            .collect();
        assert_eq!(services.len(), taken.count(), "a service stands at two places");
        for (key, service) in &services {
            assert_eq!(find(&lines, key), Some(*service), "{key:?}");
        }
        services
    }
}

/// What the program does to find a service.
fn find(lines: &[ServiceLine], key: &ServiceKey) -> Option<Service> {
    let places = line_places(key.address.halves(), key.port, key.protocol).map(|place| place as usize);
    let looked_at = if lines[places[0]].displaced == 0 { &places[..1] } else { &places[..] };
    let mut lines = looked_at.iter().map(|place| &lines[*place]);
    let line = lines.find(|line| {
        (line.taken, line.address, line.port, line.protocol) == (1, key.address, key.port, key.protocol)
    })?;
    Some(line.service)
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
        source_address: address("10.0.0.3"),
        service: 0,
        forward: forward::NAT,
        flags: destination_flags::NEXT_HOP_KNOWN,
        lease: 0,
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
        lease: 0,
    };
    // The seed is the data plane's own.
    let settings = Settings {
        embryonic_slots: 1024,
        buckets: BUCKETS,
        connections: SMALL.connections,
        ..Settings::defaults()
    };
    let snapshot = Snapshot {
        settings: Some(settings),
        group_addresses: BTreeMap::from([(key.address, GroupAddress { lease: 2 })]),
        services: BTreeMap::from([(key, service(0, 5, ring.len() as u32, 18)), (other, service(1, 0, 1, 1))]),
        vips: BTreeMap::from([(key.address, Vip { services: 1 }), (other.address, Vip { services: 1 })]),
        members: BTreeMap::from([(2, chunk), (3, chunk)]),
        destinations: BTreeMap::from([(3, destination(1)), (63, destination(7))]),
        rings: BTreeMap::from([(5, ring), (0, sequence)]),
    };
    // The sizes that the configuration wanted; the maps' own are what must arrive.
    let wanted = Settings { embryonic_slots: 1, buckets: 1, connections: 1, ..settings };
    let mut commands = vec![Command::SetSettings(wanted)];
    let of = &snapshot;
    let groups = of.group_addresses.iter();
    commands.extend(groups.map(|(at, value)| Command::SetGroupAddress { address: *at, value: *value }));
    commands.extend(of.destinations.keys().map(|index| Command::ZeroDestination { index: *index }));
    let destinations = of.destinations.iter();
    commands.extend(destinations.map(|(i, value)| Command::SetDestination { index: *i, value: *value }));
    commands.extend(of.members.iter().map(|(i, value)| Command::SetMembers { chunk: *i, value: *value }));
    let rings = of.rings.iter();
    commands.extend(rings.map(|(ring, slots)| Command::SetRing { ring: *ring, slots: slots.clone() }));
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
        let (commands, mut expected) = plan();
        let mut dataplane = lab.open();
        assert_eq!(dataplane.snapshot().unwrap(), Snapshot::default());
        assert_eq!(dataplane.attachments()[0].mode, AttachMode::Native);
        assert!(dataplane.warnings().is_empty(), "{:?}", dataplane.warnings());
        dataplane.apply(&commands).unwrap();
        let seed = lab.settings().seed;
        assert_ne!(seed, 0);
        expected.settings = expected.settings.map(|settings| Settings { seed, ..settings });
        assert_eq!(dataplane.snapshot().unwrap(), expected);
        assert_eq!(lab.services(), expected.services);
        let (link, program) = link_and_program();
        // As if killed: nothing is closed.
        drop(dataplane);
        assert_eq!(link_and_program(), (link, program));

        let mut dataplane = lab.open();
        assert_eq!(dataplane.snapshot().unwrap(), expected);
        assert_eq!(lab.services(), expected.services);
        let (same_link, new_program) = link_and_program();
        assert_eq!(same_link, link, "a link was made anew: packets passed without a program");
        assert_ne!(new_program, program);

        let removal: Vec<Command> = (expected
            .services
            .keys()
            .map(|key| Command::DeleteService { key: *key }))
        .chain(expected.vips.keys().map(|address| Command::DeleteVip { address: *address }))
        .chain(expected.rings.keys().map(|ring| Command::DeleteRing { ring: *ring }))
        .chain((expected.group_addresses.keys()).map(|at| Command::DeleteGroupAddress { address: *at }))
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
        assert_eq!(lab.services(), BTreeMap::new());
        for map in [names::RINGS_LARGE, names::SEQUENCES] {
            assert_eq!(lab.inner_maps(map), [], "{map}");
        }
        dataplane.close(false).unwrap();
        assert!(!lab.directory().parent().unwrap().exists());
        assert!(!output("ip", &["link", "show", "lvs0"]).contains("xdp"));
    });
}

#[test]
fn bpftool_prints_the_fields_of_inner_maps() {
    Lab::run("names", |lab| {
        let mut dataplane = lab.open();
        let ring = |ring, slots: u32| {
            let slots = (0..slots).map(|slot| Slot::single(7 + slot as u16 % 16)).collect();
            Command::SetRing { ring, slots }
        };
        let [small, medium, large] = limits::RING_SIZES;
        let commands = [ring(0, 1), ring(1, small), ring(2, medium), ring(3, large), ring(4, 40_000)];
        dataplane.apply(&commands).unwrap();
        for (map, numbers) in [
            (names::SEQUENCES, vec![0, 4]),
            (names::RINGS_SMALL, vec![1]),
            (names::RINGS_MEDIUM, vec![2]),
            (names::RINGS_LARGE, vec![3]),
        ] {
            let inner = lab.inner_maps(map);
            assert_eq!(inner.iter().map(|(number, _)| *number).collect::<Vec<_>>(), numbers, "{map}");
            for (number, id) in inner {
                let id = id.to_string();
                let shown = output("bpftool", &["map", "lookup", "id", &id, "key", "0", "0", "0", "0"]);
                assert!(shown.contains("\"current\": 7"), "{shown}");
                let shown = output("bpftool", &["map", "show", "id", &id]);
                assert!(shown.contains(&format!("ring_{number} ")), "{shown}");
            }
        }

        let Command::SetService { key, value } = service_on_ring(77) else { panic!() };
        dataplane.apply(&[Command::SetService { key, value }]).unwrap();
        let inner = lab.inner_maps(names::SERVICE_LINES);
        let [(0, id)] = inner[..] else { panic!("{inner:?}") };
        let [first, ..] = line_places(key.address.halves(), key.port, key.protocol);
        let place = first.to_ne_bytes().map(|byte| byte.to_string());
        let [a, b, c, d] = &place;
        let shown = output("bpftool", &["map", "lookup", "id", &id.to_string(), "key", a, b, c, d]);
        assert!(shown.contains("\"port\": 78") && shown.contains("\"ring\": 77"), "{shown}");
        assert!(output("bpftool", &["map", "show", "id", &id.to_string()]).contains("service_lines "));
    });
}

#[test]
fn the_manual_explains_every_map_in_its_order() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bpftool.md");
    let manual = fs::read_to_string(manual).unwrap();
    let headings = manual.lines().filter_map(|line| line.strip_prefix("### "));
    let words = headings.flat_map(|heading| heading.split([' ', ',']));
    let explained: Vec<&str> =
        words.filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase())).collect();
    assert_eq!(explained, names::DIRECTOR_MAPS);
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
        lease: 0,
    };
    Command::SetService { key: ServiceKey::new(address("10.0.0.3"), ring as u16 + 1, protocol::TCP), value }
}

/// The service of address `number / 4`, on one of four ports.
fn numbered(number: u32) -> (ServiceKey, Service) {
    let address = Address::from_v4((0x0a00_0000 + number / 4).to_be_bytes());
    let key = ServiceKey::new(address, [80, 443, 53, 0][number as usize % 4], protocol::TCP);
    let Command::SetService { value, .. } = service_on_ring(number) else { unreachable!() };
    (key, Service { member_count: number, ..value })
}

#[test]
fn ten_thousand_services_are_found() {
    Lab::run("services", |lab| {
        let mut dataplane = lab.open();
        let mut services: BTreeMap<_, _> = (0..10_000).map(numbered).collect();
        let set = |(key, value): (&ServiceKey, &Service)| Command::SetService { key: *key, value: *value };
        let begin = std::time::Instant::now();
        dataplane.apply(&services.iter().map(set).collect::<Vec<_>>()).unwrap();
        println!("10 000 services: {:?}", begin.elapsed());
        assert!(lab.services() == services);
        assert_eq!(find(&lab.service_lines(), &numbered(10_000).0), None);

        // Every third goes, the rest changes.
        let gone: Vec<ServiceKey> = services.keys().step_by(3).copied().collect();
        let deletions = gone.iter().map(|key| Command::DeleteService { key: *key });
        services.retain(|key, _| !gone.contains(key));
        services.values_mut().for_each(|service| service.member_count += 1);
        let changes = services.iter().map(set);
        dataplane.apply(&deletions.chain(changes).collect::<Vec<_>>()).unwrap();
        assert!(lab.services() == services);
        let lines = lab.service_lines();
        assert!(gone.iter().all(|key| find(&lines, key).is_none()));
    });
}

/// `SERVICES` is written first, so an agent that dies then leaves packets to the lines of before.
#[test]
fn services_that_were_written_and_not_published_are_published_by_the_next_agent() {
    Lab::run("unpublished", |lab| {
        let mut dataplane = lab.open();
        let [kept, gone, changed, fresh] = [0, 1, 2, 3].map(numbered);
        let commands = [kept, gone, changed].map(|(key, value)| Command::SetService { key, value });
        dataplane.apply(&commands).unwrap();
        let published = lab.services();
        drop(dataplane);

        let mut services: HashMap<_, ServiceKey, Service> = lab.map(names::SERVICES).try_into().unwrap();
        let changed = (changed.0, Service { ring_slots: 1, ..changed.1 });
        services.remove(&gone.0).unwrap();
        for (key, value) in [changed, fresh] {
            services.insert(key, value, 0).unwrap();
        }
        assert_eq!(lab.services(), published, "nothing but the agent makes lines");

        let dataplane = lab.open();
        let wanted = BTreeMap::from([kept, changed, fresh]);
        assert_eq!(lab.services(), wanted);
        assert_eq!(dataplane.snapshot().unwrap().services, wanted);

        // An agent may also have died before it made any.
        drop(dataplane);
        let lines = lab.directory().join(names::SERVICE_LINES);
        let key = ["key", "0", "0", "0", "0"];
        output("bpftool", &[&["map", "delete", "pinned", lines.to_str().unwrap()], &key[..]].concat());
        assert_eq!(lab.inner_maps(names::SERVICE_LINES), []);
        let _dataplane = lab.open();
        assert_eq!(lab.services(), wanted);
    });
}

/// What was written stands in `SERVICES`, so that no plan made of it would write it again.
#[test]
fn services_that_could_not_be_published_are_published_by_the_next_apply() {
    Lab::run("again", |lab| {
        let mut dataplane = lab.open();
        let [first, second, third] = [0, 1, 2].map(numbered);
        let set = |(key, value)| Command::SetService { key, value };
        dataplane.apply(&[set(first), set(third)]).unwrap();
        // A table is a new map and needs a descriptor. Of this thread only: it has descriptors of its own.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
        let all_descriptors = || {
            let null = fs::File::open("/dev/null").unwrap();
            let copies = std::iter::from_fn(|| null.try_clone().ok()).collect::<Vec<_>>();
            (null, copies)
        };

        let taken = all_descriptors();
        let error = dataplane.apply(&[set(second)]).unwrap_err();
        assert!(error.to_string().contains("SERVICE_LINES"), "{error}");
        let again = dataplane.apply(&[]).unwrap_err().to_string();
        assert!(again.contains("publish services") && again.contains("SERVICE_LINES"), "{again}");
        drop(taken);
        assert_eq!(lab.services(), BTreeMap::from([first, third]));
        assert_eq!(dataplane.snapshot().unwrap().services, BTreeMap::from([first, second, third]));
        dataplane.apply(&[]).unwrap();
        assert_eq!(lab.services(), BTreeMap::from([first, second, third]));
        let id = lab.inner_maps(names::SERVICE_LINES);
        dataplane.apply(&[]).unwrap();
        assert_eq!(lab.inner_maps(names::SERVICE_LINES), id, "nothing is left to publish");

        let taken = all_descriptors();
        dataplane.apply(&[Command::DeleteService { key: third.0 }]).unwrap_err();
        drop(taken);
        dataplane.apply(&[]).unwrap();
        assert_eq!(lab.services(), BTreeMap::from([first, second]));
    });
}

/// What `apply` says of an error: the commands before the one it names are carried out.
#[test]
fn services_before_one_that_fails_are_published() {
    Lab::run("half", |lab| {
        let mut dataplane = lab.open();
        let set = |number| {
            let (key, value) = numbered(number);
            Command::SetService { key, value }
        };
        let error = dataplane.apply(&(0..=limits::SERVICES).map(set).collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.position, limits::SERVICES as usize + 1, "{error}");
        assert!(matches!(error.reason, MapError::Full { map: names::SERVICES, .. }));
        assert!(lab.services() == (0..limits::SERVICES).map(numbered).collect());
    });
}

/// Packets would look for their entries elsewhere, and more would be let in than fit.
#[test]
fn seed_and_limit_of_a_table_stay_as_long_as_it_does() {
    Lab::run("shape", |lab| {
        let mut dataplane = lab.open();
        dataplane.apply(&[Command::SetSettings(Settings::defaults())]).unwrap();
        let settings = lab.settings();
        assert_ne!(settings.seed, 0);
        let shape = |settings: Settings| {
            let Settings { seed, connections, buckets, embryonic_slots, .. } = settings;
            (seed, connections, buckets, embryonic_slots)
        };
        assert_eq!(shape(settings), (settings.seed, SMALL.connections, BUCKETS, 1024));
        drop(dataplane);

        for limits in [SMALL, Limits { connections: 9999, embryonic: 77, ..SMALL }] {
            let mut dataplane = Dataplane::open(&OpenOptions { limits, ..lab.options() }).unwrap();
            assert_eq!(lab.settings(), settings, "an agent that opens changes nothing");
            let timeouts = [7; 16];
            let wanted = Settings { timeouts, connections: 1, seed: 1, ..Settings::defaults() };
            dataplane.apply(&[Command::SetSettings(wanted)]).unwrap();
            assert_eq!(shape(lab.settings()), shape(settings));
            assert_eq!(lab.settings().timeouts, timeouts);
            assert_eq!(dataplane.readback().connection_capacities(), (1024, SMALL.connections));
            dataplane.apply(&[Command::SetSettings(settings)]).unwrap();
        }

        // Another table has another seed.
        lab.open().close(false).unwrap();
        let mut dataplane = lab.open();
        dataplane.apply(&[Command::SetSettings(settings)]).unwrap();
        assert_ne!(lab.settings().seed, settings.seed);
        assert_ne!(lab.settings().seed, 0);
    });
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
        let settings = Command::SetSettings(Settings::defaults());
        lab.open().apply(&[settings]).unwrap();
        // With one connection less the table would have as many buckets as it has.
        for (connections, embryonic) in [(8192, 1024), (SMALL.connections - 1, 1024), (8192, 1000)] {
            let limits = Limits { connections, embryonic, ..SMALL };
            let dataplane = Dataplane::open(&OpenOptions { limits, ..lab.options() }).unwrap();
            let warnings = dataplane.warnings().join("\n");
            let message =
                format!("map CONNECTIONS keeps its limit of 4096 connections; {connections} take effect");
            assert!(warnings.contains(&message), "{warnings}");
            assert_eq!(dataplane.warnings().len(), 1, "{warnings}");
        }
        assert_eq!(Limits { connections: SMALL.connections - 1, ..SMALL }.buckets(), BUCKETS);
        let limits = Limits { embryonic: 1025, ..SMALL };
        let dataplane = Dataplane::open(&OpenOptions { limits, ..lab.options() }).unwrap();
        let (warnings, entries) = (dataplane.warnings().join("\n"), [BUCKETS, buckets_for(4096 + 2048)]);
        for [kept, wanted] in [[1024, 2048], entries.map(|buckets| buckets * 4)] {
            let message = format!("keeps its {kept} entries; {wanted} take effect");
            assert!(warnings.contains(&message), "{warnings}");
        }
        assert_eq!(dataplane.warnings().len(), 2, "{warnings}");
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

/// The connection table, written as the program writes it.
struct Connections {
    buckets: Array<MapData, Bucket>,
    settings: Settings,
}

impl Connections {
    fn of(lab: &Lab) -> Self {
        let buckets: Array<_, Bucket> = lab.map(names::CONNECTIONS).try_into().unwrap();
        let settings = lab.settings();
        assert_eq!(settings.buckets, buckets.len());
        Self { buckets, settings }
    }

    fn home(&self, key: &FlowKey) -> u32 {
        let hash = hash_client(self.settings.seed, key.source.halves(), key.source_port, key.protocol);
        slot_of(hash, self.settings.buckets)
    }

    fn displaced(&self, bucket: u32) -> Displaced {
        Displaced(self.buckets.get(&bucket, 0).unwrap().entries[0].displaced)
    }

    /// Stores an entry at the first free place in the window behind its home; how far behind, or `None`
    /// where there is no room.
    fn insert(&mut self, key: &FlowKey, entry: Entry) -> Option<u32> {
        let home = self.home(key);
        for distance in 0..WINDOW {
            let number = (home + distance) % self.settings.buckets;
            let mut bucket = self.buckets.get(&number, 0).unwrap();
            let Some(free) = bucket.entries.iter().position(|entry| entry.state == 0) else { continue };
            let displaced = bucket.entries[free].displaced;
            bucket.entries[free] = Entry {
                client: key.source,
                client_port: key.source_port,
                virtual_port: key.destination_port,
                displaced,
                ..entry
            };
            self.buckets.set(number, bucket, 0).unwrap();
            if distance > 0 {
                let mut bucket = self.buckets.get(&home, 0).unwrap();
                bucket.entries[0].displaced = self.displaced(home).plus(distance).0;
                self.buckets.set(home, bucket, 0).unwrap();
            }
            return Some(distance);
        }
        None
    }

    /// Every entry that is not free.
    fn taken(&self) -> Vec<Entry> {
        let buckets = self.buckets.iter().map(Result::unwrap);
        buckets.flat_map(|bucket| bucket.entries).filter(|entry| entry.state != 0).collect()
    }
}

/// An established connection of the service with index 0.
const ENTRY: Entry = Entry {
    last_seen: 0,
    version: 0,
    state: state::ESTABLISHED as u8,
    flags: flags::COUNTED | flags::NAT,
    client: Address::UNSPECIFIED,
    client_port: 0,
    virtual_port: 0,
    service: 0,
    destination: 3,
    generation: 1,
    sequence: 0,
    displaced: 0,
};

/// What flows need: the settings, their service, and two destinations of which one was removed.
fn ground() -> Vec<Command> {
    let removed = Destination { flags: destination_flags::REMOVED, ..destination(1) };
    let Command::SetService { value, .. } = service_on_ring(0) else { unreachable!() };
    let key = ServiceKey::new(address("10.0.0.3"), 80, protocol::TCP);
    vec![
        Command::SetSettings(Settings::defaults()),
        Command::SetDestination { index: 3, value: destination(1) },
        Command::SetDestination { index: 4, value: removed },
        Command::SetService { key, value },
    ]
}

#[test]
fn idle_connections_are_retired_and_their_counts_settled() {
    Lab::run("sweep", |lab| {
        let mut dataplane = lab.open();
        dataplane.apply(&ground()).unwrap();
        let mut connections = Connections::of(lab);
        let settings = connections.settings;
        let now = now_ticks();
        let idle = settings.timeouts[state::ESTABLISHED as usize] + 2;
        let mut loads: Array<_, Load> = lab.map(names::LOADS).try_into().unwrap();
        let mut table: Array<_, TableState> = lab.map(names::TABLE).try_into().unwrap();
        // 100 idle ones, of which 60 have one home, and 50 alive.
        let crowded = connections.home(&flow(0));
        let (at_home, elsewhere): (Vec<_>, Vec<_>) =
            (0..400_000).map(flow).partition(|key| connections.home(key) == crowded);
        let over = at_home[..60].iter().chain(&elsewhere[..40]);
        let alive = &elsewhere[40..90];
        let mut farthest = 0;
        for (key, last_seen) in
            over.map(|key| (key, now.wrapping_sub(idle))).chain(alive.iter().map(|key| (key, now)))
        {
            let distance = connections.insert(key, Entry { last_seen, ..ENTRY }).unwrap();
            farthest = farthest.max(distance);
        }
        assert!(farthest >= 60 / ENTRIES_PER_BUCKET as u32 - 1);
        assert_eq!(connections.displaced(crowded).0 >> WINDOW, 56);
        loads.set(3, Load { active: 150, inactive: 0 }, 0).unwrap();
        table.set(0, TableState { established: 150, ..lab.table_state() }, 0).unwrap();

        let mut sweeper = dataplane.sweeper();
        let report = sweeper.sweep(now, &settings).unwrap();
        assert_eq!((report.embryonic, report.established, report.expired), (0, 150, 100));
        assert_eq!(report.references, BTreeMap::from([(3, 50)]));
        let readback = dataplane.readback();
        let left: Vec<_> = readback.connections().unwrap().flat_map(|batch| batch.unwrap()).collect();
        assert_eq!(left.len(), 50);
        assert!(left.iter().all(|entry| entry.connection.last_seen == now && !entry.embryonic));
        assert!(left.iter().all(|entry| alive.contains(&entry.key)));
        assert_eq!(readback.loads(3..4).unwrap(), [Load { active: 50, inactive: 0 }]);
        assert_eq!(lab.table_state().established, 50);
        assert_eq!(connections.taken().len(), 50, "an entry that is given up is free");
        assert_eq!(connections.displaced(crowded), Displaced(0), "nobody is to be looked for any more");

        let report = sweeper.sweep(now, &settings).unwrap();
        assert_eq!((report.established, report.expired), (50, 0));

        // Connections of a removed destination are proposed though they are not idle, and so are those of
        // an earlier life of an index. An embryonic one is not among those that are established.
        let removed = Entry { destination: 4, last_seen: now, ..ENTRY };
        let former = Entry { generation: 7, last_seen: now, flags: 0, ..ENTRY };
        let embryonic = Entry { flags: flags::EMBRYONIC | flags::COUNTED, ..removed };
        for (key, entry) in elsewhere[90..].iter().zip([removed, former, embryonic]) {
            connections.insert(key, entry).unwrap();
        }
        loads.set(4, Load { active: 2, inactive: 0 }, 0).unwrap();
        table.set(0, TableState { established: 52, ..lab.table_state() }, 0).unwrap();
        let report = sweeper.sweep(now, &settings).unwrap();
        assert_eq!((report.embryonic, report.established, report.expired), (1, 52, 3));
        assert_eq!(report.references, BTreeMap::from([(3, 50)]));
        assert_eq!(lab.table_state().established, 50);
        assert_eq!(
            readback.loads(3..5).unwrap(),
            [Load { active: 50, inactive: 0 }, Load { active: 0, inactive: 0 }]
        );
        assert_eq!(connections.taken().len(), 50);
    });
}

#[test]
fn a_full_connection_table_is_read_whole() {
    Lab::run("table", |lab| {
        let mut dataplane = lab.open();
        dataplane.apply(&ground()).unwrap();
        let mut connections = Connections::of(lab);
        // As many as may be, a fifth of them embryonic, and every place has its turn.
        let entries = SMALL.connections + 1024;
        let mut displaced = 0;
        for number in 0..entries {
            let embryonic = if number < 1024 { flags::EMBRYONIC } else { 0 };
            let distance = connections.insert(&flow(number), Entry { flags: embryonic, ..ENTRY });
            displaced += u32::from(distance.expect("no room") > 0);
        }
        assert!(displaced > 0);
        // Neither free nor a connection yet.
        let busy = Entry { state: state::BUSY as u8, ..ENTRY };
        connections.insert(&flow(entries), busy).unwrap();
        // Of a service that is gone.
        connections.insert(&flow(entries + 1), Entry { service: 99, ..ENTRY }).unwrap();

        let readback = dataplane.readback();
        let read: Vec<_> = readback.connections().unwrap().flat_map(|batch| batch.unwrap()).collect();
        assert_eq!(read.iter().filter(|entry| entry.embryonic).count(), 1024);
        assert_eq!(read.len(), entries as usize);
        let keys: HashSet<FlowKey> = read.iter().map(|entry| entry.key).collect();
        assert!(keys == (0..entries).map(flow).collect());
        let report = dataplane.sweeper().sweep(0, &connections.settings).unwrap();
        assert_eq!((report.embryonic, report.established), (1024, u64::from(SMALL.connections) + 1));
    });
}

#[test]
fn leases_are_written_by_a_thread_of_their_own_and_outlive_the_agent() {
    Lab::run("leases", |lab| {
        let lease = |ends| Lease { ends, fresh_until: ends / 2 };
        let dataplane = lab.open();
        let writer = dataplane.lease_writer();
        assert_eq!(writer.read(1).unwrap(), Lease::NONE, "nothing is held that was never written");
        writer.write(1, lease(100)).unwrap();
        thread::scope(|scope| {
            let writer = &writer;
            scope.spawn(move || writer.write(63, lease(200)).unwrap());
        });
        for index in [0, 64, u8::MAX] {
            let refused = [writer.write(index, lease(1)), writer.read(index).map(drop)];
            for error in refused.map(Result::unwrap_err) {
                assert!(matches!(error, MapError::OutOfRange { map: names::LEASES, .. }), "{error}");
            }
        }
        // As if killed: the maps stay, and the handle works on.
        drop(dataplane);
        writer.write(1, lease(300)).unwrap();

        let heir = lab.open().lease_writer();
        assert_eq!([1, 2, 63].map(|index| heir.read(index).unwrap()), [lease(300), Lease::NONE, lease(200)]);
        let leases: Array<_, Lease> = lab.map(names::LEASES).try_into().unwrap();
        assert_eq!(leases.get(&1, 0).unwrap(), lease(300));
        assert_eq!(leases.get(&0, 0).unwrap(), Lease::NONE);
    });
}
