//! Ageing: finds connections that have been idle for too long and has the kernel retire them.
//!
//! The agent only proposes. The program `lvs_expire` looks at each key again, where it can settle the
//! counts of a connection in the same breath in which a packet might revive it.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use lvs_common::connection::{Connection, Return, ticks};
use lvs_common::destination::{Destination, destination_flags};
use lvs_common::flow::FlowKey;
use lvs_common::limits::EXPIRE_KEYS;
use lvs_common::names;
use lvs_common::settings::Settings;
use zerocopy::IntoBytes;

use super::error::MapError;
use super::maps::Maps;
use super::syscall;

/// What `lvs_expire` returns when it could not work (`XDP_ABORTED`).
const ABORTED: u32 = 0;

/// Now, on the clock of [`Connection::last_seen`].
pub fn now_ticks() -> u32 {
    ticks::from_nanoseconds(syscall::monotonic_nanoseconds())
}

/// What one pass over the connection tables found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Entries of `EMBRYONIC` and of `CONNECTIONS`.
    pub embryonic: u64,
    pub established: u64,
    /// Entries proposed to the kernel for retirement.
    pub expired: u64,
    /// Entries of `RETURNS` deleted since their connection was gone.
    pub orphans: u64,
    /// Entries by index of their destination, the expired ones left out: an index with none may get a new
    /// owner.
    pub references: BTreeMap<u32, u32>,
}

/// Walks the connection tables. Has its own state and reads for a second where there are a million
/// entries: give it a thread of its own.
#[derive(Debug)]
pub struct Sweeper {
    pub(super) maps: Arc<Maps>,
    pub(super) expire: Arc<OwnedFd>,
    /// Entries of `RETURNS` that had no connection at the last pass.
    pub(super) suspects: HashSet<FlowKey>,
}

impl Sweeper {
    /// Retires what has been idle at `now` for longer than `settings` allow its state and what belongs to a
    /// destination that is gone; deletes return entries that had no connection at this pass and the one
    /// before.
    pub fn sweep(&mut self, now: u32, settings: &Settings) -> Result<SweepReport, MapError> {
        let destinations = self.maps.destinations.range(0..self.maps.destinations.capacity())?;
        let mut report = SweepReport::default();
        // `EMBRYONIC` comes first, so that an entry which moves to `CONNECTIONS` meanwhile is not missed.
        for (table, embryonic) in [(&self.maps.embryonic, true), (&self.maps.connections, false)] {
            for batch in table.batches() {
                let batch = batch?;
                let seen = if embryonic { &mut report.embryonic } else { &mut report.established };
                *seen += batch.len() as u64;
                let mut over = Vec::new();
                for (key, connection) in batch {
                    let destination = destinations.get(connection.destination as usize);
                    if is_idle(&connection, now, settings) || is_homeless(&connection, destination) {
                        over.push(key);
                    } else {
                        *report.references.entry(connection.destination).or_default() += 1;
                    }
                }
                report.expired += over.len() as u64;
                self.propose(&over)?;
            }
        }
        report.orphans = self.collect_orphans()?;
        Ok(report)
    }

    fn propose(&self, keys: &[FlowKey]) -> Result<(), MapError> {
        for keys in keys.chunks(EXPIRE_KEYS) {
            let failed = |reason| MapError::Io {
                map: names::CONNECTIONS,
                action: "run lvs_expire to retire entries of",
                reason,
            };
            if syscall::test_run(self.expire.as_fd(), keys.as_bytes()).map_err(failed)? == ABORTED {
                return Err(failed(io::Error::other("the program gave up")));
            }
        }
        Ok(())
    }

    /// A return entry is made just before its connection and deleted just after it, so a single pass may
    /// find it alone though all is well.
    fn collect_orphans(&mut self) -> Result<u64, MapError> {
        let mut suspects = HashSet::new();
        let mut deleted = 0;
        for batch in self.maps.returns.batches() {
            for (key, value) in batch? {
                if self.has_connection(&forward_key(&key, &value))? {
                    continue;
                }
                if self.suspects.contains(&key) {
                    self.maps.returns.remove(&key)?;
                    deleted += 1;
                } else {
                    suspects.insert(key);
                }
            }
        }
        self.suspects = suspects;
        Ok(deleted)
    }

    fn has_connection(&self, key: &FlowKey) -> Result<bool, MapError> {
        Ok(self.maps.connections.get(key)?.is_some() || self.maps.embryonic.get(key)?.is_some())
    }
}

fn is_idle(connection: &Connection, now: u32, settings: &Settings) -> bool {
    let timeout = settings.timeouts[connection.state as usize & 15];
    // A packet may have passed after `now` was read: the difference is then negative.
    let idle = now.wrapping_sub(connection.last_seen).cast_signed();
    idle > timeout.cast_signed()
}

/// The destination was taken out of its service, or its index has another owner by now.
fn is_homeless(connection: &Connection, destination: Option<&Destination>) -> bool {
    destination.is_none_or(|destination| {
        destination.generation != connection.generation || destination.has(destination_flags::REMOVED)
    })
}

/// The client's direction of a nat connection.
const fn forward_key(key: &FlowKey, value: &Return) -> FlowKey {
    FlowKey::new(
        key.destination,
        key.destination_port,
        value.virtual_address,
        value.virtual_port,
        key.protocol,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lvs_common::tcp_state::state;

    fn seen_at(last_seen: u32) -> Connection {
        let state = state::ESTABLISHED;
        Connection { destination: 1, generation: 1, last_seen, state, flags: 0, sequence: 0 }
    }

    #[test]
    fn idle_time_survives_the_wrap_of_the_clock_and_a_packet_after_now() {
        let settings = Settings::defaults();
        let timeout = settings.timeouts[state::ESTABLISHED as usize];
        for now in [5, timeout + 1, u32::MAX] {
            assert!(is_idle(&seen_at(now.wrapping_sub(timeout + 1)), now, &settings));
            assert!(!is_idle(&seen_at(now.wrapping_sub(timeout)), now, &settings));
            assert!(!is_idle(&seen_at(now.wrapping_add(3)), now, &settings), "seen after now");
        }
    }
}
