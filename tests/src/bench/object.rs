//! The eBPF objects of the benchmark, which are no part of the agent: read from a file at run time.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};

/// Where the objects are, if not where `cargo xtask` puts them.
const DIRECTORY: &str = "LVS_BENCH_EBPF_DIR";

/// The bytes of the object with this name, a binary of lvs-ebpf.
pub fn read(name: &str) -> Result<Vec<u8>> {
    let path = directory().join(name);
    fs::read(&path).with_context(|| format!("cannot read {}: `cargo xtask bench` builds it", path.display()))
}

fn directory() -> PathBuf {
    env::var_os(DIRECTORY)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf-bench"), PathBuf::from)
}
