//! `cargo xtask bench`: builds everything with optimisation and starts lvs-bench, which measures.

use std::{os::unix::process::CommandExt, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    build, build_ebpf, command,
    packages::{self, BENCH, LAB},
    toolchain::Toolchain,
};

const BINARY: &str = "lvs-bench";

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure: program, traffic, control, memory, sync; everything when left out.
    sections: Vec<String>,
    /// Fewer rounds and cases, in less than two minutes.
    #[arg(long)]
    quick: bool,
    /// Write the run to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Make this run the recorded one, and write it into docs/performance.md.
    #[arg(long)]
    record: bool,
}

/// Replaces this process by lvs-bench. Comes back with an error only.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    packages::ensure_tools(LAB)?;
    packages::ensure_tools(BENCH)?;
    build_ebpf::build(&[])?;
    build_ebpf::build_for_bench()?;
    command::run(command::cargo().args(["build", "--release"]))?;

    let mut bench = command::as_root("env");
    bench
        .arg(format!("LVS_BENCH_EBPF_COMPILER={}", Toolchain::prepare()?.compiler()))
        .arg(command::target_directory().join("release").join(BINARY))
        .arg("--documents")
        .arg(command::workspace().join("docs"))
        .args(build::revision().iter().flat_map(|revision| ["--revision", revision]))
        .args(options.quick.then_some("--quick"))
        .args(options.record.then_some("--record"));
    if let Some(file) = &options.json {
        bench.arg("--json").arg(file);
    }
    bench.args(&options.sections);
    Err(bench.exec()).with_context(|| format!("cannot start `{}`", command::show(&bench)))
}
