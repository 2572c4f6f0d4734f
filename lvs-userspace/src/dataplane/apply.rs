//! Carries out control's commands, in order; neighbours of one kind in one system call.

use std::mem::discriminant;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use lvs_common::counters::Counters;
use lvs_common::destination::Load;
use lvs_common::service::{ServiceKey, ServiceState, protocol};
use lvs_common::settings::{Settings, flags};

use super::error::{ApplyError, MapError};
use super::inner_maps::InnerMaker;
use super::maps::Maps;
use super::service_lines::{Crowded, lay_out};
use super::table::{Plain, Table};
use crate::control::command::Command;

/// Rings published by one update: each holds a descriptor until then, and a process may have only 1024.
const RINGS_AT_ONCE: usize = 256;

/// How many commands of a run were carried out before one failed, and why.
type Failure = (usize, MapError);

/// `unpublished` is kept from one call to the next: `SERVICES` holds what packets do not see yet, since publishing
/// has failed. Then it comes first, for no other command would have it done again.
pub(super) fn apply(
    maps: &Maps,
    maker: &InnerMaker,
    unpublished: &mut bool,
    commands: &[Command],
) -> Result<(), ApplyError> {
    if *unpublished {
        publish(maps, maker, unpublished).map_err(|reason| ApplyError {
            position: 0,
            count: commands.len(),
            command: "publish services that were written before".to_owned(),
            reason,
        })?;
    }
    let mut done = 0;
    for run in commands.chunk_by(|left, right| discriminant(left) == discriminant(right)) {
        apply_run(maps, maker, unpublished, run).map_err(|(done_in_run, reason)| ApplyError {
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
fn apply_run(
    maps: &Maps,
    maker: &InnerMaker,
    unpublished: &mut bool,
    run: &[Command],
) -> Result<(), Failure> {
    use Command::*;
    match run.first() {
        None => Ok(()),
        Some(SetSettings(_)) => one_by_one(run, |command| match command {
            SetSettings(settings) => maps.settings.set(&0, &fitted(maps, settings)),
            _ => Ok(()),
        }),
        Some(SetGroupAddress { .. }) => set_all(&maps.group_addresses, run, |command| match command {
            SetGroupAddress { address, value } => Some((*address, *value)),
            _ => None,
        }),
        Some(DeleteGroupAddress { .. }) => remove_all(&maps.group_addresses, run, |command| match command {
            DeleteGroupAddress { address } => Some(*address),
            _ => None,
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
        Some(SetService { .. }) => {
            let written = set_all(&maps.services, run, |command| match command {
                SetService { key, value } => Some((*key, *value)),
                _ => None,
            });
            // Also after an error: what is written is carried out.
            let published = publish(maps, maker, unpublished).map_err(|error| (run.len() - 1, error));
            written.and(published)
        }
        // Whatever its size was.
        Some(DeleteRing { .. }) => maps.rings.all().try_for_each(|rings| {
            remove_all(rings, run, |command| match command {
                DeleteRing { ring } => Some(*ring),
                _ => None,
            })
        }),
        Some(DeleteVip { .. }) => remove_all(&maps.vips, run, |command| match command {
            DeleteVip { address } => Some(*address),
            _ => None,
        }),
        Some(DeleteService { .. }) => {
            let removed = remove_all(&maps.services, run, |command| match command {
                DeleteService { key } => Some(*key),
                _ => None,
            });
            let published = publish(maps, maker, unpublished).map_err(|error| (run.len() - 1, error));
            removed.and(published)
        }
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
fn publish_rings(maps: &Maps, maker: &InnerMaker, run: &[Command]) -> Result<(), Failure> {
    let mut made = 0;
    for run in run.chunk_by(|left, right| ring_length(left) == ring_length(right)) {
        let mut keys = Vec::with_capacity(run.len());
        let mut inner_maps = Vec::with_capacity(run.len());
        for command in run {
            if let Command::SetRing { ring, slots } = command {
                keys.push(*ring);
                inner_maps.push(maker.ring(*ring, slots).map_err(|error| (made, error))?);
            }
        }
        let descriptors: Vec<u32> = inner_maps.iter().map(|map| map.descriptor()).collect();
        let rings = maps.rings.of_size(run.first().map_or(0, ring_length));
        rings.set_all(&keys, &descriptors).map_err(|(done, error)| (made + done, error))?;
        made += run.len();
    }
    Ok(())
}

fn ring_length(command: &Command) -> usize {
    if let Command::SetRing { slots, .. } = command { slots.len() } else { 0 }
}

fn publish(maps: &Maps, maker: &InnerMaker, unpublished: &mut bool) -> Result<(), MapError> {
    let published = publish_services(maps, maker);
    *unpublished = published.is_err();
    published
}

/// Puts what `SERVICES` holds where packets look for it. The kernel waits for a grace period: when this
/// returns no packet goes by the former table.
pub(super) fn publish_services(maps: &Maps, maker: &InnerMaker) -> Result<(), MapError> {
    let services = maps.services.all()?;
    let lines = lay_out(services.iter().map(|(key, service)| (key, service)))
        .map_err(|Crowded| MapError::Crowded { services: services.len() })?;
    let table = maker.service_lines(&lines)?;
    maps.service_lines.set(&0, &table.descriptor())
}

/// The settings with the shape that the connection table really has: adopted maps may have another one than
/// the configuration asks for, and the program would walk past their ends. Whether somebody follows the table is not
/// control's to say.
pub(super) fn fitted(maps: &Maps, settings: &Settings) -> Settings {
    let followed = if maps.followed.load(Ordering::Relaxed) { flags::FOLLOWED } else { 0 };
    Settings {
        flags: settings.flags & !flags::FOLLOWED | followed,
        embryonic_slots: maps.embryonic_order.capacity(),
        buckets: maps.connections.capacity(),
        connections: maps.shape.connections,
        seed: maps.shape.seed,
        ..*settings
    }
}

/// What a command does, for an error message.
fn describe(command: &Command) -> String {
    use Command::*;
    match command {
        SetSettings(_) => "set the settings".to_owned(),
        SetGroupAddress { address, .. } => format!("set group address {}", IpAddr::from(*address)),
        DeleteGroupAddress { address } => format!("delete group address {}", IpAddr::from(*address)),
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
