//! `cargo xtask sim`: the cluster simulator, over as many seeds as one likes.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::command;

#[derive(Args)]
pub(crate) struct Options {
    /// For the simulator: --seeds, --first, --trace.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    command::run(command::cargo().args(["build", "--release", "-p", "lvs-tests", "--bin", "lvs-sim"]))?;
    let mut simulator = Command::new(command::workspace().join("target/release/lvs-sim"));
    let status = simulator.args(&options.arguments).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
