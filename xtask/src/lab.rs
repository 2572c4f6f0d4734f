//! `cargo xtask demo` and `cargo xtask lab`: the network of namespaces, which the binary lvs-lab makes.

use std::{os::unix::process::CommandExt, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    build, command,
    packages::{self, LAB},
};

const BINARY: &str = "lvs-lab";

#[derive(Args)]
pub(crate) struct DemoOptions {
    /// Leave the network up afterwards; `cargo xtask lab down` removes it.
    #[arg(long)]
    keep: bool,
}

#[derive(Args)]
pub(crate) struct LabOptions {
    /// `up`, `exec`, `pcap`, `down`, `scale` or `matrix` with their arguments; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<String>,
}

pub(crate) fn demo(options: &DemoOptions) -> Result<ExitCode> {
    let keep = options.keep.then(|| "--keep".to_owned());
    build::everything()?;
    become_lab(std::iter::once("demo".to_owned()).chain(keep))
}

pub(crate) fn run(options: &LabOptions) -> Result<ExitCode> {
    // The others act on a network that is up, with the programs it was made with.
    if options.arguments.first().is_some_and(|action| ["up", "scale", "matrix"].contains(&action.as_str())) {
        build::everything()?;
    }
    become_lab(options.arguments.iter().cloned())
}

/// Replaces this process: terminal, signals and exit code are the lab's own. Comes back with an error only.
fn become_lab(arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    packages::ensure_tools(LAB)?;
    let mut lab = command::as_root(build::binary(BINARY)?);
    Err(lab.args(arguments).exec()).with_context(|| format!("cannot start `{}`", command::show(&lab)))
}
