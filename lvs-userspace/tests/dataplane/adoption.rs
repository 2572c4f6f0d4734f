//! What an agent leaves, and whether the next one takes it.

use std::collections::BTreeMap;
use std::fs;

use aya::maps::{Array, MapData};
use lvs_common::connection::buckets_for;
use lvs_common::names;
use lvs_common::settings::Settings;
use lvs_userspace::config::model::Limits;
use lvs_userspace::control::command::{Command, Snapshot};
use lvs_userspace::dataplane::{AttachMode, Dataplane, OpenError, OpenOptions};

use crate::lab::{BUCKETS, Lab, SMALL, link_and_program, output};
use crate::plan::plan;

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
