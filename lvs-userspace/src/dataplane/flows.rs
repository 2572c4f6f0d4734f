//! The connection table for those who replicate it: [`FlowReader`] reads what has changed out of mapped memory,
//! [`FlowWriter`] has `lvs_adopt` write entries. Both are for any thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use lvs_common::adoption::Adoption;
use lvs_common::connection::{BUCKETS_PER_WORD, ENTRIES_PER_BUCKET, Entry};
use lvs_common::limits::ADOPTIONS;
use lvs_common::names;
use lvs_common::tcp_state::state;
use zerocopy::IntoBytes;

use super::error::MapError;
use super::maps::Maps;
use super::memory::{Marks, ReadOnly};
use super::syscall;

/// Words of one entry.
const WORDS: usize = size_of::<Entry>() / size_of::<u64>();
/// Looks at an entry that changes in between.
const LOOKS: u32 = 16;
/// What `lvs_adopt` returns when it could not work (`XDP_ABORTED`).
const ABORTED: u32 = 0;

/// The entries of the connection table, read without a system call.
#[derive(Debug)]
struct Entries {
    memory: ReadOnly,
    buckets: u32,
}

impl Entries {
    fn map(maps: &Maps) -> Result<Self, MapError> {
        let buckets = maps.connections.capacity();
        let memory =
            ReadOnly::new(maps.connections.descriptor(), buckets as usize * ENTRIES_PER_BUCKET * WORDS)
                .map_err(|reason| MapError::Io {
                    map: names::CONNECTIONS,
                    action: "map into memory",
                    reason,
                })?;
        Ok(Self { memory, buckets })
    }

    /// See [`settle`].
    fn settled(&self, place: u32) -> Option<Option<Entry>> {
        let first = place as usize * WORDS;
        let control = || self.memory.read::<1>(first).map(|[control]| control);
        settle(control, || self.memory.read::<WORDS>(first))
    }
}

/// An entry that others write, read by its control word and as a whole. It is all of one connection; inner `None` where
/// none is, outer `None` while it changes too fast to be read.
fn settle(
    mut control: impl FnMut() -> Option<u64>,
    mut whole: impl FnMut() -> Option<[u64; WORDS]>,
) -> Option<Option<Entry>> {
    for _ in 0..LOOKS {
        let Some(before) = control().filter(|control| state::is_live(state_of(*control))) else {
            return Some(None);
        };
        // The words behind the control word are those of its version if it has the same version afterwards.
        fence(Ordering::Acquire);
        let Some(mut words) = whole() else { return Some(None) };
        fence(Ordering::Acquire);
        let Some(after) = control() else { return Some(None) };
        if after >> 32 == before >> 32 {
            words[0] = after;
            return Some(Some(zerocopy::transmute!(words)));
        }
    }
    None
}

/// One of [`lvs_common::tcp_state::state`].
const fn state_of(control: u64) -> u32 {
    lvs_common::connection::Control(control).state()
}

/// Entries of one bucket.
pub type Cells = [Option<Entry>; ENTRIES_PER_BUCKET];

/// Reads the connection table, and which of its buckets have changed. There should be one: a mark is taken away by
/// whoever sees it first.
#[derive(Debug)]
pub struct FlowReader {
    entries: Entries,
    marks: Marks,
    /// The word of marks that was taken last, and what is left of it.
    word: usize,
    bits: u64,
}

impl FlowReader {
    pub(super) fn open(maps: &Maps) -> Result<Self, MapError> {
        let entries = Entries::map(maps)?;
        let words = maps.dirty.capacity();
        let wanted = entries.buckets.div_ceil(BUCKETS_PER_WORD);
        if words < wanted {
            return Err(MapError::OutOfRange { map: names::DIRTY, index: wanted - 1, capacity: words });
        }
        let marks = Marks::new(maps.dirty.descriptor(), words as usize).map_err(|reason| MapError::Io {
            map: names::DIRTY,
            action: "map into memory",
            reason,
        })?;
        Ok(Self { entries, marks, word: 0, bits: 0 })
    }

    /// Buckets of the table.
    pub const fn buckets(&self) -> u32 {
        self.entries.buckets
    }

