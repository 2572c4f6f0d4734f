//! Loads the director's object into the kernel, on the maps of an earlier agent where there are any.

use std::error::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{io, iter};

use aya::maps::MapInfo;
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};
use lvs_common::connection::{BUCKETS_PER_WORD, ENTRIES_PER_BUCKET};
use lvs_common::names;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

use super::attach::pinned_links;
use super::error::OpenError;
use super::inner_maps::InnerMaker;
use super::maps::Maps;
use super::{bpffs, syscall};
use crate::config::model::Limits;

/// The programs in the kernel, their maps pinned.
pub(super) struct Loaded {
    pub(super) director: OwnedFd,
    pub(super) egress: OwnedFd,
    pub(super) expire: OwnedFd,
    pub(super) adopt: OwnedFd,
    pub(super) inner_maker: InnerMaker,
    /// What the operator should know though it works.
    pub(super) warnings: Vec<String>,
    pub(super) kernel_log: Option<KernelLog>,
}

/// What the programs say of each packet.
pub struct KernelLog(Box<dyn FnMut() + Send>);

impl KernelLog {
    /// Hands on what was said since the last call.
    pub fn flush(&mut self) {
        (self.0)();
    }
}

impl std::fmt::Debug for KernelLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("KernelLog")
    }
}

/// The log of programs built with `debug-log`, for an agent built with it.
#[cfg(feature = "debug-log")]
fn kernel_log(programs: &mut Ebpf) -> Option<KernelLog> {
    match aya_log::EbpfLogger::init(programs) {
        Ok(mut logger) => Some(KernelLog(Box::new(move || logger.flush()))),
        Err(error) => {
            warn!(%error, "the programs say nothing: build them with `--features debug-log` too");
            None
        }
    }
}

#[cfg(not(feature = "debug-log"))]
fn kernel_log(_: &mut Ebpf) -> Option<KernelLog> {
    None
}

/// Loads `object`, whose maps are or get pinned in `directory`.
pub(super) fn load(object: &[u8], limits: &Limits, directory: &Path) -> Result<Loaded, OpenError> {
    let parsed = aya_obj::Object::parse(object).map_err(|reason| OpenError::Parse(Box::new(reason)))?;
    let sizes = map_sizes(limits);
    remove_remains(directory)?;
    let warnings = check_pinned(&parsed, &sizes, directory)?;
    for warning in &warnings {
        warn!("{warning}");
    }
    raise_memory_limit();

    let mut loader = EbpfLoader::new();
    for name in names::DIRECTOR_MAPS {
        if !parsed.maps.contains_key(name) {
            return Err(OpenError::Missing { kind: "map", name });
        }
        loader.map_pin_path(name, directory.join(name));
    }
    for (name, size) in sizes {
        loader.map_max_entries(name, size);
    }
    let mut programs = loader
        .load(object)
        .map_err(|reason| OpenError::Load { hint: hint(&reason), reason: Box::new(reason) })?;
    let (director, btf) = load_program(&mut programs, names::PROGRAM_DIRECTOR)?;
    let (egress, _) = load_program(&mut programs, names::PROGRAM_EGRESS)?;
    let (expire, _) = load_program(&mut programs, names::PROGRAM_EXPIRE)?;
    let (adopt, _) = load_program(&mut programs, names::PROGRAM_ADOPT)?;
    let inner = |name| {
        let definition = parsed.maps.get(name).and_then(aya_obj::Map::inner);
        definition.ok_or(OpenError::Missing { kind: "inner map of", name })
    };
    let inner_maker = InnerMaker {
        // As any other ring but that its length may be any.
        sequence: inner(names::SEQUENCES)?,
        ring: inner(names::RINGS_SMALL)?,
        service_lines: inner(names::SERVICE_LINES)?,
        btf,
    };
    let kernel_log = kernel_log(&mut programs);
    Ok(Loaded { director, egress, expire, adopt, inner_maker, warnings, kernel_log })
}

