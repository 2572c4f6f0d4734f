//! Finds the eBPF objects that `cargo xtask build-ebpf` made, for `dataplane::object` to embed.
//!
//! Without them the agent is built with empty objects, so that `cargo check` works on a fresh clone; it says
//! at run time what is missing.

use std::{env, fs, path::PathBuf};

/// Overrides the directory of the objects, for packagers.
const DIRECTORY: &str = "LVS_EBPF_DIR";
const OBJECTS: [&str; 2] = ["director", "realserver"];

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={DIRECTORY}");
    let output = PathBuf::from(variable("OUT_DIR")?);
    let (directory, required) = directory()?;
    println!("cargo::rerun-if-changed={}", directory.display());
    for object in OBJECTS {
        let from = directory.join(object);
        let bytes = if required || from.exists() {
            fs::read(&from).map_err(|error| format!("cannot read {}: {error}", from.display()))?
        } else {
            Vec::new()
        };
        let to = output.join(object);
        fs::write(&to, bytes).map_err(|error| format!("cannot write {}: {error}", to.display()))?;
    }
    Ok(())
}

/// Where the objects are, and whether they must be there.
fn directory() -> Result<(PathBuf, bool), String> {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return Ok((directory.into(), true));
    }
    let directory = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../target/ebpf");
    // Cargo builds again at every call while a path it watches is missing. An empty directory is watched
    // quietly, and the objects' arrival in it is noticed.
    fs::create_dir_all(&directory)
        .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
    Ok((directory, false))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("cargo sets {name} for a build script: {error}"))
}
