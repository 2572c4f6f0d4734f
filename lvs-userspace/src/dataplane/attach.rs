//! Brings the director's program to its interfaces. Every link is pinned as `link_<index>`, so that it
//! outlives the agent; the next agent puts its own program into the same link.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::egress;
use super::error::{AttachError, EgressError};
use super::interface::{self, AttachMode};
use super::syscall::{self, MODE_GENERIC, MODE_NATIVE};

const LINK_PREFIX: &str = "link_";

/// Above this MTU in bytes a packet does not fit the one page that XDP without fragments works on.
const MTU_SUSPECT: u32 = 3400;

/// The program on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub interface: String,
    pub index: u32,
    pub mode: AttachMode,
}

/// The program to attach and where its links are pinned.
#[derive(Debug)]
pub(crate) struct Attacher {
    pub(crate) directory: PathBuf,
    pub(crate) program: OwnedFd,
    /// The program for what leaves, where there is one,
    pub(crate) egress: Option<OwnedFd>,
    /// and whether it belongs on the interfaces.
    pub(crate) wants_egress: bool,
}

impl Attacher {
    /// Puts the program on exactly these interfaces and takes it off the others. Each step is complete in
    /// itself: after an error some interfaces have the program and the rest are as they were.
    pub(crate) fn attach(
        &self,
        interfaces: &[String],
        allow_generic: bool,
    ) -> Result<Vec<Attachment>, AttachError> {
        let wanted = indices(interfaces)?;
        let mut pinned = pinned_links(&self.directory)?;
        let mut attachments = Vec::new();
        for (index, interface) in wanted {
            // A link whose interface is gone says 0; another interface may have come to its index.
            let adopted = match pinned.remove(&index) {
                Some(link) if link_interface(&link, &self.directory)? == index => Some(link),
                Some(stale) => {
                    remove(&stale, &self.directory, index)?;
                    None
                }
                None => None,
            };
            let mode = match adopted {
                Some(link) => self.replace(&link, index, interface)?,
                None => self.attach_new(index, interface, allow_generic)?,
            };
            self.follow_egress(index).map_err(|reason| egress_failed(interface, reason))?;
            if mode == AttachMode::Generic {
                warn!(interface, "XDP runs in generic mode: several times slower than in the driver");
            }
            attachments.push(Attachment { interface: interface.to_owned(), index, mode });
        }
        for (index, link) in pinned {
            info!(index, "taking the program off an interface that is not configured any more, or is gone");
            remove(&link, &self.directory, index)?;
        }
        Ok(attachments)
    }

    fn follow_egress(&self, index: u32) -> Result<(), EgressError> {
        match &self.egress {
            Some(program) if self.wants_egress => egress::attach(program.as_fd(), index, &self.directory),
            Some(_) => egress::detach(index, &self.directory),
            None => Ok(()),
        }
    }