/// Entries of the maps whose size is configured.
fn map_sizes(limits: &Limits) -> [(&'static str, u32); 6] {
    [
        (names::CONNECTIONS, limits.buckets()),
        (names::EMBRYONIC_ORDER, limits.embryonic_slots()),
        (names::DIRTY, limits.buckets().div_ceil(BUCKETS_PER_WORD)),
        (names::DESTINATIONS, limits.destinations),
        (names::LOADS, limits.destinations),
        (names::COUNTERS, limits.destinations),
    ]
}

/// An agent that died while it loaded leaves some maps but no link, so no packet has ever seen them:
/// better a fresh set than one of mixed sizes.
fn remove_remains(directory: &Path) -> Result<(), OpenError> {
    let pinned = names::DIRECTOR_MAPS.iter().filter(|name| directory.join(name).exists()).count();
    if (1..names::DIRECTOR_MAPS.len()).contains(&pinned) && pinned_links(directory)?.is_empty() {
        let failed = |reason| OpenError::Directory { path: directory.to_owned(), reason };
        bpffs::remove(directory).map_err(failed)?;
        bpffs::create(directory)?;
    }
    Ok(())
}

/// Compares what is pinned with what the object defines. A different type or layout is an error, a
/// different capacity is kept and told.
fn check_pinned(
    object: &aya_obj::Object,
    sizes: &[(&str, u32)],
    directory: &Path,
) -> Result<Vec<String>, OpenError> {
    let mut warnings = Vec::new();
    for name in names::DIRECTOR_MAPS {
        let path = directory.join(name);
        let Some(definition) = object.maps.get(name).filter(|_| path.exists()) else {
            continue;
        };
        let failed = |reason| OpenError::Directory { path: path.clone(), reason: io::Error::other(reason) };
        let pinned = MapInfo::from_pin(&path).map_err(failed)?;
        let kind = pinned.map_type().map_err(failed)? as u32;
        for (property, found, expected) in [
            ("type", kind, definition.map_type()),
            ("key size", pinned.key_size(), definition.key_size()),
            ("value size", pinned.value_size(), definition.value_size()),
            ("flags", pinned.map_flags(), definition.map_flags()),
        ] {
            if found != expected {
                let directory = directory.to_owned();
                return Err(OpenError::Mismatch { path, directory, property, found, expected });
            }
        }
        let configured = sizes.iter().find(|(sized, _)| *sized == name).map(|(_, size)| *size);
        let wanted = configured.unwrap_or(definition.max_entries());
        // Of the connection table a limit is told, which its size does not tell.
        if pinned.max_entries() != wanted && ![names::CONNECTIONS, names::DIRTY].contains(&name) {
            warnings.push(kept(name, &format!("{} entries", pinned.max_entries()), wanted));
        }
    }
    Ok(warnings)
}

/// What the operator is told of the connection table where it is not as `limits` wants it.
pub(super) fn kept_connections(maps: &Maps, limits: &Limits) -> Option<String> {
    let (limit, buckets) = (maps.shape.connections, maps.connections.capacity());
    if limit != limits.connections {
        return Some(kept(names::CONNECTIONS, &format!("limit of {limit} connections"), limits.connections));
    }
    let entries = |buckets: u32| buckets.saturating_mul(ENTRIES_PER_BUCKET as u32);
    let room = format!("{} entries", entries(buckets));
    (buckets != limits.buckets()).then(|| kept(names::CONNECTIONS, &room, entries(limits.buckets())))
}

fn kept(map: &str, what: &str, wanted: u32) -> String {
    format!(
        "map {map} keeps its {what}; {wanted} take effect when lvsd starts without the old maps, after it was \
         stopped with its maps removed"
    )
}

/// Loads one program and returns it with the type information it refers to.
fn load_program(programs: &mut Ebpf, name: &'static str) -> Result<(OwnedFd, OwnedFd), OpenError> {
    let refused = |reason| OpenError::Program { name, reason: Box::new(reason) };
    let program = programs.program_mut(name).ok_or(OpenError::Missing { kind: "program", name })?;
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(refused)?;
    let btf = program.info().map_err(refused)?.btf_id().unwrap_or_default();
    let btf = syscall::open_btf(btf).map_err(|reason| OpenError::Btf { name, reason })?;
    let descriptor = program.fd().map_err(refused)?.as_fd().try_clone_to_owned();
    let descriptor =
        descriptor.map_err(|reason| OpenError::Directory { path: PathBuf::from("/proc/self/fd"), reason })?;
    Ok((descriptor, btf))
}

/// Kernels before 5.11 count maps as locked memory. Newer ones do not, so failing here is no news.
fn raise_memory_limit() {
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        debug!(%error, "the limit of locked memory stays as it is");
    }
}

/// What the kernel's error number does not say.
fn hint(error: &EbpfError) -> String {
    let mut causes = iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source());
    let number = causes.find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    match (number, getrlimit(Resource::RLIMIT_MEMLOCK)) {
        (Some(libc::EPERM), Ok((limit, _))) if limit != RLIM_INFINITY => {
            format!("; locked memory is limited to {limit} bytes (`ulimit -l`)")
        }
        (Some(libc::EINVAL), _) => "; has the kernel refused the object's type information (BTF)? \
             `bpftool -d prog loadall` tells"
            .to_owned(),
        _ => String::new(),
    }
}
