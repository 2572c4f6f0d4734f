//! bpf(2) where aya has no safe door: batches, links without a fallback, test runs. Beside `memory.rs` the
//! only file of the crate with `unsafe`: every function checks lengths before the kernel sees a pointer.
#![allow(unsafe_code, reason = "bpf(2) takes structures of pointers; all of them are made in this file")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use aya::maps::{MapData, MapError as AyaMapError, MapType};

/// `enum bpf_cmd` of linux/bpf.h.
mod command {
    pub(super) const MAP_LOOKUP_ELEM: libc::c_int = 1;
    pub(super) const MAP_UPDATE_ELEM: libc::c_int = 2;
    pub(super) const MAP_DELETE_ELEM: libc::c_int = 3;
    pub(super) const OBJ_PIN: libc::c_int = 6;
    pub(super) const OBJ_GET: libc::c_int = 7;
    pub(super) const PROG_TEST_RUN: libc::c_int = 10;
    pub(super) const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
    pub(super) const BTF_GET_FD_BY_ID: libc::c_int = 19;
    pub(super) const MAP_LOOKUP_BATCH: libc::c_int = 24;
    pub(super) const MAP_UPDATE_BATCH: libc::c_int = 26;
    pub(super) const MAP_DELETE_BATCH: libc::c_int = 27;
    pub(super) const LINK_CREATE: libc::c_int = 28;
    pub(super) const LINK_UPDATE: libc::c_int = 29;
    pub(super) const LINK_DETACH: libc::c_int = 34;
}

/// The kernel's own "not supported", which libc does not name (linux/errno.h).
pub(super) const ENOTSUPP: i32 = 524;

/// `enum bpf_attach_type`: BPF_XDP.
const ATTACH_XDP: u32 = 37;

/// XDP_FLAGS_SKB_MODE and XDP_FLAGS_DRV_MODE of linux/if_link.h.
pub(super) const MODE_GENERIC: u32 = 1 << 1;
pub(super) const MODE_NATIVE: u32 = 1 << 2;

/// Calls bpf(2).
///
/// # Safety
/// `attributes` is the kernel's `union bpf_attr` for `command`, and every pointer in it is valid for what
/// the command reads or writes there.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the size is the structure's own; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attributes), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

