//! The kernel's side of the director, and the only writer of its maps.
//!
//! [`Dataplane`] loads the programs, adopts what an earlier agent left pinned, and carries out control's
//! commands. [`Readback`], [`Sweeper`], [`LeaseWriter`], [`FlowReader`], [`FlowWriter`] and [`Events`] are handles to
//! the same maps for other threads.

mod apply;
pub(crate) mod attach;
pub(crate) mod bpffs;
mod egress;
mod error;
mod events;
mod flows;
mod inner_maps;
mod interface;
mod lease;
mod loader;
mod maps;
mod memory;
mod netlink;
pub mod object;
mod probes;
mod readback;
mod service_lines;
mod sweep;
mod syscall;
mod table;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use attach::Attachment;
pub use error::{ApplyError, AttachError, EgressError, MapError, OpenError, RefreshError};
pub use events::Events;
pub use flows::{Cells, FlowReader, FlowWriter};
pub use interface::AttachMode;
pub use lease::LeaseWriter;
pub use loader::KernelLog;
pub use probes::{Passage, Probes};
pub use readback::{ConnectionEntry, Readback};
pub use sweep::{SweepReport, Sweeper, now_ticks};
pub use syscall::monotonic_nanoseconds;

use lvs_common::settings::Interface;
use tracing::warn;

use crate::config::model::Limits;
use crate::control::command::{Command, Snapshot};

use attach::Attacher;
use inner_maps::InnerMaker;
use maps::Maps;

/// What [`Dataplane::open`] needs to know.
#[derive(Clone, Debug)]
pub struct OpenOptions<'a> {
    /// Keeps apart the directors of one machine: letters, digits, `-` and `_`.
    pub instance: &'a str,
    /// The director's ELF object.
    pub object: &'a [u8],
    pub limits: Limits,
    /// Names of the interfaces to attach to, in the network namespace of the calling thread.
    pub interfaces: Vec<String>,
    /// Whether an interface whose driver has no XDP may run the slower generic mode.
    pub allow_generic: bool,
}

/// A loaded director. Dropping it leaves programs and maps at work; see [`Dataplane::close`].
#[derive(Debug)]
pub struct Dataplane {
    directory: PathBuf,
    maps: Arc<Maps>,
    inner_maker: InnerMaker,
    /// See [`apply::apply`].
    unpublished: bool,
    expire: Arc<OwnedFd>,
    probes: Probes,
    adopt: Arc<OwnedFd>,
    attacher: Attacher,
    attachments: Vec<Attachment>,
    warnings: Vec<String>,
    kernel_log: Option<KernelLog>,
}

impl Dataplane {
    /// Loads the programs onto the pinned maps, or onto new ones, and puts them on the interfaces. Where an
    /// older program runs it is replaced between two packets.
    pub fn open(options: &OpenOptions<'_>) -> Result<Self, OpenError> {
        if options.object.is_empty() {
            return Err(OpenError::EmptyObject);
        }
        let directory = bpffs::instance_directory(options.instance)?;
        if !may_load() {
            return Err(OpenError::NotPermitted);
        }
        bpffs::create(&directory)?;
        let mut loaded = loader::load(options.object, &options.limits, &directory)?;
        let maps = Arc::new(Maps::open(&directory, options.limits.connections)?);
        if let Some(warning) = loader::kept_connections(&maps, &options.limits) {
            warn!("{warning}");
            loaded.warnings.push(warning);
        }
        // An agent may have died between the two forms of its services.
        apply::publish_services(&maps, &loaded.inner_maker)?;
        let probes = Probes::new(Arc::clone(&maps))?;
        let mut attacher = Attacher {
            directory: directory.clone(),
            program: loaded.director,
            egress: Some(loaded.egress),
            wants_egress: false,
        };
        attacher.wants_egress = attacher.found_egress(&options.interfaces)?;
        let attachments = attacher.attach(&options.interfaces, options.allow_generic)?;
        let mut dataplane = Self {
            directory,
            maps,
            inner_maker: loaded.inner_maker,
            unpublished: false,
            expire: Arc::new(loaded.expire),
            probes,
            adopt: Arc::new(loaded.adopt),
            attacher,
            attachments,
            warnings: loaded.warnings,
            kernel_log: loaded.kernel_log,
        };
        dataplane.refresh_interfaces()?;
        // An earlier agent may have followed the table.
        dataplane.follow(false)?;
        Ok(dataplane)
    }

    /// Tells the program the MACs of its interfaces. To be repeated: a bond takes over another's.
    pub fn refresh_interfaces(&mut self) -> Result<(), RefreshError> {
        let known: BTreeMap<u32, Interface> = self.maps.interfaces.all()?.into_iter().collect();
        for attachment in &self.attachments {
            let state = interface::query(attachment.index)
                .map_err(|reason| RefreshError::Query { interface: attachment.interface.clone(), reason })?;
            let value = Interface { mac: state.mac, reserved: 0 };
            if known.get(&attachment.index) != Some(&value) {
                self.maps.interfaces.set(&attachment.index, &value)?;
            }
        }
        for index in known.keys() {
            if !self.attachments.iter().any(|attachment| attachment.index == *index) {
                self.maps.interfaces.remove(index)?;
            }
        }
        Ok(())
    }

