//! The BPF file system, where maps and links outlive the agent.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lvs_common::LAYOUT_VERSION;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use tracing::warn;

use super::error::OpenError;

const BPFFS: &str = "/sys/fs/bpf";

/// `/sys/fs/bpf/<instance>/v<layout version>`: maps of another layout are never mistaken for ours.
pub(crate) fn instance_directory(instance: &str) -> Result<PathBuf, OpenError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=64).contains(&instance.len()) && instance.chars().all(is_allowed) {
        Ok(Path::new(BPFFS).join(instance).join(format!("v{LAYOUT_VERSION}")))
    } else {
        Err(OpenError::InstanceName(instance.to_owned()))
    }
}

/// Makes the directory, and mounts the file system if nobody has.
pub(crate) fn create(directory: &Path) -> Result<(), OpenError> {
    let root = Path::new(BPFFS);
    ensure_mounted(root).map_err(|reason| OpenError::NoBpffs { path: root.to_owned(), reason })?;
    fs::create_dir_all(directory)
        .map_err(|reason| OpenError::Directory { path: directory.to_owned(), reason })
}

fn ensure_mounted(root: &Path) -> io::Result<()> {
    if is_bpffs(root)? {
        return Ok(());
    }
    // Two agents that start together must not mount twice: the second mount would hide the first.
    let _lock = Flock::lock(File::open(root)?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    if !is_bpffs(root)? {
        mount(Some("bpf"), root, Some("bpf"), MsFlags::empty(), None::<&str>)?;
        if !shares_mounts_with_the_machine() {
            let path = root.display();
            warn!(
                "no BPF file system was mounted at {path}: one is now, but it is seen and kept by this process alone, so that \
                 nothing is forwarded any more when it ends; have the machine mount it: mount -t bpf bpf {path}"
            );
        }
    }
    Ok(())
}

/// Services of systemd may have a mount namespace of their own; so may programs in containers.
fn shares_mounts_with_the_machine() -> bool {
    let namespace = |process: &str| fs::read_link(Path::new("/proc").join(process).join("ns/mnt"));
    match (namespace("self"), namespace("1")) {
        (Ok(own), Ok(first)) => own == first,
        // Without /proc, or without the right to look: nothing is known.
        _ => true,
    }
}

fn is_bpffs(root: &Path) -> io::Result<bool> {
    Ok(statfs(root)?.filesystem_type() == BPF_FS_MAGIC)
}

/// Removes every pin, the directory, and the instance's directory if nothing else is in it.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        fs::remove_file(entry?.path())?;
    }
    fs::remove_dir(directory)?;
    match directory.parent().map(fs::remove_dir) {
        Some(Err(error)) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_name_cannot_leave_its_place() {
        assert_eq!(instance_directory("lvs").unwrap(), Path::new("/sys/fs/bpf/lvs/v2"));
        for name in ["", ".", "..", "a/b", "a.b", "a b", &"x".repeat(65)] {
            assert!(matches!(instance_directory(name), Err(OpenError::InstanceName(_))), "{name:?}");
        }
    }
}
