//! Settings of the kernel below /proc/sys/net, which shows the network namespace of the reading thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::changes::{Change, Target};
use super::journal::{Journal, file_error};
use super::{Error, Options};

/// A setting and the values it may have.
pub(super) struct Setting {
    name: String,
    fits: fn(u32) -> bool,
    /// What it gets otherwise.
    value: u32,
}

/// For an interface the kernel uses the larger one of its own value and that of `all`.
pub(super) fn wanted(options: &Options, interfaces: &[String]) -> Vec<Setting> {
    // IPv6 needs none: it answers for an address only on the interface that has it, and knows no filter
    // of return paths.
    if !options.vip.iter().any(|vip| vip.is_ipv4()) {
        return Vec::new();
    }
    let mut settings = Vec::new();
    for place in std::iter::once("all").chain(interfaces.iter().map(String::as_str)) {
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
    // A client's packet may come in where the way back to the client does not lead. 2 (loose) is larger
    // than 1 (strict), so it is enough whatever `all` says, and no other interface is touched.
    let fits: fn(u32) -> bool = match read(&rp_filter("all")) {
        Ok(1) => |value| value == 2,
        Ok(2) => |_| true,
        _ => |value| value != 1,
    };
    settings.extend(interfaces.iter().map(|interface| Setting {
        name: rp_filter(interface),
        fits,
        value: 2,
    }));
    settings
}

fn rp_filter(place: &str) -> String {
    format!("net/ipv4/conf/{place}/rp_filter")
}

impl Setting {
    pub(super) fn apply(&self, journal: &mut Journal) -> Result<(), Error> {
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

pub(super) fn undo(name: &str, change: &Change) -> Result<(), Error> {
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

fn read(name: &str) -> io::Result<u32> {
    let text = fs::read_to_string(path(name))?;
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} is no number")))
}

fn write(name: &str, value: u32) -> Result<(), Error> {
    let path = path(name);
    fs::write(&path, value.to_string()).map_err(file_error(&path))
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
