//! `lvsd realserver`: makes this machine a real server of dr or ipip services, and undoes it.
//!
//! A real server of these methods owns the VIP without ever answering for it, takes the outer header off
//! ipip packets, and promises clients no longer segments than fit through the tunnel. What is changed is
//! written to /run first, with what was there before, so that the next start can undo what a killed one
//! could not.

mod decapsulation;
mod lock;
mod options;
mod route;
mod settings;
mod vip;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::changes::journal::Journal;
use crate::changes::{self, Change, Target, sysctl};
use crate::cluster::witness::{self, Witness};
use crate::dataplane::object::MissingObject;
use crate::dataplane::{AttachError, OpenError, bpffs};
use crate::network::{self, Events, Network};

use decapsulation::Decapsulation;
use lock::Lock;
pub use options::Options;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--ipip needs at least one --director: only packets from a director are unpacked")]
    NoDirector,
    #[error(
        "{vip} is an address of interface {interface}: a real server must not answer for the VIP there; \
         remove it (`ip address del {vip}/{length} dev {interface}`)"
    )]
    VipElsewhere { vip: IpAddr, interface: String, length: u8 },
    #[error(
        "cannot find the interface on which director {director} sends: {source}; name it with --interface"
    )]
    NoWayToDirector { director: IpAddr, source: network::Error },
    #[error("another `lvsd realserver` of instance {instance} is at work ({} is locked)", path.display())]
    Locked { instance: String, path: PathBuf },
    #[error(transparent)]
    Changes(#[from] changes::Error),
    #[error("cannot load the decapsulating program: {0}")]
    Program(String),
    #[error("cannot wait for signals: {0}")]
    Signal(#[source] io::Error),
    #[error("{0} of the changes could not be undone (see above); the next start tries again")]
    NotUndone(usize),
    #[error(transparent)]
    Object(#[from] MissingObject),
    #[error(transparent)]
    Open(Box<OpenError>),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error("the voter {0}")]
    Voter(#[source] witness::Error),
}

// Boxed, since it carries the loader's whole error and every result here would be as large.
impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}

/// Prepares this machine, waits for SIGTERM or SIGINT, and undoes everything. A voter works beside it: SIGHUP has it read
/// its keys again. Should it fail, clients are served as before, and the failure is told, at once and in the end.
pub async fn run(options: Options, mut voter: Option<Witness>) -> Result<(), Error> {
    // Before the first change: a signal in the middle must not leave half of them behind.
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let mut hangup =
        voter.is_some().then(|| signal(SignalKind::hangup())).transpose().map_err(Error::Signal)?;
    let mut failure = None;
    let mut server = RealServer::prepare(options).await?;
    info!(vips = ?server.options.vip, interfaces = ?server.interfaces, "ready");
    {
        let mut keep = pin!(server.keep());
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = told(hangup.as_mut()) => voter.iter().for_each(Witness::read_keys),
                error = failed(voter.as_mut()) => {
                    let error = Error::Voter(error);
                    error!("{error}");
                    failure = Some(error);
                    voter = None;
                }
                () = &mut keep => {}
            }
        }
    }
    // It votes to the end, so that its directors have it while this machine's other work is undone.
    let undone = server.undo().await;
    drop(voter);
    undone.and(failure.map_or(Ok(()), Err))
}

