//! The right to change this machine in the name of an instance.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Error;
use crate::changes::file_error;

/// A lock on the directory `/run/<instance>`, so that no lock file is left behind.
pub(super) struct Lock {
    directory: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Makes the directory if it is missing.
    pub(super) fn take(instance: &str) -> Result<Self, Error> {
        let directory = Path::new("/run").join(instance);
        fs::create_dir_all(&directory).map_err(file_error(&directory))?;
        let file = File::open(&directory).map_err(file_error(&directory))?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => Error::Locked { instance: instance.to_owned(), path: directory.clone() },
            errno => file_error(&directory)(errno.into()).into(),
        })?;
        Ok(Self { directory, _file: file })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}
