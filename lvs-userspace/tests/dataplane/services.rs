//! Services, where packets look for them.

use std::collections::BTreeMap;
use std::fs;

use aya::maps::HashMap;
use lvs_common::service::{Service, ServiceKey};
use lvs_common::{limits, names};
use lvs_userspace::control::command::Command;
use lvs_userspace::dataplane::MapError;

use crate::lab::{Lab, find, output};
use crate::plan::numbered;

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