/// As [`bpf`], for commands that answer with a new descriptor.
///
/// # Safety
/// As for [`bpf`].
unsafe fn bpf_fd<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; the kernel has just given us the descriptor, nobody else owns it.
    unsafe { bpf(command, attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

fn address_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as u64
}

#[repr(C)]
#[derive(Default)]
struct ElementAttributes {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// A map whose key and value sizes are known from the kernel, so that byte slices can be checked.
#[derive(Debug)]
pub(super) struct RawMap {
    data: MapData,
    key_size: usize,
    /// Bytes of one entry, over all CPUs if the map is per-CPU.
    entry_size: usize,
    values_per_entry: usize,
    max_entries: u32,
}

/// Where a read in batches goes on.
#[derive(Debug)]
pub(super) struct Cursor {
    position: Vec<u8>,
    begun: bool,
    pub(super) ended: bool,
}

impl RawMap {
    pub(super) fn new(data: MapData) -> Result<Self, AyaMapError> {
        let info = data.info()?;
        let per_cpu =
            matches!(info.map_type()?, MapType::PerCpuArray | MapType::PerCpuHash | MapType::LruPerCpuHash);
        let value_size = info.value_size() as usize;
        let (entry_size, values_per_entry) = if per_cpu {
            let cpus = aya::util::nr_cpus().map_err(|(_, error)| AyaMapError::IoError(error))?;
            (value_size.next_multiple_of(8) * cpus, cpus)
        } else {
            (value_size, 1)
        };
        Ok(Self {
            key_size: info.key_size() as usize,
            entry_size,
            values_per_entry,
            max_entries: info.max_entries(),
            data,
        })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.data.fd().as_fd()
    }

    pub(super) const fn key_size(&self) -> usize {
        self.key_size
    }

    pub(super) const fn entry_size(&self) -> usize {
        self.entry_size
    }

    /// CPUs of a per-CPU map, else 1.
    pub(super) const fn values_per_entry(&self) -> usize {
        self.values_per_entry
    }

    pub(super) const fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// `None`: no such key.
    pub(super) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<Option<()>> {
        self.check_lengths(1, key, Some(value))?;
        let mut attributes = ElementAttributes {
            map: number(self.data.fd().as_fd()),
            key: address(key),
            value: address_mut(value),
            ..Default::default()
        };
        // SAFETY: the lengths were checked against the map's own sizes.
        none_if_missing(unsafe { bpf(command::MAP_LOOKUP_ELEM, &mut attributes) })
    }

    pub(super) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check_lengths(1, key, Some(value))?;
        let mut attributes = ElementAttributes {
            map: number(self.data.fd().as_fd()),
            key: address(key),
            value: address(value),
            ..Default::default()
        };
        // SAFETY: the lengths were checked against the map's own sizes; the kernel only reads.
        unsafe { bpf(command::MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
    }

    /// `None`: no such key.
    pub(super) fn delete(&self, key: &[u8]) -> io::Result<Option<()>> {
        self.check_lengths(1, key, None)?;
        let mut attributes = ElementAttributes {
            map: number(self.data.fd().as_fd()),
            key: address(key),
            ..Default::default()
        };
        // SAFETY: the length was checked against the map's own key size; the kernel only reads.
        none_if_missing(unsafe { bpf(command::MAP_DELETE_ELEM, &mut attributes) })
    }

    /// A cursor before the first entry; of an array also behind the entry `after`.
    pub(super) fn cursor(&self, after: Option<u32>) -> Cursor {
        // Hash maps write a bucket's number, arrays the last key.
        let mut position = vec![0; self.key_size.max(size_of::<u32>())];
        if let Some(index) = after {
            position[..size_of::<u32>()].copy_from_slice(&index.to_ne_bytes());
        }
        Cursor { position, begun: after.is_some(), ended: false }
    }

    /// Reads up to `count` entries and returns how many there were; `cursor.ended` says whether they were
    /// the last ones.
    pub(super) fn lookup_batch(
        &self,
        cursor: &mut Cursor,
        count: usize,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> io::Result<usize> {
        self.check_lengths(count, keys, Some(values))?;
        if cursor.position.len() < self.key_size.max(size_of::<u32>()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let position = address_mut(&mut cursor.position);
        let mut attributes = BatchAttributes {
            in_batch: if cursor.begun { position } else { 0 },
            out_batch: position,
            keys: address_mut(keys),
            values: address_mut(values),
            count: count as u32,
            map: number(self.data.fd().as_fd()),
            ..Default::default()
        };
        // SAFETY: keys and values hold `count` entries, the cursor a key or a bucket's number.
        let result = unsafe { bpf(command::MAP_LOOKUP_BATCH, &mut attributes) };
        cursor.begun = true;
        cursor.ended = none_if_missing(result)?.is_none();
        Ok(attributes.count as usize)
    }

    /// On failure also says how many entries were written before it.
    pub(super) fn update_batch(
        &self,
        count: usize,
        keys: &[u8],
        values: &[u8],
    ) -> Result<(), (usize, io::Error)> {
        self.check_lengths(count, keys, Some(values)).map_err(|error| (0, error))?;
        self.write_batch(command::MAP_UPDATE_BATCH, count, keys, address(values))
    }

    /// As [`Self::update_batch`]; a missing key is an error.
    pub(super) fn delete_batch(&self, count: usize, keys: &[u8]) -> Result<(), (usize, io::Error)> {
        self.check_lengths(count, keys, None).map_err(|error| (0, error))?;
        self.write_batch(command::MAP_DELETE_BATCH, count, keys, 0)
    }

    fn write_batch(
        &self,
        command: libc::c_int,
        count: usize,
        keys: &[u8],
        values: u64,
    ) -> Result<(), (usize, io::Error)> {
        let mut attributes = BatchAttributes {
            keys: address(keys),
            values,
            count: count as u32,
            map: number(self.data.fd().as_fd()),
            ..Default::default()
        };
        // SAFETY: both callers checked that keys, and values where they are read, hold `count` entries.
        match unsafe { bpf(command, &mut attributes) } {
            Ok(_) => Ok(()),
            // A kernel without the command leaves the count as it was.
            Err(error) if is_unsupported(&error) => Err((0, error)),
            Err(error) => Err((attributes.count as usize, error)),
        }
    }

    fn check_lengths(&self, count: usize, keys: &[u8], values: Option<&[u8]>) -> io::Result<()> {
        let keys_fit = keys.len() == count * self.key_size;
        let values_fit = values.is_none_or(|values| values.len() == count * self.entry_size);
        if keys_fit && values_fit && u32::try_from(count).is_ok() {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "keys or values have another size than the map's",
            ))
        }
    }
}

/// The kernel has no batch operation for this type of map.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOTSUPP | libc::EOPNOTSUPP | libc::EINVAL))
}

fn none_if_missing(result: io::Result<libc::c_int>) -> io::Result<Option<()>> {
    match result {
        Ok(_) => Ok(Some(())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[repr(C)]
#[derive(Default)]
struct PathAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Makes `fd` outlive this process under `path` of a bpffs.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes =
        PathAttributes { path: address(path.as_bytes_with_nul()), fd: number(fd), ..Default::default() };
    // SAFETY: the path ends with a zero and lives until the call returns.
    unsafe { bpf(command::OBJ_PIN, &mut attributes) }.map(drop)
}

/// Opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = PathAttributes { path: address(path.as_bytes_with_nul()), ..Default::default() };
    // SAFETY: the path ends with a zero and lives until the call returns.
    unsafe { bpf_fd(command::OBJ_GET, &mut attributes) }
}

#[repr(C)]
#[derive(Default)]
struct IdAttributes {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The BTF object with this id.
pub(super) fn open_btf(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = IdAttributes { id, ..Default::default() };
    // SAFETY: no pointers.
    unsafe { bpf_fd(command::BTF_GET_FD_BY_ID, &mut attributes) }
}

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttributes {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches an XDP program to an interface. Unlike aya's, this never falls back to the netlink way of
/// attaching, which leaves nothing to pin.
pub(super) fn link_xdp(program: BorrowedFd<'_>, interface: u32, mode: u32) -> io::Result<OwnedFd> {
    let mut attributes =
        LinkCreateAttributes { program: number(program), interface, attach_type: ATTACH_XDP, flags: mode };
    // SAFETY: no pointers.
    unsafe { bpf_fd(command::LINK_CREATE, &mut attributes) }
}

#[repr(C)]
#[derive(Default)]
struct LinkAttributes {
    link: u32,
    new_program: u32,
    flags: u32,
    old_program: u32,
}

/// Puts another program into a link, with no packet in between that sees none.
pub(super) fn replace_program(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes =
        LinkAttributes { link: number(link), new_program: number(program), ..Default::default() };
    // SAFETY: no pointers.
    unsafe { bpf(command::LINK_UPDATE, &mut attributes) }.map(drop)
}

/// Takes the program off its interface at once, whoever else holds the link.
pub(super) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = number(link);
    // SAFETY: no pointers.
    unsafe { bpf(command::LINK_DETACH, &mut attributes) }.map(drop)
}

#[repr(C)]
#[derive(Default)]
struct InfoAttributes {
    fd: u32,
    length: u32,
    info: u64,
}

/// The start of `struct bpf_link_info` for an XDP link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) program: u32,
    reserved: u32,
    /// 0: the interface is gone.
    pub(super) interface: u32,
    reserved_too: u32,
}

pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = [LinkInfo::default()];
    let mut attributes = InfoAttributes {
        fd: number(link),
        length: size_of::<LinkInfo>() as u32,
        info: address_mut(&mut info),
    };
    // SAFETY: the kernel writes no more than `length` bytes, and every pattern of them is valid.
    unsafe { bpf(command::OBJ_GET_INFO_BY_FD, &mut attributes) }?;
    Ok(info[0])
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttributes {
    program: u32,
    return_value: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// Runs a program once on `input` (for XDP at least 14 bytes, at the most about 3500) and returns what it
/// returned.
pub(super) fn test_run(program: BorrowedFd<'_>, input: &[u8]) -> io::Result<u32> {
    let mut attributes = TestRunAttributes {
        program: number(program),
        data_size_in: input.len() as u32,
        data_in: address(input),
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: the kernel reads `data_size_in` bytes and writes none: there is no output buffer.
    unsafe { bpf(command::PROG_TEST_RUN, &mut attributes) }?;
    Ok(attributes.return_value)
}

/// As [`test_run`]; what the program makes of `data` stands there afterwards. A program that changes its length fails
/// or leaves the rest as it was.
pub(super) fn test_run_in_place(program: BorrowedFd<'_>, data: &mut [u8]) -> io::Result<u32> {
    let buffer = address_mut(data);
    let mut attributes = TestRunAttributes {
        program: number(program),
        data_size_in: data.len() as u32,
        data_in: buffer,
        data_size_out: data.len() as u32,
        data_out: buffer,
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: the kernel copies `data` before the program runs, and no more than its length back afterwards.
    unsafe { bpf(command::PROG_TEST_RUN, &mut attributes) }?;
    Ok(attributes.return_value)
}

/// CLOCK_MONOTONIC, the clock of `bpf_ktime_get_ns`, in nanoseconds.
pub fn monotonic_nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours. The call cannot fail: Linux always has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
