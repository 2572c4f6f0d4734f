//! What the kernel says of its memory.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::MapData;

/// Memory of the maps in a directory of pins, as the kernel accounts it: what their tables and the entries
/// in them take.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) total: u64,
    /// By name.
    pub(super) maps: Vec<(String, u64)>,
}

pub(super) fn maps(pins: &Path) -> Result<Memory> {
    let mut maps = Vec::new();
    let entries = fs::read_dir(pins).with_context(|| format!("cannot read {}", pins.display()))?;
    for path in entries.map(|entry| entry.map(|entry| entry.path())) {
        let path = path?;
        // Programs and links are pinned there as well.
        let Ok(map) = MapData::from_pin(&path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        maps.push((name, accounted(&map)?));
    }
    anyhow::ensure!(!maps.is_empty(), "no map in {}", pins.display());
    Ok(Memory { total: maps.iter().map(|(_, bytes)| bytes).sum(), maps })
}

fn accounted(map: &MapData) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = fs::read_to_string(&path)?;
    number(&text, "memlock:").with_context(|| format!("{path} names no memory"))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc() {
        assert_eq!(number("map_type:\t1\nmemlock:\t4096\n", "memlock:"), Some(4096));
        assert_eq!(number("SUnreclaim:      23680 kB\n", "SUnreclaim:"), Some(23_680));
        assert_eq!(number("", "memlock:"), None);
    }
}
