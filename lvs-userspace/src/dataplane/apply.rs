//! Carries out control's commands, in order; neighbours of one kind in one system call.

use std::mem::discriminant;
use std::net::IpAddr;

use lvs_common::counters::Counters;
use lvs_common::destination::Load;
use lvs_common::service::{ServiceKey, ServiceState, protocol};
use lvs_common::settings::Settings;

use super::error::{ApplyError, MapError};
use super::maps::Maps;
use super::ring_maps::RingMaker;
use super::table::{Plain, Table};
use crate::control::command::Command;

/// Rings published by one update: each holds a descriptor until then, and a process may have only 1024.
const RINGS_AT_ONCE: usize = 256;

/// How many commands of a run were carried out before one failed, and why.
type Failure = (usize, MapError);

pub(super) fn apply(maps: &Maps, maker: &RingMaker, commands: &[Command]) -> Result<(), ApplyError> {
    let mut done = 0;
    for run in commands.chunk_by(|left, right| discriminant(left) == discriminant(right)) {
        apply_run(maps, maker, run).map_err(|(done_in_run, reason)| ApplyError {
            position: done + done_in_run + 1,
            count: commands.len(),
            command: run.get(done_in_run).map(describe).unwrap_or_default(),
            reason,
        })?;
        done += run.len();
    }
    Ok(())
}

/// Carries out commands that are all of one kind.
fn apply_run(maps: &Maps, maker: &RingMaker, run: &[Command]) -> Result<(), Failure> {
    use Command::*;
    match run.first() {
        None => Ok(()),
        Some(SetSettings(_)) => one_by_one(run, |command| match command {
            SetSettings(settings) => maps.settings.set(&0, &fitted(maps, settings)),
            _ => Ok(()),
        }),
        Some(ZeroDestination { .. }) => one_by_one(run, |command| match command {
            ZeroDestination { index } => {
                maps.counters.set(index, &Counters::ZERO)?;
                maps.loads.set(index, &Load { active: 0, inactive: 0 })
            }
            _ => Ok(()),
        }),
        Some(ZeroService { .. }) => one_by_one(run, |command| match command {
            ZeroService { index } => maps.service_states.set(index, &ServiceState { cursor: 0 }),
            _ => Ok(()),
        }),
        Some(SetRing { .. }) => run.chunks(RINGS_AT_ONCE).enumerate().try_for_each(|(chunk, run)| {
            publish_rings(maps, maker, run).map_err(|(done, error)| (chunk * RINGS_AT_ONCE + done, error))
        }),
        Some(SetDestination { .. }) => set_all(&maps.destinations, run, |command| match command {
            SetDestination { index, value } => Some((*index, *value)),
            _ => None,
        }),
        Some(SetMembers { .. }) => set_all(&maps.members, run, |command| match command {
            SetMembers { chunk, value } => Some((*chunk, *value)),
            _ => None,
        }),
        Some(SetVip { .. }) => set_all(&maps.vips, run, |command| match command {
            SetVip { address, value } => Some((*address, *value)),
            _ => None,
        }),
        Some(SetSource { .. }) => set_all(&maps.sources, run, |command| match command {
            SetSource { key, value } => Some((*key, *value)),
            _ => None,
        }),
        Some(SetService { .. }) => set_all(&maps.services, run, |command| match command {
            SetService { key, value } => Some((*key, *value)),
            _ => None,
        }),
        Some(DeleteRing { .. }) => remove_all(&maps.rings, run, |command| match command {
            DeleteRing { ring } => Some(*ring),
            _ => None,
        }),
        Some(DeleteVip { .. }) => remove_all(&maps.vips, run, |command| match command {
            DeleteVip { address } => Some(*address),
            _ => None,
        }),
        Some(DeleteSource { .. }) => remove_all(&maps.sources, run, |command| match command {
            DeleteSource { key } => Some(*key),
            _ => None,
        }),
        Some(DeleteService { .. }) => remove_all(&maps.services, run, |command| match command {
            DeleteService { key } => Some(*key),
            _ => None,
        }),
    }
}

