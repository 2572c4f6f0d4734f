//! `lvsctl`, the command line of the agent.

use std::process::ExitCode;

use clap::Parser;
use lvs_userspace::cli;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let tokio = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(tokio) => tokio,
        Err(error) => {
            eprintln!("lvsctl: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match tokio.block_on(cli::run(arguments)) {
        Err(error) if !error.is_broken_pipe() => {
            eprintln!("lvsctl: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
