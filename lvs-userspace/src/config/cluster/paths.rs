//! Paths against each other and the nodes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::raw;
use super::timing::{BEATS, shown};
use super::validate::complete;
use crate::cluster::frame;
use crate::config::model::{HeartbeatPath, Node};
use crate::config::record::{Located, Reader};
use crate::config::validate::Seen;
use crate::config::yaml::Place;

/// What must not be here twice.
#[derive(PartialEq, Eq, Hash)]
enum Medium {
    Multicast(String, IpAddr),
    Broadcast(String),
    Serial(PathBuf),
}

pub(super) fn paths(list: &raw::Paths, reader: &mut Reader) -> Option<Vec<HeartbeatPath>> {
    let mut seen = Seen::default();
    let mut paths = Vec::new();
    for (index, Located { value: raw, place }) in list.iter() {
        let path = path(raw);
        if let Some(path) = &path {
            let medium = match path {
                HeartbeatPath::Multicast { interface, group, .. } => {
                    Medium::Multicast(interface.clone(), *group)
                }
                HeartbeatPath::Broadcast { interface, .. } => Medium::Broadcast(interface.clone()),
                HeartbeatPath::Serial { device, .. } => Medium::Serial(device.clone()),
            };
            if let Some(line) = seen.before(medium, *place) {
                reader.in_item(index, |reader| {
                    let what = format!("this path is here already, on line {line}");
                    reader.mistake(*place, what, "expected each path once: two on one wire fail together");
                });
            }
        }
        paths.push(path);
    }
    complete(paths, list)
}

fn path(raw: &raw::HeartbeatPath) -> Option<HeartbeatPath> {
    Some(match raw {
        raw::HeartbeatPath::Multicast(raw) => HeartbeatPath::Multicast {
            interface: raw.interface.value()?.0.clone(),
            group: raw.group.value()?.0,
            ttl: u8::try_from(raw.ttl.value()?.0).ok()?,
        },
        raw::HeartbeatPath::Broadcast(raw) => HeartbeatPath::Broadcast {
            interface: raw.interface.value()?.0.clone(),
            address: raw.address.value()?.0,
        },
        raw::HeartbeatPath::Serial(raw) => {
            HeartbeatPath::Serial { device: raw.device.value()?.0.clone(), baud: raw.baud.value()?.0 }
        }
    })
}

/// Every two nodes must have a path in common. Addresses are a path of all or of none, and a serial line has
/// two ends.
pub(super) fn all_meet(nodes: &[Node], paths: &[HeartbeatPath], place: Place, reader: &mut Reader) {
    let by_address = nodes.iter().all(|node| !node.addresses.is_empty());
    let by_path = paths.iter().any(|path| match path {
        HeartbeatPath::Multicast { .. } | HeartbeatPath::Broadcast { .. } => true,
        HeartbeatPath::Serial { .. } => nodes.len() == 2,
    });
    if !by_address && !by_path {
        let what = match paths {
            [] => "the nodes have no path on which beats could travel".to_owned(),
            _ => format!("a serial line joins two nodes, and here are {}", nodes.len()),
        };
        reader.mistake(
            place,
            what,
            "expected `addresses` of the nodes, or a multicast or broadcast path in `paths`",
        );
    }
}

/// On a serial line a beat of so many bytes takes long, and as many must fit into the dead time as on other
/// paths.
pub(super) fn serial_lines_keep_up(
    list: &raw::Paths,
    bytes: usize,
    deadtime: Duration,
    reader: &mut Reader,
) -> Option<()> {
    for (index, Located { value: path, .. }) in list.iter() {
        let raw::HeartbeatPath::Serial(serial) = path else { continue };
        let Located { value: baud, place } = serial.baud.located()?;
        let taken = frame::duration(bytes, baud.0);
        if taken * BEATS > deadtime {
            reader.in_item(index, |reader| {
                reader.in_key("baud", |reader| {
                    let what = format!(
                        "a beat of {bytes} bytes takes {} on this line, and the dead time of {} has no room for {BEATS}",
                        shown(taken),
                        shown(deadtime)
                    );
                    reader.mistake(*place, what, "expected a faster line, or a longer `deadtime`");
                });
            });
        }
    }
    Some(())
}