fn one_by_one(run: &[Command], carry_out: impl Fn(&Command) -> Result<(), MapError>) -> Result<(), Failure> {
    run.iter().enumerate().try_for_each(|(done, command)| carry_out(command).map_err(|error| (done, error)))
}

fn set_all<K: Plain, V: Plain>(
    table: &Table<K, V>,
    run: &[Command],
    entry: impl Fn(&Command) -> Option<(K, V)>,
) -> Result<(), Failure> {
    let (keys, values): (Vec<K>, Vec<V>) = run.iter().filter_map(entry).unzip();
    table.set_all(&keys, &values)
}

fn remove_all<K: Plain, V: Plain>(
    table: &Table<K, V>,
    run: &[Command],
    key: impl Fn(&Command) -> Option<K>,
) -> Result<(), Failure> {
    let keys: Vec<K> = run.iter().filter_map(key).collect();
    table.remove_all(&keys)
}

/// The kernel waits for one grace period for the whole batch, so no packet is left in an old ring when
/// this returns.
fn publish_rings(maps: &Maps, maker: &RingMaker, run: &[Command]) -> Result<(), Failure> {
    let mut keys = Vec::with_capacity(run.len());
    let mut inner_maps = Vec::with_capacity(run.len());
    for (made, command) in run.iter().enumerate() {
        if let Command::SetRing { ring, slots } = command {
            keys.push(*ring);
            inner_maps.push(maker.make(*ring, slots).map_err(|error| (made, error))?);
        }
    }
    let descriptors: Vec<u32> = inner_maps.iter().map(|map| map.descriptor()).collect();
    maps.rings.set_all(&keys, &descriptors)
}

/// The settings with the size that `EMBRYONIC_ORDER` really has: adopted maps may have another one than
/// the configuration asks for, and the program would walk past its end.
fn fitted(maps: &Maps, settings: &Settings) -> Settings {
    Settings { embryonic_slots: maps.embryonic_order.capacity(), ..*settings }
}

/// What a command does, for an error message.
fn describe(command: &Command) -> String {
    use Command::*;
    match command {
        SetSettings(_) => "set the settings".to_owned(),
        SetDestination { index, value } => {
            format!("set destination {index} ({})", IpAddr::from(value.address))
        }
        ZeroDestination { index } => format!("zero destination {index}"),
        ZeroService { index } => format!("zero service {index}"),
        SetMembers { chunk, .. } => format!("set members, chunk {chunk}"),
        SetRing { ring, slots } => format!("set ring {ring} ({} slots)", slots.len()),
        DeleteRing { ring } => format!("delete ring {ring}"),
        SetVip { address, .. } => format!("set VIP {}", IpAddr::from(*address)),
        DeleteVip { address } => format!("delete VIP {}", IpAddr::from(*address)),
        SetSource { key, .. } => format!("set source {}", dialled(key)),
        DeleteSource { key } => format!("delete source {}", dialled(key)),
        SetService { key, .. } => format!("set service {}", dialled(key)),
        DeleteService { key } => format!("delete service {}", dialled(key)),
    }
}

fn dialled(key: &ServiceKey) -> String {
    let protocol = match key.protocol {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        _ => "unknown protocol",
    };
    format!("{} port {} {protocol}", IpAddr::from(key.address), key.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_described_by_what_it_touches() {
        let key = ServiceKey::new(IpAddr::from([10, 0, 0, 3]).into(), 80, protocol::TCP);
        assert_eq!(describe(&Command::DeleteService { key }), "delete service 10.0.0.3 port 80 tcp");
        assert_eq!(describe(&Command::SetRing { ring: 4, slots: vec![] }), "set ring 4 (0 slots)");
    }
}
