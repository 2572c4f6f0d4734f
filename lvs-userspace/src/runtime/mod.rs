//! `lvsd`: puts configuration, control, data plane, network and API together. The only place that starts
//! tasks which last.
//!
//! One task, the [`agent`], owns the state and the writing end of the data plane; everything else sends it
//! messages. There are no locks.

mod advice;
mod ageing;
mod agent;
mod apologies;
mod cluster;
mod error;
mod evidence;
mod exporter;
mod health;
mod installed;
mod lock;
mod neighbours;
mod next_hops;
mod notify;
mod saver;
mod store;
mod vrrp;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tracing::{error, info, warn};

use crate::api::{self, Api, model};
use crate::config::{self, Config, Diagnostics, Source};
use crate::dataplane::{Dataplane, KernelLog, OpenOptions, bpffs, object};
use crate::network::{Network, Resolver};

use agent::{Agent, End, Signals};
pub use cluster::{Wish, new_life};
pub use error::Error;
use exporter::Exporter;
use health::Health;
use installed::Installed;
use lock::InstanceLock;
use next_hops::NextHops;
use store::Store;
use vrrp::Vrrp;

/// Requests of the API on their way to the agent.
const REQUESTS: usize = 64;
/// How long answers under way are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How `lvsd` was started.
#[derive(Clone, Debug)]
pub struct Options {
    pub config: PathBuf,
    /// Keeps several agents of one machine apart.
    pub instance: String,
    /// Where it keeps what must survive it; `/var/lib/<instance>` if not given.
    pub state_directory: Option<PathBuf>,
    /// Interfaces whose driver has no XDP run in the slower generic mode.
    pub allow_generic: bool,
}

impl Options {
    fn state_directory(&self) -> PathBuf {
        self.state_directory.clone().unwrap_or_else(|| Path::new("/var/lib").join(&self.instance))
    }
}

/// Has checks and alerts that are programs end with this process, even if it is killed. To be called before there are
/// threads.
pub fn guard_programs() -> io::Result<()> {
    crate::program::guard()
}

/// Runs until SIGTERM, SIGINT, SIGUSR2 (another agent follows this one) or a request to stop.
pub async fn run(options: Options) -> Result<(), Error> {
    let mut signals = Signals::watch()?;
    let config = read(&options.config)?;
    bpffs::instance_directory(&options.instance)?;
    let lock = InstanceLock::take(&options.instance)?;
    let ended = run_locked(options, config, &mut signals).await;
    // Before the answer: who asked for the end may start the next agent at once.
    lock.release();
    let Ended { closed, asked_by, keep_forwarding, server } = ended?;
    if let Some(asked_by) = asked_by {
        let answer = match &closed {
            Ok(()) => Ok(model::Stopped { forwarding_kept: keep_forwarding }),
            Err(error) => Err(model::Failure::new(error.to_string())),
        };
        drop(asked_by.send(answer));
    }
    server.end().await;
    closed
}

/// What is left to do when the agent has ended.
struct Ended {
    closed: Result<(), Error>,
    keep_forwarding: bool,
    asked_by: Option<oneshot::Sender<Result<model::Stopped, model::Failure>>>,
    server: Server,
}

