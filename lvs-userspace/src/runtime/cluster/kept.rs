//! A file that the next life of this director reads, on a file system that goes with the machine.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an earlier life has left; nothing, if that cannot be read.
pub(super) fn read<T: DeserializeOwned + Default>(path: &Path) -> T {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Whole or not at all, should this life end meanwhile.
pub(super) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, serde_json::to_vec(value)?)?;
    std::fs::rename(&next, path)
}
