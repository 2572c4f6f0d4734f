//! The desired state between directors of two versions: what one writes the other reads, as far as it knows it.

use serde_json::{Value, json};

use crate::runtime::store::State;

/// As version 1 is written, with every variant of every enumeration. It never changes: where this test fails, a director
/// of this build and one of an earlier build do not understand each other, and neither does the state file.
const VERSION_1: &str = r#"{
  "version": 1,
  "servers": [
    {"vip": "192.0.2.1", "service_port": 80, "protocol": 6, "address": "10.0.0.1", "port": 80,
     "verdict": "down", "milliseconds": 1500, "reason": "tcp: connection refused", "phase": "out",
     "mode": "enabled", "falls": [1500, 90000], "expiring": null},
    {"vip": "192.0.2.1", "service_port": 80, "protocol": 6, "address": "10.0.0.2", "port": 80,
     "verdict": "up", "milliseconds": 0, "reason": "", "phase": {"starting": {"since_milliseconds": 250}},
     "mode": "drained", "falls": [], "expiring": 1800000000},
    {"vip": "192.0.2.1", "service_port": 80, "protocol": 6, "address": "10.0.0.3", "port": 80,
     "verdict": "up", "milliseconds": 7, "reason": "", "phase": {"recovering": {"for_milliseconds": 4000}},
     "mode": "disabled", "falls": [], "expiring": null},
    {"vip": "2001:db8::1", "service_port": 53, "protocol": 17, "address": "2001:db8::9", "port": 53,
     "verdict": "untested", "milliseconds": 7, "reason": "", "phase": "held",
     "mode": "enabled", "falls": [], "expiring": null},
    {"vip": "2001:db8::1", "service_port": 53, "protocol": 17, "address": "2001:db8::a", "port": 53,
     "verdict": "unchecked", "milliseconds": 7, "reason": "", "phase": "serving",
     "mode": "drained", "falls": [], "expiring": null}
  ],
  "services": [
    {"vip": "192.0.2.1", "service_port": 80, "protocol": 6, "doubted": true, "short": false},
    {"vip": "2001:db8::1", "service_port": 53, "protocol": 17, "doubted": false, "short": true}
  ],
  "checks": [
    {"identity": "00ff", "standing": "up", "evidence": "tcp connected", "certificate": {"end": 1800000000, "ends_soon": true}},
    {"identity": "01ff", "standing": "down", "evidence": "refused", "certificate": null},
    {"identity": "02ff", "standing": "untested", "evidence": "", "certificate": null}
  ],
  "problems": [
    {"service": "www", "family": "server", "about": null, "groups": [], "happened": false,
     "server": {"vip": "192.0.2.1", "service_port": 80, "protocol": 6, "address": "10.0.0.1", "port": 80},
     "milliseconds": 1500, "reason": "tcp: connection refused", "told": {"admin": 1000}},
    {"service": "www", "server": null, "family": "quorum", "about": null, "groups": [], "happened": false,
     "milliseconds": 1, "reason": "", "told": {}},
    {"service": "www", "server": null, "family": "doubt", "about": null, "groups": [], "happened": false,
     "milliseconds": 1, "reason": "", "told": {}},
    {"service": "www", "server": null, "family": "certificate", "about": null, "groups": [], "happened": false,
     "milliseconds": 1, "reason": "", "told": {}},
    {"service": "cluster", "server": null, "family": {"cluster": "peer"}, "about": "b", "groups": ["www"],
     "happened": false, "milliseconds": 1, "reason": "", "told": {}},
    {"service": "cluster", "server": null, "family": {"cluster": "takeover"}, "about": "www", "groups": ["www"],
     "happened": true, "milliseconds": 1, "reason": "", "told": {}},
    {"service": "cluster", "server": null, "family": {"cluster": "group"}, "about": "www", "groups": ["www"],
     "happened": false, "milliseconds": 1, "reason": "", "told": {}},
    {"service": "cluster", "server": null, "family": {"cluster": "conflict"}, "about": "192.0.2.1", "groups": ["www"],
     "happened": false, "milliseconds": 1, "reason": "", "told": {}},
    {"service": "cluster", "server": null, "family": {"cluster": "drift"}, "about": "b", "groups": ["www"],
     "happened": false, "milliseconds": 1, "reason": "", "told": {}},
    {"service": "cluster", "server": null, "family": {"cluster": "state"}, "about": "a", "groups": ["www"],
     "happened": false, "milliseconds": 1, "reason": "", "told": {}},
    {"service": "cluster", "server": null, "family": {"cluster": "fence"}, "about": "b", "groups": ["www"],
     "happened": true, "milliseconds": 1, "reason": "", "told": {}}
  ]
}"#;