    /// Carries out commands in order. On an error those before the named one are carried out; take a new
    /// [`Dataplane::snapshot`] before planning again. Services that were written and could not be made visible
    /// to packets are made so by the next call first.
    pub fn apply(&mut self, commands: &[Command]) -> Result<(), ApplyError> {
        apply::apply(&self.maps, &self.inner_maker, &mut self.unpublished, commands)
    }

    /// Everything control decides about, as it is in the kernel.
    pub fn snapshot(&self) -> Result<Snapshot, MapError> {
        self.readback().snapshot()
    }

    /// Whether [`Self::attach`] is to put the program for what leaves on the interfaces too. In the beginning
    /// as an earlier agent left it.
    pub const fn want_egress(&mut self, wanted: bool) {
        self.attacher.wants_egress = wanted;
    }

    /// Puts the program on exactly these interfaces, and says how.
    pub fn attach(
        &mut self,
        interfaces: &[String],
        allow_generic: bool,
    ) -> Result<&[Attachment], AttachError> {
        self.attachments = self.attacher.attach(interfaces, allow_generic)?;
        self.refresh_interfaces()?;
        Ok(&self.attachments)
    }

    /// The interfaces that see packets, and in which mode.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// What the operator should know about the start, such as a size that could not take effect.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The director's program, for BPF_PROG_TEST_RUN.
    pub fn director(&self) -> BorrowedFd<'_> {
        self.attacher.program.as_fd()
    }

    /// The program for what leaves, likewise.
    pub fn egress(&self) -> Option<BorrowedFd<'_>> {
        self.attacher.egress.as_ref().map(AsFd::as_fd)
    }

    /// Entries of `DESTINATIONS`, and so of [`Readback::counters`] and [`Readback::loads`].
    pub fn destination_capacity(&self) -> u32 {
        self.maps.destinations.capacity()
    }

    pub fn readback(&self) -> Readback {
        Readback { maps: Arc::clone(&self.maps) }
    }

    /// For health checks that take the path of the clients' packets.
    pub fn probes(&self) -> Probes {
        self.probes.clone()
    }

    /// One is enough: a pass is through the whole table.
    pub fn sweeper(&self) -> Sweeper {
        Sweeper { maps: Arc::clone(&self.maps), expire: Arc::clone(&self.expire) }
    }

    /// For the thread that keeps a cluster's leases.
    pub fn lease_writer(&self) -> LeaseWriter {
        LeaseWriter { maps: Arc::clone(&self.maps) }
    }

    /// For who replicates the connection table: from now on its changes are marked. One at a time.
    pub fn flow_reader(&self) -> Result<FlowReader, MapError> {
        let reader = FlowReader::open(&self.maps)?;
        self.follow(true)?;
        Ok(reader)
    }

    /// For who takes over another director's connections.
    pub fn flow_writer(&self) -> Result<FlowWriter, MapError> {
        FlowWriter::open(&self.maps, Arc::clone(&self.adopt))
    }

    /// Whether changes of the connection table are marked. To be switched off when its reader is gone, for marks cost
    /// a little.
    pub fn follow(&self, followed: bool) -> Result<(), MapError> {
        self.maps.followed.store(followed, Ordering::Relaxed);
        // Settings that are still to come get it when they are written.
        let written = self.maps.settings.get(&0)?.filter(|settings| settings.timeouts != [0; 16]);
        match written.map(|settings| (settings, apply::fitted(&self.maps, &settings))) {
            Some((settings, fitted)) if settings != fitted => self.maps.settings.set(&0, &fitted),
            _ => Ok(()),
        }
    }

    /// What the programs say of each packet, where program and agent were built with `debug-log`. Once.
    pub fn take_kernel_log(&mut self) -> Option<KernelLog> {
        self.kernel_log.take()
    }

    /// One at a time: two readers would share one position.
    pub fn events(&self) -> Result<Events, MapError> {
        Events::open(&self.directory)
    }

    /// Ends the agent's part. With `keep` packets go on as before, for the next agent to adopt; without it
    /// the program leaves its interfaces and every map is given up.
    pub fn close(self, keep: bool) -> Result<(), AttachError> {
        if keep {
            return Ok(());
        }
        self.attacher.detach_all()?;
        let failed = |reason| AttachError::Pin { path: self.directory.clone(), reason };
        bpffs::remove(&self.directory).map_err(failed)
    }
}

/// Root, or the capabilities that stand for it here (capabilities(7)): CAP_SYS_ADMIN, or CAP_BPF,
/// CAP_PERFMON and CAP_NET_ADMIN.
fn may_load() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(bits) = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()) else {
        return nix::unistd::geteuid().is_root();
    };
    let has = |capability: u32| bits & 1 << capability != 0;
    has(21) || [39, 38, 12].into_iter().all(has)
}
