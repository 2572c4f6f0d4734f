//! `/run/<instance>`: the right to be the one agent of that name.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Error;

/// `/run/<instance>/lvsd.lock`, locked. The kernel lets go of it when the agent ends, in whatever way.
#[derive(Debug)]
pub(super) struct InstanceLock {
    path: PathBuf,
    _file: Flock<File>,
}

impl InstanceLock {
    pub(super) fn take(instance: &str) -> Result<Self, Error> {
        let directory = Path::new("/run").join(instance);
        fs::create_dir_all(&directory).map_err(failed(&directory))?;
        let path = directory.join("lvsd.lock");
        loop {
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path).map_err(failed(&path))?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    return Err(Error::Running { instance: instance.to_owned(), holder: holder(&mut file) });
                }
                Err((_, errno)) => return Err(failed(&path)(errno.into())),
            };
            // An agent that ends removes the file: a lock on a removed one keeps nobody away.
            let inode = file.metadata().map_err(failed(&path))?.ino();
            if fs::metadata(&path).is_ok_and(|now| now.ino() == inode) {
                file.set_len(0).map_err(failed(&path))?;
                writeln!(file, "{}", std::process::id()).map_err(failed(&path))?;
                return Ok(Self { path, _file: file });
            }
        }
    }

    /// Leaves no file behind, nor the directory if nothing else is in it.
    pub(super) fn release(self) {
        let removed = fs::remove_file(&self.path);
        if let Err(error) = removed {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the lock");
        }
        if let Some(directory) = self.path.parent() {
            // `lvsd realserver` of the same name may keep its file there.
            fs::remove_dir(directory).ok();
        }
    }
}

/// "pid 4711", for the message to the second agent.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!("pid {}", text.trim()),
        _ => "pid unknown".to_owned(),
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { path: path.to_owned(), source }
}
