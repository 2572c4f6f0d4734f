//! Every chore of the project is one subcommand of `cargo xtask`.

mod build_ebpf;
mod command;
mod object_table;
mod packages;
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of lvs-xdp", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the eBPF objects into target/ebpf and print what the kernel makes of them.
    BuildEbpf(build_ebpf::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::BuildEbpf(options) => build_ebpf::run(&options).map(|()| ExitCode::SUCCESS),
    };
    finish(result)
}

fn finish(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