/// A signal that is waited for, if it is.
async fn told(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Why the voter votes no more, if there is one.
async fn failed(voter: Option<&mut Witness>) -> witness::Error {
    match voter {
        Some(voter) => voter.failed().await,
        None => std::future::pending().await,
    }
}

/// A prepared machine. Dropping it leaves everything as it is, for the next start to adopt.
pub struct RealServer {
    options: Options,
    network: Network,
    events: Events,
    journal: Journal,
    /// Of the journal's writer. Held until the machine is as it was.
    lock: Lock,
    /// Those that packets from the directors come in by, as far as known.
    interfaces: Vec<String>,
    decapsulation: Option<Decapsulation>,
    /// Given already: it would be repeated at every change of a route.
    advice: BTreeSet<String>,
}

impl RealServer {
    /// Makes all the changes. If one fails, those before it are undone.
    pub async fn prepare(options: Options) -> Result<Self, Error> {
        if options.ipip && options.director.is_empty() {
            return Err(Error::NoDirector);
        }
        bpffs::instance_directory(&options.instance)?;
        let (network, events) = Network::connect()?;
        let interfaces = interfaces(&options, &network).await?;
        let lock = Lock::take(&options.instance)?;
        let journal = Journal::open(lock.directory(), "realserver.json")?;
        let mut server = Self {
            options,
            network,
            events,
            journal,
            lock,
            interfaces,
            decapsulation: None,
            advice: BTreeSet::new(),
        };
        if let Err(error) = server.apply().await {
            if let Err(error) = server.undo().await {
                warn!("{error}");
            }
            return Err(error);
        }
        Ok(server)
    }

    /// Silence first, then the address, the tunnel last: at no moment does this machine answer for a VIP,
    /// or unpack what it would not take.
    async fn apply(&mut self) -> Result<(), Error> {
        for setting in settings::wanted(&self.options, &self.interfaces) {
            setting.apply(&mut self.journal)?;
        }
        for vip in self.options.vips() {
            vip::add(&self.network, &mut self.journal, vip).await?;
        }
        self.apply_routes().await?;
        self.apply_decapsulation()?;
        // What an earlier run changed and this one does not want.
        let unwanted = self.journal.unwanted();
        self.undo_changes(unwanted).await;
        Ok(())
    }

    async fn apply_routes(&mut self) -> Result<(), Error> {
        if !self.options.ipip {
            return Ok(());
        }
        for advice in route::limit_segments(&self.network, &mut self.journal, &self.options).await? {
            if !self.advice.contains(&advice) {
                warn!("{advice}");
                self.advice.insert(advice);
            }
        }
        Ok(())
    }

    fn apply_decapsulation(&mut self) -> Result<(), Error> {
        if self.options.ipip {
            self.decapsulation = Some(Decapsulation::start(&self.options, &self.interfaces)?);
            Ok(())
        } else {
            Decapsulation::stop(&self.options.instance)
        }
    }

    /// Keeps the routes' limits where others (DHCP, a link that comes back) make the routes anew. Never
    /// returns while the network can be watched.
    pub async fn keep(&mut self) {
        while self.events.routing_changed().await.is_some() {
            if let Err(error) = self.apply_routes().await {
                warn!(%error, "new routes may announce segments that do not fit through the tunnel");
            }
        }
        warn!("routes are no longer watched");
        std::future::pending::<()>().await;
    }

    /// Takes everything back, in reverse order. What somebody else has changed since is left alone.
    pub async fn undo(mut self) -> Result<(), Error> {
        if let Some(decapsulation) = &self.decapsulation {
            decapsulation.log_counters();
        }
        let mut failed = 0;
        if let Err(error) = Decapsulation::stop(&self.options.instance) {
            warn!("{error}");
            failed += 1;
        }
        let changes = self.journal.all();
        failed += self.undo_changes(changes).await;
        if failed > 0 {
            return Err(Error::NotUndone(failed));
        }
        self.journal.close()?;
        drop(self.lock);
        info!("undone");
        Ok(())
    }

    /// How many could not be undone.
    async fn undo_changes(&mut self, changes: Vec<Change>) -> usize {
        let mut failed = 0;
        for change in changes.iter().rev() {
            let undone = match &change.target {
                Target::Sysctl(name) => sysctl::undo(name, change).map_err(Error::from),
                Target::Address(vip) => vip::remove(&self.network, *vip).await,
                Target::Route(key) => route::undo(&self.network, key, change).await,
                // A director's, and on its file.
                Target::GroupAddress { .. } => Ok(()),
            };
            if let Err(error) = undone.and_then(|()| Ok(self.journal.forget(&change.target)?)) {
                warn!("{error}");
                failed += 1;
            }
        }
        failed
    }
}

/// The interface named, or with ipip those that lead to the directors.
async fn interfaces(options: &Options, network: &Network) -> Result<Vec<String>, Error> {
    if let Some(name) = &options.interface {
        network.interface_index(name).await?;
        return Ok(vec![name.clone()]);
    }
    let mut names = BTreeSet::new();
    for director in options.director.iter().filter(|_| options.ipip) {
        let found = async { network.interface_name(network.next_hop(*director).await?.interface).await };
        names.insert(found.await.map_err(|source| Error::NoWayToDirector { director: *director, source })?);
    }
    Ok(names.into_iter().collect())
}
