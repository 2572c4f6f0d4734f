//! The lab by hand, and the live demonstration.

mod demo;
mod kept;
mod matrix;
mod setting;
mod table;
mod takeover;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lvs_tests::lab::interrupt::clean_up_on_interrupt;
use lvs_tests::lab::network::Arms;
use lvs_tests::lab::{echo, scale};

/// A client, a director and three real servers in network namespaces.
#[derive(Debug, Parser)]
#[command(name = "lvs-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the balancer does: every method, a drain, a crash of the agent and of a director, under load.
    Demo {
        /// Leave the lab up afterwards, as `cargo xtask lab up` does.
        #[arg(long)]
        keep: bool,
    },
    /// Build a lab with a running balancer that stays until `cargo xtask lab down`.
    Up {
        #[arg(long, value_enum, default_value = "one-armed")]
        topology: Topology,
    },
    /// Run a command on a machine of the lab that is up: client, director, rs1, rs2, rs3 or switch.
    Exec {
        machine: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Record the packets of an interface into a file, until Ctrl-C.
    Pcap { machine: String, interface: String, file: PathBuf },
    /// Measure many health checks from one agent: processor, memory, lateness.
    Scale {
        /// Checks by tcp, each of a real server of its own.
        #[arg(long, default_value_t = 10_000)]
        tcp: u32,
        /// Checks by http besides.
        #[arg(long, default_value_t = 1_000)]
        http: u32,
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// Let the active of two directors fail in every way, under load, with every method and scheduler.
    Matrix(matrix::Options),
    /// Remove the lab that is up, and whatever killed runs left.
    Down,
    /// Serve the lab's TCP and UDP echo and its name server (the lab starts this itself).
    #[command(hide = true)]
    Echo {
        /// What the server calls itself.
        name: String,
        /// Addresses to answer UDP from.
        addresses: Vec<IpAddr>,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Topology {
    /// Director and servers on one wire; servers answer clients directly, except with nat.
    OneArmed,
    /// The director stands between clients and servers, which answer through it.
    TwoArmed,
}

impl From<Topology> for Arms {
    fn from(topology: Topology) -> Self {
        match topology {
            Topology::OneArmed => Self::One,
            Topology::TwoArmed => Self::Two,
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lvs-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Arguments::parse().command {
        Command::Demo { keep } => clean_up_on_interrupt(|| demo::run(keep)),
        Command::Up { topology } => clean_up_on_interrupt(|| kept::up(topology.into())),
        Command::Exec { machine, command } => kept::exec(&machine, &command),
        Command::Pcap { machine, interface, file } => kept::pcap(&machine, &interface, &file),
        Command::Scale { tcp, http, seconds } => clean_up_on_interrupt(|| {
            println!("{}", scale::measure(tcp, http, Duration::from_secs(seconds))?);
            Ok(())
        }),
        Command::Matrix(options) => clean_up_on_interrupt(|| matrix::run(&options)),
        Command::Down => kept::down(),
        Command::Echo { name, addresses } => echo::serve(&name, &addresses),
    }
}
