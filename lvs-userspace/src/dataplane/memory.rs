//! Arrays of the kernel mapped into our memory: no system call for each look. Beside `syscall.rs` the only file with
//! `unsafe`; what it hands out are numbers that are read and changed atomically.
#![allow(unsafe_code, reason = "mmap(2) answers with an address; it and the length are checked in this file")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// The values of an array of maps made with BPF_F_MMAPABLE, as words of eight bytes.
#[derive(Debug)]
struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory is shared with the kernel anyway and only accessed by atomic operations; it stays mapped until
// the owner goes.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(map: BorrowedFd<'_>, words: usize, protection: libc::c_int) -> io::Result<Self> {
        let length = words.checked_mul(size_of::<u64>()).filter(|length| *length > 0);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping where the kernel likes; it refuses one that is longer than the map's values.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, words })
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped for so many words, page-aligned, until `self` goes. Reads of a read-only page are relaxed
        // loads of eight bytes, which never write.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; nothing borrowed from it is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * size_of::<u64>()) };
    }
}

/// An array that can only be read.
#[derive(Debug)]
pub(super) struct ReadOnly(Mapping);

impl ReadOnly {
    /// Maps the first `words` words of the array's values.
    pub(super) fn new(map: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        Mapping::new(map, words, libc::PROT_READ).map(Self)
    }

    /// `N` words from `first` on, each whole; `None` beyond the end.
    pub(super) fn read<const N: usize>(&self, first: usize) -> Option<[u64; N]> {
        let words = self.0.words().get(first..)?.get(..N)?;
        let mut values = [0; N];
        for (value, word) in values.iter_mut().zip(words) {
            *value = word.load(Ordering::Relaxed);
        }
        Some(values)
    }
}

/// An array of bits that both sides change.
#[derive(Debug)]
pub(super) struct Marks(Mapping);

impl Marks {
    pub(super) fn new(map: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        Mapping::new(map, words, libc::PROT_READ | libc::PROT_WRITE).map(Self)
    }

    pub(super) fn len(&self) -> usize {
        self.0.words
    }

    /// The word at `index`, all of whose bits are taken away; 0 beyond the end. What the marks are about is read
    /// afterwards, also by the processor.
    pub(super) fn take(&self, index: usize) -> u64 {
        let Some(word) = self.0.words().get(index) else { return 0 };
        if word.load(Ordering::Relaxed) == 0 { 0 } else { word.swap(0, Ordering::SeqCst) }
    }
}
