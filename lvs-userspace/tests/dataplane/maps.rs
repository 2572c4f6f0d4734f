//! Maps as operators see them, and what is said of those that cannot be written.

use std::fs;
use std::path::Path;

use lvs_common::address::Address;
use lvs_common::ring::Slot;
use lvs_common::service::{Vip, line_places};
use lvs_common::{limits, names};
use lvs_userspace::control::command::Command;
use lvs_userspace::dataplane::MapError;

use crate::lab::{Lab, SMALL, output};
use crate::plan::{destination, service_on_ring};

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
