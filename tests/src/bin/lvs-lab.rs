//! The lab by hand, and the live demonstration.

use std::net::IpAddr;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lvs_tests::lab::echo;

#[derive(Debug, Parser)]
#[command(name = "lvs-lab", about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the lab's TCP and UDP echo and its name server (the lab starts this itself).
    #[command(hide = true)]
    Echo {
        /// What the server calls itself.
        name: String,
        /// Addresses to answer UDP from.
        addresses: Vec<IpAddr>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Echo { name, addresses } => echo::serve(&name, &addresses),
    }
}