async fn run_locked(options: Options, config: Config, signals: &mut Signals) -> Result<Ended, Error> {
    let path = api::socket_path(&options.instance);
    let (network, events) = Network::connect()?;
    let (resolver, reports) = Resolver::start(network.clone(), events);
    let (mut dataplane, adopts) = open(&options, &config)?;
    if let Some(kernel_log) = dataplane.take_kernel_log() {
        tokio::spawn(follow(kernel_log));
    }
    let requests = dataplane.events();
    let readback = dataplane.readback();
    let probes = dataplane.probes();
    let leases = dataplane.lease_writer();
    let state = match installed::adopted(&dataplane) {
        Ok(state) => state,
        Err(error) => {
            undo(dataplane.close(adopts));
            return Err(error.into());
        }
    };
    let (health, supervisor, courier) = Health::new(config, Store::new(options.state_directory()));
    let installed = Installed::new(dataplane, state, health.desired());
    let (ask, received) = mpsc::channel(REQUESTS);
    let api = Api { requests: ask, readback, checks: health.instruct() };
    let exporter = Exporter::new(api.clone());
    let vrrp = Vrrp::new(&options.instance, network.clone(), leases);
    let next_hops = NextHops::new(resolver, reports);
    let mut agent = Agent::new(options, installed, next_hops, health, vrrp, network.clone(), exporter);
    let begun = async {
        tokio::spawn(neighbours::resolve(requests?, network));
        tokio::spawn(supervisor.with_probes(probes).run());
        courier.start().map_err(Error::Alerts)?;
        agent.begin().await?;
        api::listen(&path).map_err(|source| Error::File { path: path.clone(), source })
    };
    let socket = match begun.await {
        Ok(socket) => socket,
        Err(error) => {
            undo(agent.close(adopts).await);
            return Err(error);
        }
    };
    let server = Server::start(socket, api);
    info!(socket = %path.display(), "ready");
    notify::notify("READY=1");

    let End { keep_forwarding, asked_by } = agent.run(signals, received).await;
    notify::notify("STOPPING=1");
    let closed = agent.close(keep_forwarding).await;
    match &closed {
        Ok(()) if keep_forwarding => info!("ends; packets are forwarded on"),
        Ok(()) => info!("ends; nothing is left behind"),
        Err(error) => error!(%error, "something is left behind"),
    }
    if let Err(error) = std::fs::remove_file(&path) {
        warn!(path = %path.display(), %error, "cannot remove the socket");
    }
    Ok(Ended { closed, keep_forwarding, asked_by, server })
}

/// Hands on what the programs say, for debugging.
async fn follow(mut kernel_log: KernelLog) {
    let mut interval = interval(Duration::from_millis(50));
    loop {
        interval.tick().await;
        kernel_log.flush();
    }
}

/// After a start that failed; its own error is the one to tell.
fn undo(closed: Result<(), impl std::fmt::Display>) {
    if let Err(error) = closed {
        error!(%error, "something is left behind");
    }
}

/// Loads the program; whether it found the maps of an earlier agent.
///
/// On a fresh start the program comes to the interfaces when the maps are filled. One that is there
/// already stays, so that no packet passes without it.
fn open(options: &Options, config: &Config) -> Result<(Dataplane, bool), Error> {
    let object = object::director()?;
    let directory = bpffs::instance_directory(&options.instance)?;
    let adopts = directory.exists();
    let opened = Dataplane::open(&OpenOptions {
        instance: &options.instance,
        object,
        limits: config.limits,
        interfaces: if adopts { config.interfaces.clone() } else { Vec::new() },
        allow_generic: options.allow_generic,
    });
    match opened {
        Ok(dataplane) => Ok((dataplane, adopts)),
        Err(error) => {
            if !adopts
                && directory.exists()
                && let Err(error) = bpffs::remove(&directory)
            {
                warn!(path = %directory.display(), %error, "maps are left behind");
            }
            Err(error.into())
        }
    }
}

/// The API's task.
struct Server {
    task: JoinHandle<io::Result<()>>,
    /// Dropped at the end.
    end: oneshot::Sender<()>,
}

impl Server {
    fn start(socket: UnixListener, api: Api) -> Self {
        let (end, ends) = oneshot::channel();
        let task = tokio::spawn(api::serve(socket, api, async {
            // Nothing is ever sent: the other half is dropped.
            ends.await.unwrap_or(());
        }));
        Self { task, end }
    }

    /// Gives answers under way the time to arrive.
    async fn end(self) {
        drop(self.end);
        if timeout(LAST_ANSWERS, self.task).await.is_err() {
            warn!("an answer under way was cut off");
        }
    }
}

/// The file, and whether this machine has the interfaces it names.
fn read(path: &Path) -> Result<Config, Diagnostics> {
    let source = Source::read(path)?;
    let config = config::parse_source(&source)?;
    let missing = config.interfaces.iter().filter(|name| if_nametoindex(name.as_str()).is_err());
    let mistakes = missing.map(|name| {
        source.interface_mistake(
            name,
            format!("this machine has no interface {name}"),
            "expected one that `ip link` shows",
        )
    });
    match mistakes.reduce(|mut all, next| {
        all.mistakes.extend(next.mistakes);
        all
    }) {
        Some(diagnostics) => Err(diagnostics),
        None => Ok(config),
    }
}
