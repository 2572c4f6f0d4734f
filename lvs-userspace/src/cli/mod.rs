//! `lvsctl`: asks the agent, and prints the answer for people or as the API's own JSON.

mod client;
mod cluster;
mod connections;
mod events;
mod health;
mod services;
mod stats;
mod status;
mod synchronisation;
mod table;
mod vrrp;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::api::model;
use crate::cluster::vrrp::RouterStatus;
use crate::config::{self, Diagnostics};
use crate::control::Summary;
use crate::health::pool::Mode;
use crate::runtime::Wish;

use client::{Client, escape};

/// Layer-4 load balancer in XDP: asks and instructs the agent
#[derive(Debug, Parser)]
#[command(name = "lvsctl", version)]
pub struct Arguments {
    /// Which agent
    #[arg(long, global = true, value_name = "NAME", default_value = "lvs")]
    instance: String,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Services and their real servers, with the connections each has
    Services,
    /// Traffic of services and real servers: totals, and rates over a second
    Stats {
        /// Print rates over this many seconds, again and again
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
        interval: Option<u64>,
    },
    /// The connection table
    Connections(Wanted),
    /// Why packets did not simply go to a real server
    Causes,
    /// Every check of a real server: its last result, and what follows from it
    Health,
    /// What happened to real servers, the latest last
    Events {
        /// At the most so many
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: u64,
    },
    /// Everything that is counted and measured, in Prometheus' text format
    Metrics,
    /// Give a real server no new connections; those it has go on
    Drain(Maintained),
    /// Take a real server out
    Disable(Maintained),
    /// End `drain` and `disable`: the checks decide again
    Enable(Maintained),
    /// Who is active, and how the directors hear each other; or what is to become of a group
    Cluster {
        #[command(subcommand)]
        wish: Option<Operate>,
    },
    /// The agent itself: interfaces, how full its tables are, warnings
    Status,
    /// Read a configuration and say what would come of it; needs no agent
    Check { file: PathBuf },
    /// JSON Schema of the configuration, for editors; needs no agent
    Schema,
    /// A script that completes these commands in a shell; needs no agent
    Completions { shell: Shell },
    /// Have the agent read its configuration again
    Reload,
    /// End the agent
    Stop {
        /// Leave the program at work, for the next agent to take over
        #[arg(long)]
        keep_forwarding: bool,
    },
}

/// Each is about one group, or about all.
#[derive(Debug, Subcommand)]
enum Operate {
    /// Hand over to another director; this one takes it again only if no other can
    Standby { group: Option<String> },
    /// Take it over from the director that has it, and end `standby` and `release`
    Takeover { group: Option<String> },
    /// Give it up and do not take it, also if nobody else does
    Release { group: Option<String> },
}

impl Operate {
    fn wanted(self) -> model::Operation {
        let (wish, group) = match self {
            Self::Standby { group } => (Wish::Standby, group),
            Self::Takeover { group } => (Wish::Take, group),
            Self::Release { group } => (Wish::Release, group),
        };
        model::Operation { wish, group }
    }
}

