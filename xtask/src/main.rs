//! Every chore of the project is one subcommand of `cargo xtask`.

mod bench;
mod btf;
mod build;
mod build_ebpf;
mod command;
mod initramfs;
mod kernel;
mod lab;
mod object_table;
mod packages;
mod sim;
mod test;
mod toolchain;
mod vm;

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
    /// Lint the eBPF crate with the toolchain it is built with; warnings are errors.
    ClippyEbpf,
    /// Build everything and run the tests, the cheapest first; ends with a count of passed and failed.
    Test(test::Options),
    /// Run the packet tests on another kernel in a virtual machine.
    Vm(vm::Options),
    /// Show the balancer at work in a network of namespaces.
    Demo(lab::DemoOptions),
    /// Measure what packets, connections and changes cost, and compare with the recorded run.
    Bench(bench::Options),
    /// Run seeds of the cluster simulator.
    Sim(sim::Options),
    /// Make the lab's network, work in it, record its packets, remove it.
    Lab(lab::LabOptions),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::BuildEbpf(options) => build_ebpf::run(&options).map(|()| ExitCode::SUCCESS),
        Task::ClippyEbpf => build_ebpf::clippy().map(|()| ExitCode::SUCCESS),
        Task::Test(options) => test::run(&options),
        Task::Vm(options) => vm::run(&options),
        Task::Demo(options) => lab::demo(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Sim(options) => sim::run(&options),
        Task::Lab(options) => lab::run(&options),
    };
    finish(result)
}

fn finish(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
