//! A pinned map with the types of its keys and values, read and written in batches where the kernel can.

use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;

use aya::maps::MapData;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::error::MapError;
use super::syscall::{Cursor, RawMap, is_unsupported};

/// Entries of one batched read: large enough for every bucket of a hash map, small enough to stay in the
/// processor's cache.
const BATCH: usize = 2048;

/// What may be a key or a value: plain bytes.
pub(super) trait Plain: FromBytes + IntoBytes + Immutable + Clone {}

impl<T: FromBytes + IntoBytes + Immutable + Clone> Plain for T {}

/// A map of `K` to `V`. An array has `u32` keys; an entry of a per-CPU map is one `V` for each CPU.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    raw: RawMap,
    name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Opens the map pinned as `name` in `directory`.
    pub(super) fn open(directory: &Path, name: &'static str) -> Result<Self, MapError> {
        let data = MapData::from_pin(directory.join(name));
        let raw = data.and_then(RawMap::new).map_err(|reason| MapError::Aya {
            map: name,
            action: "open the pinned",
            reason: Box::new(reason),
        })?;
        Self::new(raw, name)
    }

    pub(super) fn new(raw: RawMap, name: &'static str) -> Result<Self, MapError> {
        let value_size = raw.entry_size() / raw.values_per_entry();
        if raw.key_size() == size_of::<K>() && value_size == size_of::<V>() {
            Ok(Self { raw, name, types: PhantomData })
        } else {
            Err(MapError::Layout {
                map: name,
                key: raw.key_size(),
                value: value_size,
                expected_key: size_of::<K>(),
                expected_value: size_of::<V>(),
            })
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.raw.descriptor()
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.raw.max_entries()
    }

    /// The entry of a map that is not per-CPU.
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, MapError> {
        let mut value = V::new_zeroed();
        let found = self.raw.lookup(key.as_bytes(), value.as_mut_bytes());
        let found = found.map_err(|error| self.failed("read", error))?;
        Ok(found.map(|()| value))
    }

    /// Writes an entry, on a per-CPU map for every CPU.
    pub(super) fn set(&self, key: &K, value: &V) -> Result<(), MapError> {
        let values = vec![value.clone(); self.raw.values_per_entry()];
        self.raw.update(key.as_bytes(), values.as_bytes()).map_err(|error| self.failed("write to", error))
    }

    /// `None`: there was no such entry.
    pub(super) fn remove(&self, key: &K) -> Result<Option<()>, MapError> {
        self.raw.delete(key.as_bytes()).map_err(|error| self.failed("delete from", error))
    }

    /// Writes entries of a map that is not per-CPU, in order. On failure also says how many were written.
    pub(super) fn set_all(&self, keys: &[K], values: &[V]) -> Result<(), (usize, MapError)> {
        match self.raw.update_batch(keys.len(), keys.as_bytes(), values.as_bytes()) {
            Ok(()) => Ok(()),
            Err((0, error)) if is_unsupported(&error) => {
                for (done, (key, value)) in keys.iter().zip(values).enumerate() {
                    self.set(key, value).map_err(|error| (done, error))?;
                }
                Ok(())
            }
            Err((done, error)) => Err((done, self.failed("write to", error))),
        }
    }

    /// Deletes entries in order; one that is missing is none the worse. On failure also says how many were
    /// dealt with.
    pub(super) fn remove_all(&self, keys: &[K]) -> Result<(), (usize, MapError)> {
        if self.raw.delete_batch(keys.len(), keys.as_bytes()).is_ok() {
            return Ok(());
        }
        for (done, key) in keys.iter().enumerate() {
            self.remove(key).map_err(|error| (done, error))?;
        }
        Ok(())
    }

    /// Every entry, a batch at a time. What is added or deleted meanwhile may be seen or not.
    pub(super) fn batches(&self) -> Batches<'_, K, V> {
        Batches { table: self, cursor: self.raw.cursor(None) }
    }

    /// Every entry at once.
    pub(super) fn all(&self) -> Result<Vec<(K, V)>, MapError> {
        let mut entries = Vec::new();
        for batch in self.batches() {
            entries.extend(batch?);
        }
        Ok(entries)
    }

    fn failed(&self, action: &'static str, reason: io::Error) -> MapError {
        if reason.raw_os_error() == Some(libc::E2BIG) {
            MapError::Full { map: self.name, capacity: self.capacity() }
        } else {
            MapError::Io { map: self.name, action, reason }
        }
    }
}

impl<V: Plain> Table<u32, V> {
    /// Writes an entry of an array that is not per-CPU, without a copy of it.
    pub(super) fn set_element(&self, index: u32, value: &V) -> Result<(), MapError> {
        self.raw.update(index.as_bytes(), value.as_bytes()).map_err(|error| self.failed("write to", error))
    }

    /// Values of an array; of a per-CPU array one for each CPU, those of an index side by side.
    pub(super) fn range(&self, range: Range<u32>) -> Result<Vec<V>, MapError> {
        if range.end > self.capacity() {
            return Err(MapError::OutOfRange {
                map: self.name,
                index: range.end - 1,
                capacity: self.capacity(),
            });
        }
        let per_entry = self.raw.values_per_entry();
        let mut values = vec![V::new_zeroed(); range.len() * per_entry];
        let mut cursor = self.raw.cursor(range.start.checked_sub(1));
        let mut index = range.start;
        for chunk in values.chunks_mut(BATCH * per_entry) {
            let count = chunk.len() / per_entry;
            let mut keys = vec![0u32; count];
            let read = self.raw.lookup_batch(
                &mut cursor,
                count,
                keys.as_mut_slice().as_mut_bytes(),
                chunk.as_mut_bytes(),
            );
            match read {
                Ok(_) => index += count as u32,
                Err(error) if is_unsupported(&error) => {
                    for value in chunk.chunks_mut(per_entry) {
                        let found = self.raw.lookup(index.as_bytes(), value.as_mut_bytes());
                        found.map_err(|error| self.failed("read", error))?;
                        index += 1;
                    }
                }
                Err(error) => return Err(self.failed("read", error)),
            }
        }
        Ok(values)
    }

    /// As [`Self::range`], the CPUs' values of each index added up.
    pub(super) fn range_summed(
        &self,
        range: Range<u32>,
        add: impl Fn(V, &V) -> V,
    ) -> Result<Vec<V>, MapError> {
        let values = self.range(range)?;
        let entries = values.chunks(self.raw.values_per_entry());
        Ok(entries.map(|cpus| cpus.iter().fold(V::new_zeroed(), &add)).collect())
    }
}

/// See [`Table::batches`].
pub(super) struct Batches<'a, K, V> {
    table: &'a Table<K, V>,
    cursor: Cursor,
}

impl<K: Plain, V: Plain> Iterator for Batches<'_, K, V> {
    type Item = Result<Vec<(K, V)>, MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.ended {
            return None;
        }
        let mut keys = vec![K::new_zeroed(); BATCH];
        let mut values = vec![V::new_zeroed(); BATCH * self.table.raw.values_per_entry()];
        let read = self.table.raw.lookup_batch(
            &mut self.cursor,
            BATCH,
            keys.as_mut_slice().as_mut_bytes(),
            values.as_mut_slice().as_mut_bytes(),
        );
        Some(match read {
            Ok(count) => {
                keys.truncate(count);
                Ok(keys.into_iter().zip(values).collect())
            }
            Err(error) => {
                self.cursor.ended = true;
                Err(self.table.failed("read", error))
            }
        })
    }
}
