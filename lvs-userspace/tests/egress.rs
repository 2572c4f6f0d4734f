//! The program for what leaves, at the interfaces of a namespace. Needs root and the director's object
//! (`cargo xtask build-ebpf`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not every test crate needs all of it")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lvs_common::LAYOUT_VERSION;
use lvs_userspace::config::model::Limits;
use lvs_userspace::dataplane::{AttachError, Dataplane, OpenOptions, object};
use support::Namespace;

/// A namespace with the veth pairs `lvs0` and `lvs1`, and pins that go when the test ends.
struct Lab {
    instance: String,
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Nothing to remove when the test closed the data plane itself.
        fs::remove_dir_all(Path::new("/sys/fs/bpf").join(&self.instance)).ok();
    }
}

impl Lab {
    fn run(name: &str, test: impl FnOnce(&Self) + Send) {
        let instance = format!("test-egress-{}-{name}", std::process::id());
        Namespace::new("egress").enter(async || {
            for number in [0, 1] {
                run("ip", &format!("link add lvs{number} type veth peer name peer{number}"));
                run("ip", &format!("link set lvs{number} up"));
            }
            test(&Self { instance });
        });
    }

    fn open(&self, interfaces: &[&str]) -> Dataplane {
        let options = OpenOptions {
            instance: &self.instance,
            object: object::director().unwrap(),
            limits: Limits { connections: 4096, embryonic: 1000, destinations: 64 },
            interfaces: names(interfaces),
            allow_generic: false,
        };
        Dataplane::open(&options).unwrap()
    }

    fn mark(&self, interface: &str) -> PathBuf {
        let index = nix::net::if_::if_nametoindex(interface).unwrap();
        let directory = Path::new("/sys/fs/bpf").join(&self.instance).join(format!("v{LAYOUT_VERSION}"));
        directory.join(format!("clsact_{index}"))
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The programs at the interface's egress, by id, each with its filter's name.
fn programs(interface: &str) -> Vec<(u64, String)> {
    let filters = run("tc", &format!("-json filter show dev {interface} egress"));
    let filters: serde_json::Value = serde_json::from_str(&filters).unwrap();
    let filters = filters.as_array().unwrap().iter().map(|filter| &filter["options"]);
    let program = |filter: &serde_json::Value| {
        Some((filter["prog"]["id"].as_u64()?, filter["bpf_name"].as_str()?.to_owned()))
    };
    filters.filter_map(program).collect()
}

fn has_clsact(interface: &str) -> bool {
    run("tc", &format!("qdisc show dev {interface}")).contains("clsact")
}

#[test]
fn the_program_comes_when_it_is_wanted_survives_the_agent_and_leaves_nothing() {
    Lab::run("life", |lab| {
        let both = ["lvs0", "lvs1"];
        let mut dataplane = lab.open(&both);
        assert!(!has_clsact("lvs0"), "nobody has asked for it");

        dataplane.want_egress(true);
        dataplane.attach(&names(&both), false).unwrap();
        let before = both.map(programs);
        for programs in &before {
            assert!(matches!(&programs[..], [(_, name)] if name == "lvs_egress"), "{programs:?}");
        }
        dataplane.attach(&names(&both), false).unwrap();
        assert_eq!(both.map(programs), before, "it is there once");

        // The agent dies; the next one puts its own program in the same place.
        drop(dataplane);
        assert_eq!(both.map(programs), before);
        let mut dataplane = lab.open(&both);
        let after = both.map(programs);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(after.len(), 1, "{after:?}");
            assert_ne!(before, after);
        }

        // An interface that is not configured any more; then one that nobody wants it on.
        dataplane.attach(&names(&["lvs0"]), false).unwrap();
        assert!(!has_clsact("lvs1"));
        assert_eq!(programs("lvs0").len(), 1);
        dataplane.want_egress(false);
        dataplane.attach(&names(&["lvs0"]), false).unwrap();
        assert!(!has_clsact("lvs0") && !lab.mark("lvs0").exists());

        dataplane.want_egress(true);
        dataplane.attach(&names(&both), false).unwrap();
        dataplane.close(false).unwrap();
        assert!(!both.map(has_clsact).contains(&true));
    });
}

#[test]
fn what_others_have_put_there_stays() {
    Lab::run("others", |lab| {
        // A qdisc and a filter of somebody else; then a filter in a qdisc that is the director's.
        run("tc", "qdisc add dev lvs0 clsact");
        run("tc", "filter add dev lvs0 egress pref 7 u32 match u32 0 0 classid 1:1");
        let mut dataplane = lab.open(&["lvs0", "lvs1"]);
        dataplane.want_egress(true);
        dataplane.attach(&names(&["lvs0", "lvs1"]), false).unwrap();
        run("tc", "filter add dev lvs1 ingress u32 match u32 0 0 classid 1:1");
        assert_eq!(["lvs0", "lvs1"].map(|interface| programs(interface).len()), [1, 1]);
        dataplane.close(false).unwrap();
        for interface in ["lvs0", "lvs1"] {
            assert!(has_clsact(interface), "{interface}");
            assert!(programs(interface).is_empty(), "{interface}");
        }
        assert!(run("tc", "filter show dev lvs0 egress").contains("u32"));
        assert!(run("tc", "filter show dev lvs1 ingress").contains("u32"));
    });
}

#[test]
fn an_interface_made_anew_gets_the_program_again() {
    Lab::run("anew", |lab| {
        let mut dataplane = lab.open(&["lvs0"]);
        dataplane.want_egress(true);
        dataplane.attach(&names(&["lvs0"]), false).unwrap();
        let mark = lab.mark("lvs0");
        run("ip", "link del lvs0");
        run("ip", "link add lvs0 type veth peer name peer0");
        dataplane.attach(&names(&["lvs0"]), false).unwrap();
        assert_eq!(programs("lvs0").len(), 1);
        assert!(!mark.exists(), "of an interface that is gone");
        dataplane.close(false).unwrap();
        assert!(!has_clsact("lvs0"));
    });
}

#[test]
fn what_is_in_the_way_is_named() {
    Lab::run("way", |lab| {
        let mut dataplane = lab.open(&["lvs0"]);
        dataplane.want_egress(true);
        let mut refused = || {
            let error = dataplane.attach(&names(&["lvs0"]), false).unwrap_err();
            assert!(matches!(error, AttachError::Egress { .. }), "{error}");
            error.to_string()
        };
        run("tc", "qdisc add dev lvs0 ingress");
        let error = refused();
        assert!(error.starts_with("egress of interface lvs0: the qdisc `ingress` is there"), "{error}");
        run("tc", "qdisc del dev lvs0 ingress");

        run("tc", "qdisc add dev lvs0 clsact");
        run("tc", "filter add dev lvs0 egress pref 1 u32 match u32 0 0 classid 1:1");
        let error = refused();
        assert!(error.contains("classifier `u32` has the priority 1 already"), "{error}");
    });
}
