//! Settings of the kernel below /proc/sys/net, which shows the network namespace of the reading thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::journal::Journal;
use super::{Change, Error, Target, file_error};

/// A setting and the values it may have.
pub(crate) struct Setting {
    /// Below /proc/sys.
    pub(crate) name: String,
    pub(crate) fits: fn(u32) -> bool,
    /// What it gets otherwise.
    pub(crate) value: u32,
}

/// Answers for an address only on the interface that has it, and never names it as the sender of a question
/// on another one: for all interfaces, and for `interfaces`, for which the kernel uses the larger one of both.
pub(crate) fn quiet_arp<'a>(interfaces: impl IntoIterator<Item = &'a str>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for place in std::iter::once("all").chain(interfaces) {
        settings.push(Setting {
            name: format!("net/ipv4/conf/{place}/arp_ignore"),
            // 1: answer only for addresses of the interface asked on. 2 and 8 are stricter; 3 is larger
            // and yet lets addresses of lo be answered for.
            fits: |value| matches!(value, 1 | 2 | 8),
            value: 1,
        });
        settings.push(Setting {
            name: format!("net/ipv4/conf/{place}/arp_announce"),
            // 2: never name an address of another interface as the sender of a question.
            fits: |value| value == 2,
            value: 2,
        });
    }
    settings
}

impl Setting {
    pub(crate) fn apply(&self, journal: &mut Journal) -> Result<(), Error> {
        let target = Target::Sysctl(self.name.clone());
        let before = read(&self.name).map_err(file_error(&path(&self.name)))?;
        if (self.fits)(before) {
            journal.keep(&target);
            return Ok(());
        }
        journal.record(Change { target, before: Some(before), after: Some(self.value) })?;
        write(&self.name, self.value)
    }
}

pub(crate) fn undo(name: &str, change: &Change) -> Result<(), Error> {
    match read(name) {
        Ok(now) if Some(now) == change.after => match change.before {
            Some(before) => write(name, before),
            None => Ok(()),
        },
        Ok(now) if Some(now) == change.before => Ok(()),
        Ok(now) => {
            info!(name, now, "changed by somebody else since, left as it is");
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            warn!(name, "gone with its interface, nothing to put back");
            Ok(())
        }
        Err(error) => Err(file_error(&path(name))(error)),
    }
}

pub(crate) fn read(name: &str) -> io::Result<u32> {
    let text = fs::read_to_string(path(name))?;
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} is no number")))
}

pub(crate) fn write(name: &str, value: u32) -> Result<(), Error> {
    let path = path(name);
    fs::write(&path, value.to_string()).map_err(file_error(&path))
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