fn written() -> Value {
    serde_json::from_str(VERSION_1).unwrap()
}

fn read(text: &Value) -> State {
    serde_json::from_str(&text.to_string()).unwrap()
}

/// Every map of `value`, itself included.
fn maps(value: &mut Value, change: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Array(entries) => entries.iter_mut().for_each(|entry| maps(entry, change)),
        Value::Object(map) => {
            map.values_mut().for_each(|entry| maps(entry, change));
            change(map);
        }
        _ => {}
    }
}

#[test]
fn version_1_is_read_and_written_as_ever() {
    assert_eq!(serde_json::to_value(read(&written())).unwrap(), written());
}

/// Keys that came after the first release of version 1 have their defaults where they are missing.
#[test]
fn what_the_first_release_did_not_write_has_its_default() {
    let mut early = written();
    let mut removed = 0;
    maps(&mut early, &mut |map| {
        for key in ["expiring", "certificate", "about", "groups", "happened"] {
            removed += usize::from(map.remove(key).is_some());
        }
    });
    assert!(removed > 0);
    let mut expected = written();
    maps(&mut expected, &mut |map| {
        for (key, default) in [
            ("expiring", json!(null)),
            ("certificate", json!(null)),
            ("about", json!(null)),
            ("groups", json!([])),
            ("happened", json!(false)),
        ] {
            if map.contains_key(key) {
                map.insert(key.to_owned(), default);
            }
        }
    });
    assert_eq!(serde_json::to_value(read(&early)).unwrap(), expected);
}

#[test]
fn keys_of_a_later_version_are_left_out_of_account() {
    let mut later = written();
    let mut maps_seen = 0;
    maps(&mut later, &mut |map| {
        // Two maps have keys of their own: variants of an enumeration, and names of alerts.
        let is_open = ["starting", "recovering", "cluster", "admin"].iter().any(|key| map.contains_key(*key));
        if !is_open && !map.is_empty() {
            maps_seen += 1;
            map.insert("later".to_owned(), json!({"some": ["thing", 1]}));
        }
    });
    assert!(maps_seen > 20, "{maps_seen}");
    assert_eq!(read(&later), read(&written()));
}

/// The entry is lost, and no other.
#[test]
fn a_variant_of_a_later_version_costs_one_entry() {
    for (list, key, later) in [
        ("servers", "verdict", json!("doubtful")),
        ("servers", "phase", json!("leaving")),
        ("servers", "phase", json!({"leaving": {"for_milliseconds": 4}})),
        ("servers", "mode", json!("quarantined")),
        ("checks", "standing", json!("flapping")),
        ("problems", "family", json!("licence")),
        ("problems", "family", json!({"cluster": "weather"})),
        ("services", "short", json!("rather")),
    ] {
        for index in [0, 1] {
            let mut text = written();
            text[list][index][key] = later.clone();
            let mut expected = written();
            expected[list].as_array_mut().unwrap().remove(index);
            assert_eq!(serde_json::to_value(read(&text)).unwrap(), expected, "{list} {key} {later}");
        }
    }
}

#[test]
fn another_version_is_refused_as_a_whole() {
    let mut text = written();
    text["version"] = json!(2);
    let refused = serde_json::from_value::<State>(text).unwrap_err().to_string();
    assert!(refused.contains("it is of version 2, this lvsd knows 1"), "{refused}");
}
