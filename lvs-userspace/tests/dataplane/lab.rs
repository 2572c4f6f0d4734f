//! A network namespace, and what a data plane has left in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::{fs, thread};

use aya::maps::{Array, Map, MapData};
use lvs_common::connection::{TableState, buckets_for};
use lvs_common::service::{Service, ServiceKey, ServiceLine, line_places};
use lvs_common::settings::Settings;
use lvs_common::{LAYOUT_VERSION, names};
use lvs_userspace::config::model::Limits;
use lvs_userspace::dataplane::{Dataplane, OpenOptions, object};

pub(crate) const SMALL: Limits = Limits { connections: 4096, embryonic: 1000, destinations: 64 };

/// Of the table that has room for them, the embryonic ones rounded up to 1024.
pub(crate) const BUCKETS: u32 = buckets_for(4096 + 1024);

/// A namespace with a veth pair `lvs0` - `peer0`, and pins that go when the test ends.
pub(crate) struct Lab {
    pub(crate) instance: String,
    pub(crate) object: &'static [u8],
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nothing to remove when the test closed the data plane itself.
        fs::remove_dir_all(Path::new("/sys/fs/bpf").join(&self.instance)).ok();
    }
}

impl Lab {
    pub(crate) fn run(name: &str, test: impl FnOnce(&Self) + Send + 'static) {
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

    pub(crate) fn options(&self) -> OpenOptions<'_> {
        OpenOptions {
            instance: &self.instance,
            object: self.object,
            limits: SMALL,
            interfaces: vec!["lvs0".to_owned()],
            allow_generic: false,
        }
    }

    pub(crate) fn open(&self) -> Dataplane {
        Dataplane::open(&self.options()).unwrap()
    }

    pub(crate) fn directory(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(&self.instance).join(format!("v{LAYOUT_VERSION}"))
    }

    /// The map itself, for what only the kernel's side writes.
    pub(crate) fn map(&self, name: &str) -> Map {
        Map::from_map_data(MapData::from_pin(self.directory().join(name)).unwrap()).unwrap()
    }

    pub(crate) fn settings(&self) -> Settings {
        let settings: Array<_, Settings> = self.map(names::SETTINGS).try_into().unwrap();
        settings.get(&0, 0).unwrap()
    }

    pub(crate) fn table_state(&self) -> TableState {
        let table: Array<_, TableState> = self.map(names::TABLE).try_into().unwrap();
        table.get(&0, 0).unwrap()
    }

    /// Indices and ids of the maps in an array of maps.
    pub(crate) fn inner_maps(&self, name: &str) -> Vec<(u32, u32)> {
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
    pub(crate) fn service_lines(&self) -> Vec<ServiceLine> {
        let inner = self.inner_maps(names::SERVICE_LINES);
        let [(0, id)] = inner[..] else { panic!("{inner:?}") };
        let map = Map::from_map_data(MapData::from_id(id).unwrap()).unwrap();
        let lines: Array<_, ServiceLine> = map.try_into().unwrap();
        lines.iter().map(Result::unwrap).collect()
    }

    /// The services that packets find: each where they look for it, and with no other line beside it.
    pub(crate) fn services(&self) -> BTreeMap<ServiceKey, Service> {
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
pub(crate) fn find(lines: &[ServiceLine], key: &ServiceKey) -> Option<Service> {
    let places = line_places(key.address.halves(), key.port, key.protocol).map(|place| place as usize);
    let looked_at = if lines[places[0]].displaced == 0 { &places[..1] } else { &places[..] };
    let mut lines = looked_at.iter().map(|place| &lines[*place]);
    let line = lines.find(|line| {
        (line.taken, line.address, line.port, line.protocol) == (1, key.address, key.port, key.protocol)
    })?;
    Some(line.service)
}

pub(crate) fn ip(arguments: &str) {
    output("ip", &arguments.split(' ').collect::<Vec<_>>());
}

pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Process::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn link_and_program() -> (u64, u64) {
    let shown: serde_json::Value =
        serde_json::from_str(&output("ip", &["-j", "link", "show", "lvs0"])).unwrap();
    let program = shown[0]["xdp"]["prog"]["id"].as_u64().expect("no XDP program on lvs0");
    let links: serde_json::Value = serde_json::from_str(&output("bpftool", &["-j", "link"])).unwrap();
    let link = links.as_array().unwrap().iter().find(|link| link["prog_id"].as_u64() == Some(program));
    (link.expect("the program has no link")["id"].as_u64().unwrap(), program)
}