    /// A bucket that has changed, and its mark taken away; `None` when a whole round has found no other.
    pub fn next_marked(&mut self) -> Option<u32> {
        for _ in 0..=self.marks.len() {
            if self.bits != 0 {
                let bit = self.bits.trailing_zeros();
                self.bits &= self.bits - 1;
                return Some(self.word as u32 * BUCKETS_PER_WORD + bit);
            }
            self.word = if self.word + 1 < self.marks.len() { self.word + 1 } else { 0 };
            self.bits = self.marks.take(self.word);
        }
        None
    }

    /// The entries of a bucket; `None` while they change too fast to be read.
    pub fn read(&self, bucket: u32) -> Option<Cells> {
        let mut cells = [None; ENTRIES_PER_BUCKET];
        for (place, cell) in (bucket * ENTRIES_PER_BUCKET as u32..).zip(&mut cells) {
            *cell = self.entries.settled(place)?;
        }
        Some(cells)
    }
}

/// Has the program `lvs_adopt` write entries of the connection table.
#[derive(Debug)]
pub struct FlowWriter {
    entries: Entries,
    adopt: Arc<OwnedFd>,
}

impl FlowWriter {
    pub(super) fn open(maps: &Maps, adopt: Arc<OwnedFd>) -> Result<Self, MapError> {
        Ok(Self { entries: Entries::map(maps)?, adopt })
    }

    /// Buckets of the table.
    pub const fn buckets(&self) -> u32 {
        self.entries.buckets
    }

    /// The entry at `place`, if one stands there.
    pub fn entry(&self, place: u32) -> Option<Entry> {
        self.entries.settled(place).flatten()
    }

    /// Carries out the records in order and fills in what became of them.
    pub fn apply(&mut self, records: &mut [Adoption]) -> Result<(), MapError> {
        let failed = |reason| MapError::Io {
            map: names::CONNECTIONS,
            action: "run lvs_adopt to write entries of",
            reason,
        };
        for records in records.chunks_mut(ADOPTIONS) {
            let returned = syscall::test_run_in_place(self.adopt.as_fd(), records.as_mut_bytes());
            if returned.map_err(failed)? == ABORTED {
                return Err(failed(io::Error::other("the program gave up")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lvs_common::connection::Control;

    const fn word(last_seen: u32, version: u16, state: u32) -> u64 {
        Control::new(last_seen, version, state, 0).0
    }

    /// Reads an entry whose control word is, look by look, as in `controls`; the others are of the first look's number.
    fn read(controls: &[u64]) -> Option<Option<Entry>> {
        let mut controls = controls.iter().copied();
        let mut look = 0;
        settle(
            || Some(controls.next().expect("no more looks than there are")),
            || {
                look += 1;
                Some([77, look, look, look, look, look])
            },
        )
    }

    #[test]
    fn an_entry_is_read_again_until_it_is_of_one_connection() {
        let [old, new] = [word(5, 1, state::ESTABLISHED), word(6, 2, state::SYN_RECEIVED)];
        let entry = read(&[old, new, new, new]).expect("settled").expect("an entry");
        assert_eq!(entry.control(), Control(new));
        assert_eq!((entry.destination, entry.sequence), (2, 2), "read after the first look at what is");
    }

    #[test]
    fn a_packet_meanwhile_changes_nothing_but_the_time() {
        let entry = read(&[word(5, 1, state::ESTABLISHED), word(9, 1, state::ESTABLISHED)]);
        assert_eq!(entry.expect("settled").expect("an entry").last_seen, 9);
    }

    #[test]
    fn what_is_no_connection_is_none() {
        for nothing in [state::NONE, state::BUSY, state::DEAD] {
            assert_eq!(read(&[word(5, 1, nothing)]), Some(None));
        }
        // It ends while it is read.
        assert_eq!(
            read(&[word(5, 1, state::ESTABLISHED), word(5, 1, state::DEAD), word(0, 2, 0)]),
            Some(None)
        );
    }

    #[test]
    fn one_that_never_rests_is_left_for_another_time() {
        let restless: Vec<u64> =
            (0..2 * LOOKS as u16).map(|version| word(5, version, state::ESTABLISHED)).collect();
        assert_eq!(read(&restless), None);
    }
}