    /// Whether an earlier agent has put its program for what leaves on any of the interfaces.
    pub(super) fn found_egress(&self, interfaces: &[String]) -> Result<bool, AttachError> {
        for (index, interface) in indices(interfaces)? {
            let found = egress::is_attached(index);
            if found.map_err(|reason| egress_failed(interface, EgressError::Query(reason)))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn pin_path(&self, index: u32) -> PathBuf {
        pin_path(&self.directory, index)
    }

    /// The link stays, the program changes: no packet passes without one.
    fn replace(&self, link: &OwnedFd, index: u32, interface: &str) -> Result<AttachMode, AttachError> {
        let state = query(index, interface)?;
        let info = syscall::link_info(link.as_fd())
            .map_err(|reason| AttachError::Replace { interface: interface.to_owned(), reason })?;
        if info.program != state.program {
            let path = self.pin_path(index);
            return Err(AttachError::Foreign { interface: interface.to_owned(), path });
        }
        syscall::replace_program(link.as_fd(), self.program.as_fd())
            .map_err(|reason| AttachError::Replace { interface: interface.to_owned(), reason })?;
        Ok(state.mode.unwrap_or(AttachMode::Native))
    }

    fn attach_new(
        &self,
        index: u32,
        interface: &str,
        allow_generic: bool,
    ) -> Result<AttachMode, AttachError> {
        let state = query(index, interface)?;
        let name = || interface.to_owned();
        if state.program != 0 {
            return Err(AttachError::Occupied { interface: name(), program: state.program });
        }
        let native = syscall::link_xdp(self.program.as_fd(), index, MODE_NATIVE);
        let (link, mode) = match native {
            Ok(link) => (link, AttachMode::Native),
            // A driver that has XDP but refuses it now; one that has none says "not supported".
            Err(reason)
                if !allow_generic
                    && state.mtu > MTU_SUSPECT
                    && reason.raw_os_error() != Some(libc::EOPNOTSUPP) =>
            {
                return Err(AttachError::Mtu { interface: name(), mtu: state.mtu, reason });
            }
            Err(reason) if !allow_generic => {
                return Err(AttachError::NotNative { interface: name(), reason });
            }
            Err(refusal) => {
                warn!(interface, mtu = state.mtu, %refusal, "the driver refuses native XDP");
                let link = syscall::link_xdp(self.program.as_fd(), index, MODE_GENERIC)
                    .map_err(|reason| AttachError::NotGeneric { interface: name(), reason })?;
                (link, AttachMode::Generic)
            }
        };
        let path = self.pin_path(index);
        syscall::pin(link.as_fd(), &path).map_err(|reason| AttachError::Pin { path, reason })?;
        Ok(mode)
    }

    pub(super) fn detach_all(&self) -> Result<(), AttachError> {
        detach_all(&self.directory)
    }
}

/// Takes every program off whose link is pinned in `directory`.
pub(crate) fn detach_all(directory: &Path) -> Result<(), AttachError> {
    for (index, link) in pinned_links(directory)? {
        remove(&link, directory, index)?;
    }
    Ok(())
}

/// The pinned links by the index of the interface they were made for.
pub(super) fn pinned_links(directory: &Path) -> Result<BTreeMap<u32, OwnedFd>, AttachError> {
    let failed = |reason| AttachError::Pin { path: directory.to_owned(), reason };
    let mut links = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(index) = name.strip_prefix(LINK_PREFIX).and_then(|index| index.parse().ok()) {
            let link = syscall::open_pin(&path).map_err(|reason| AttachError::Pin { path, reason })?;
            links.insert(index, link);
        }
    }
    Ok(links)
}

fn link_interface(link: &OwnedFd, directory: &Path) -> Result<u32, AttachError> {
    let info = syscall::link_info(link.as_fd());
    Ok(info.map_err(|reason| AttachError::Pin { path: directory.to_owned(), reason })?.interface)
}

/// The program for what leaves goes first: the link says where it may be.
fn remove(link: &OwnedFd, directory: &Path, index: u32) -> Result<(), AttachError> {
    let is_here = link_interface(link, directory)? == index;
    if is_here { egress::detach(index, directory) } else { egress::forget(directory, index) }
        .map_err(|reason| egress_failed(&format!("with index {index}"), reason))?;
    let path = pin_path(directory, index);
    let gone = |error: &io::Error| error.raw_os_error() == Some(libc::ENOLINK);
    match syscall::detach(link.as_fd()) {
        Err(reason) if !gone(&reason) => Err(AttachError::Pin { path, reason }),
        _ => fs::remove_file(&path).map_err(|reason| AttachError::Pin { path, reason }),
    }
}

fn pin_path(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("{LINK_PREFIX}{index}"))
}

fn indices(interfaces: &[String]) -> Result<Vec<(u32, &str)>, AttachError> {
    let index = |name: &'_ String| nix::net::if_::if_nametoindex(name.as_str());
    let found = interfaces.iter().map(|name| match index(name) {
        Ok(index) => Ok((index, name.as_str())),
        Err(_) => Err(AttachError::NoInterface(name.clone())),
    });
    found.collect()
}

fn egress_failed(interface: &str, reason: EgressError) -> AttachError {
    AttachError::Egress { interface: interface.to_owned(), reason }
}

fn query(index: u32, name: &str) -> Result<interface::InterfaceState, AttachError> {
    interface::query(index).map_err(|reason| AttachError::Query { interface: name.to_owned(), reason })
}
