//! Debian's own servers, each with a configuration of its own in a directory of the lab, so that nothing of
//! the machine's configuration is read or touched.

pub mod certificates;
pub mod daemons;
pub mod inn;
pub mod misbehaving;
pub mod postfix;
pub mod rsyslog;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::namespace::Namespace;

/// How long a server may take to serve.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that servers under users of their own can enter and write to.
pub fn directory(lab: &Path, name: &str) -> Result<PathBuf> {
    let directory = lab.join(name);
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for path in [lab, &directory] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(directory)
}

/// Hands a file or directory to a user of the machine.
pub fn give(path: &Path, user: &str) -> Result<()> {
    let user = nix::unistd::User::from_name(user)?.with_context(|| format!("there is no user {user}"))?;
    nix::unistd::chown(path, Some(user.uid), Some(user.gid))?;
    Ok(())
}

/// Does anything in the namespace listen on this port of TCP or UDP?
pub fn listens(namespace: &Namespace, protocol: &str, port: u16) -> bool {
    let (protocol, port) = (format!("--{protocol}"), port.to_string());
    namespace
        .run("ss", &["--no-header", "--listening", &protocol, "--numeric", "sport", "=", &port])
        .is_ok_and(|list| !list.trim().is_empty())
}
