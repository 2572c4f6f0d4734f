//! Ageing: finds connections that have been idle for too long and has the kernel retire them.
//!
//! The agent only proposes. The program `lvs_expire` looks at each entry again, where it can settle the
//! counts of a connection in the same breath in which a packet might revive it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use lvs_common::connection::{Connection, ENTRIES_PER_BUCKET, flags, ticks};
use lvs_common::destination::{Destination, destination_flags};
use lvs_common::limits::EXPIRE_PLACES;
use lvs_common::names;
use lvs_common::settings::Settings;
use zerocopy::IntoBytes;

use super::error::MapError;
use super::maps::Maps;
use super::readback::bucket_batches;
use super::syscall;

/// What `lvs_expire` returns when it could not work (`XDP_ABORTED`).
const ABORTED: u32 = 0;

/// Now, on the clock of [`Connection::last_seen`].
pub fn now_ticks() -> u32 {
    ticks::from_nanoseconds(syscall::monotonic_nanoseconds())
}

/// What one pass over the connection table found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    pub embryonic: u64,
    pub established: u64,
    /// Entries proposed to the kernel for retirement.
    pub expired: u64,
    /// Entries by index of their destination, the expired ones left out: an index with none may get a new
    /// owner.
    pub references: BTreeMap<u32, u32>,
}

/// Walks the connection table. Reads for a tenth of a second where there are a million entries: give it a
/// thread of its own.
#[derive(Debug)]
pub struct Sweeper {
    pub(super) maps: Arc<Maps>,
    pub(super) expire: Arc<OwnedFd>,
}

impl Sweeper {
    /// Retires what has been idle at `now` for longer than `settings` allow its state, and what belongs to a
    /// destination that is gone.
    pub fn sweep(&mut self, now: u32, settings: &Settings) -> Result<SweepReport, MapError> {
        let destinations = self.maps.destinations.range(0..self.maps.destinations.capacity())?;
        let mut report = SweepReport::default();
        for batch in bucket_batches(&self.maps) {
            let (first, buckets) = batch?;
            let mut over = Vec::new();
            let entries = buckets.iter().flat_map(|bucket| &bucket.entries);
            for (place, entry) in (first * ENTRIES_PER_BUCKET as u32..).zip(entries) {
                let Some(connection) = entry.connection() else { continue };
                let embryonic = entry.flags & flags::EMBRYONIC != 0;
                *(if embryonic { &mut report.embryonic } else { &mut report.established }) += 1;
                let destination = destinations.get(connection.destination as usize);
                if is_idle(&connection, now, settings) || is_homeless(&connection, destination) {
                    over.push(place);
                } else {
                    *report.references.entry(connection.destination).or_default() += 1;
                }
            }
            report.expired += over.len() as u64;
            self.propose(&over)?;
        }
        Ok(report)
    }

    fn propose(&self, places: &[u32]) -> Result<(), MapError> {
        for places in places.chunks(EXPIRE_PLACES) {
            // A place that is none fills up what the kernel asks for at the least.
            let mut input = [u32::MAX; EXPIRE_PLACES];
            input[..places.len()].copy_from_slice(places);
            let failed = |reason| MapError::Io {
                map: names::CONNECTIONS,
                action: "run lvs_expire to retire entries of",
                reason,
            };
            if syscall::test_run(self.expire.as_fd(), input.as_bytes()).map_err(failed)? == ABORTED {
                return Err(failed(io::Error::other("the program gave up")));
            }
        }
        Ok(())
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
