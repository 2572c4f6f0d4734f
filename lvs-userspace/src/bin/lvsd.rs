//! `lvsd`, the agent of a director; `lvsd realserver` prepares a real server, `lvsd witness` votes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lvs_userspace::cluster::witness;
use lvs_userspace::log::{self, Log, Losses};
use lvs_userspace::{realserver, runtime};

/// Layer-4 load balancer in XDP: the agent
#[derive(Parser)]
#[command(name = "lvsd", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    /// Configuration of services and real servers
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Keeps several agents on one machine apart: names their pins, socket and lock
    #[arg(long, value_name = "NAME", default_value = "lvs")]
    instance: String,
    /// Where verdicts and maintenance are kept for the next agent [default: /var/lib/<instance>]
    #[arg(long, value_name = "DIRECTORY")]
    state_directory: Option<PathBuf>,
    /// Accept interfaces whose driver has no XDP: several times slower
    #[arg(long)]
    allow_generic: bool,
    #[arg(long, value_enum, default_value_t = log::Format::Text, global = true, help = log_help())]
    log_format: log::Format,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    Realserver {
        #[command(flatten)]
        options: realserver::Options,
        #[command(flatten)]
        voter: witness::Beside,
    },
    Witness(witness::Options),
}

fn log_help() -> String {
    format!("How the log is written to stderr; {}=debug says more", log::VARIABLE)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before there are threads.
    if arguments.role.is_none()
        && let Err(error) = runtime::guard_programs()
    {
        eprintln!("lvsd: cannot guard the programs that checks and alerts run: {error}");
        return ExitCode::FAILURE;
    }
    let mut log = Log::start(arguments.log_format);
    match run(arguments, log.losses()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The messages are complete: they name their reasons.
            log.say(&format!("lvsd: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, losses: Losses) -> anyhow::Result<()> {
    let Arguments { config, instance, state_directory, allow_generic, role, .. } = arguments;
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    tokio.spawn(losses.tell());
    let ended = tokio.block_on(async {
        match (role, config) {
            (Some(Role::Witness(options)), _) => witness::run(options, runtime::new_life()).await?,
            (Some(Role::Realserver { options, voter }), _) => {
                realserver::run(options, voter.start(runtime::new_life())?).await?;
            }
            (None, Some(config)) => {
                runtime::run(runtime::Options { config, instance, state_directory, allow_generic }).await?;
            }
            (None, None) => anyhow::bail!("--config is missing"),
        }
        Ok(())
    });
    // A walk through large tables may be under way; nobody waits for its result.
    tokio.shutdown_background();
    ended
}