#[derive(Debug, Args)]
struct Maintained {
    /// Its address, or address and port
    #[arg(value_name = "SERVER")]
    server: String,
    /// In this service only
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

#[derive(Debug, Args)]
struct Wanted {
    /// Only those of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// At the most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: u64,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("no agent answers at {}: is lvsd running?", path.display())]
    NoAgent { path: PathBuf },
    #[error("the agent at {} has not answered in {seconds} s: its log may say why", path.display())]
    Silent { path: PathBuf, seconds: u64 },
    #[error("this user may not ask the agent at {}: try `sudo lvsctl`", path.display())]
    NotPermitted { path: PathBuf },
    #[error("{}", _0.error)]
    Refused(Box<model::Failure>),
    #[error("the agent's answer was cut off: {0}")]
    Interrupted(String),
    #[error("the agent's answer is not understood, is it of another version? {0}")]
    NotUnderstood(#[from] serde_json::Error),
    #[error(transparent)]
    Config(#[from] Diagnostics),
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl From<model::Failure> for Error {
    fn from(failure: model::Failure) -> Self {
        Self::Refused(Box::new(failure))
    }
}

impl Error {
    /// Whoever read the output has seen enough (`| head`).
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Carries out one command line. With `--json` also a refusal is printed as JSON.
pub async fn run(arguments: Arguments) -> Result<(), Error> {
    let json = arguments.json;
    let carried_out = carry_out(arguments).await;
    if json && let Err(Error::Refused(failure)) = &carried_out {
        print(&pretty(failure)?)?;
    }
    carried_out
}

async fn carry_out(arguments: Arguments) -> Result<(), Error> {
    let Arguments { instance, json, command } = arguments;
    let agent = Client::new(&instance);
    match command {
        Command::Services => show(json, agent.get("/v1/services").await?, services::render),
        Command::Causes => show(json, agent.get("/v1/stats").await?, stats::render_causes),
        Command::Status => show(json, agent.get("/v1/status").await?, status::render),
        Command::Health => show(json, agent.get("/v1/health").await?, health::render),
        Command::Metrics => print(&String::from_utf8_lossy(&agent.get("/v1/metrics").await?)),
        Command::Cluster { wish: None } => {
            // A file has one of the two.
            let routers = agent.get("/v1/vrrp").await?;
            if serde_json::from_slice::<Vec<RouterStatus>>(&routers)?.is_empty() {
                return show(json, agent.get("/v1/cluster").await?, cluster::render);
            }
            show(json, routers, vrrp::render)
        }
        Command::Cluster { wish: Some(wish) } => {
            let body = serde_json::to_vec(&wish.wanted())?;
            show(json, agent.post("/v1/cluster", body).await?, |_: &model::Operation| {
                "done; `lvsctl cluster` shows what comes of it".to_owned()
            })
        }
        Command::Events { limit } => {
            show(json, agent.get(&format!("/v1/events?limit={limit}")).await?, events::render)
        }
        Command::Drain(wanted) => maintain(&agent, json, wanted, Mode::Drained).await,
        Command::Disable(wanted) => maintain(&agent, json, wanted, Mode::Disabled).await,
        Command::Enable(wanted) => maintain(&agent, json, wanted, Mode::Enabled).await,
        Command::Stats { interval } => watch(&agent, json, interval).await,
        Command::Connections(wanted) => {
            let service = wanted.service.map(|name| format!("&service={}", escape(&name)));
            let path = format!("/v1/connections?limit={}{}", wanted.limit, service.unwrap_or_default());
            show(json, agent.get(&path).await?, |answer| connections::render(answer, wanted.limit))
        }
        Command::Check { file } => check(&file, json),
        Command::Schema => print(&pretty(&config::schema())?),
        Command::Completions { shell } => print(&completions(shell)),
        Command::Reload => show(json, agent.post("/v1/reload", Vec::new()).await?, status::render_reloaded),
        Command::Stop { keep_forwarding } => {
            let body = serde_json::to_vec(&model::Stop { keep_forwarding })?;
            show(json, agent.post("/v1/stop", body).await?, status::render_stopped)
        }
    }
}

/// Prints an answer as it came, or rendered.
fn show<T: DeserializeOwned>(
    json: bool,
    answer: Vec<u8>,
    render: impl FnOnce(&T) -> String,
) -> Result<(), Error> {
    if json {
        return print(String::from_utf8_lossy(&answer).trim_end());
    }
    print(&render(&serde_json::from_slice(&answer)?))
}

async fn maintain(agent: &Client, json: bool, wanted: Maintained, mode: Mode) -> Result<(), Error> {
    let Maintained { server, service } = wanted;
    let body = serde_json::to_vec(&model::Maintenance { server: server.clone(), service, mode })?;
    let answer = agent.post("/v1/maintenance", body).await?;
    show(json, answer, |maintained| health::render_maintained(maintained, &server, mode))
}

async fn watch(agent: &Client, json: bool, seconds: Option<u64>) -> Result<(), Error> {
    let path = "/v1/stats";
    let Some(seconds) = seconds else {
        let first = agent.get(path).await?;
        if json {
            return show(true, first, |_: &model::Stats| String::new());
        }
        sleep(Duration::from_secs(1)).await;
        let before = serde_json::from_slice(&first)?;
        return show(false, agent.get(path).await?, |now| stats::render(now, &before));
    };
    let mut tick = interval(Duration::from_secs(seconds));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<model::Stats> = None;
    loop {
        tick.tick().await;
        let answer = agent.get(path).await?;
        let now = serde_json::from_slice(&answer)?;
        if json {
            show(true, answer, |_: &model::Stats| String::new())?;
        } else if let Some(before) = &before {
            print(&stats::render(&now, before))?;
            print("")?;
        }
        before = Some(now);
    }
}

fn check(file: &std::path::Path, json: bool) -> Result<(), Error> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(mistakes) if json => {
            print(&pretty(&mistakes)?)?;
            return Err(mistakes.into());
        }
        Err(mistakes) => return Err(mistakes.into()),
    };
    let summary = Summary::of(&config);
    print(&if json { pretty(&summary)? } else { summary.to_string() })
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "lvsctl", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn pretty(value: &impl serde::Serialize) -> Result<String, Error> {
    Ok(serde_json::to_string_pretty(value)?)
}

/// With one end of line.
fn print(text: &str) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", text.trim_end())?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What bash itself offers after `lvsctl` and `words`.
    fn offered(words: &str) -> String {
        let ask = "eval \"$1\"; read -ra words <<<\"lvsctl $2\"; COMP_WORDS=(\"${words[@]}\")
            COMP_CWORD=$((${#words[@]} - 1)); _lvsctl lvsctl \"${words[-1]}\" \"${words[-2]}\"; echo \"${COMPREPLY[@]}\"";
        let bash = Command::new("bash").args(["-c", ask, "bash", &completions(Shell::Bash), words]).output();
        String::from_utf8_lossy(&bash.unwrap().stdout).trim().to_owned()
    }

    #[test]
    fn bash_completes_commands_and_what_follows_them() {
        assert_eq!(offered("dr"), "drain");
        assert_eq!(offered("cluster st"), "standby");
        assert_eq!(offered("stop --keep"), "--keep-forwarding");
    }
}
