//! `cargo xtask build-ebpf`: the eBPF objects, where the agent's build finds them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{btf, command, object_table, toolchain::Toolchain};

/// The objects, which are binaries of lvs-ebpf.
pub(crate) const OBJECTS: [&str; 2] = ["director", "realserver"];
/// Those of the benchmark, which no agent carries.
const BENCH_OBJECTS: [&str; 2] = ["bench_program", "bench_traffic"];
const DEBUG_LOG: &str = "debug-log";

#[derive(Args)]
pub(crate) struct Options {
    /// Features of lvs-ebpf. With `debug-log` the programs log; bpftool cannot read such an object.
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// The objects of the benchmark instead, into target/ebpf-bench.
    #[arg(long, conflicts_with = "features")]
    bench: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let objects = if options.bench { build_for_bench()? } else { build(&options.features)? };
    if options.features.iter().any(|feature| feature == DEBUG_LOG) {
        println!("no table of programs and maps: bpftool refuses an object with the maps of {DEBUG_LOG}");
        return Ok(());
    }
    for object in objects {
        object_table::print(&object)?;
    }
    Ok(())
}

/// Builds the objects and gives their places. Quick when nothing has changed.
pub(crate) fn build(features: &[String]) -> Result<Vec<PathBuf>> {
    build_objects(&OBJECTS, features, "ebpf")
}

/// Builds the benchmark's objects, into a directory of their own: the agent is built again whenever the one
/// of its objects changes.
pub(crate) fn build_for_bench() -> Result<Vec<PathBuf>> {
    build_objects(&BENCH_OBJECTS, &[], "ebpf-bench")
}

fn build_objects(objects: &[&str], features: &[String], directory: &str) -> Result<Vec<PathBuf>> {
    let toolchain = Toolchain::prepare()?;
    println!("building the eBPF objects with {}", toolchain.description());
    let build_directory = build_directory();
    let mut cargo = toolchain.build(&build_directory);
    for object in objects {
        cargo.args(["--bin", object]);
    }
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    command::run(&mut cargo)?;

    let built = build_directory.join("bpfel-unknown-none/release");
    let published = command::target_directory().join(directory);
    fs::create_dir_all(&published).with_context(|| format!("cannot create {}", published.display()))?;
    let place = |object: &&str| -> Result<PathBuf> {
        let to = published.join(object);
        publish(&built.join(object), &to)?;
        Ok(to)
    };
    objects.iter().map(place).collect()
}

/// Lints the eBPF crate, which `cargo clippy` leaves out.
pub(crate) fn clippy() -> Result<()> {
    let toolchain = Toolchain::prepare()?;
    command::run(toolchain.clippy(&build_directory())?.args(["--bins", "--lib", "--", "-D", "warnings"]))
}

/// A directory of its own: other flags and another compiler than the rest of the workspace.
fn build_directory() -> PathBuf {
    command::target_directory().join("ebpf-build")
}

/// Puts an object where the agent's build looks for it, with types that the kernel takes. An unchanged file
/// keeps its time, so that the agent is not built again for nothing.
fn publish(from: &Path, to: &Path) -> Result<()> {
    let mut bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    btf::align_unions(&mut bytes).with_context(|| format!("in {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}
