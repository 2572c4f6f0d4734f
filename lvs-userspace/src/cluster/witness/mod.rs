//! A voter: it carries no traffic, and has no configuration beside its key. On a host of its own it is `lvsd witness`; on
//! one of the real servers it runs beside the work of `lvsd realserver`.

mod thread;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::identity::NodeId;
use super::keys::{self, Keyring};
use super::transport::{self, Transport, Waker};
use thread::{Order, Thread};

/// Vote for one of two directors that do not hear each other
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Its name, as `cluster.voter` of the directors has it
    #[arg(id = "voter", long = "name", value_name = "NAME")]
    name: String,
    #[command(flatten)]
    settings: Settings,
}

/// A voter beside other work on the same machine.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Voter")]
pub struct Beside {
    /// Vote, too, for one of two directors that do not hear each other: this voter's name, as `cluster.voter` of the
    /// directors has it
    #[arg(id = "voter", long = "voter", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// What a voter is told wherever it runs.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where the voter listens; `[::]` is every address of both IP versions
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:694", requires = "voter")]
    listen: SocketAddr,
    /// The directors' key file
    #[arg(long, value_name = "FILE", default_value = "/etc/lvs-xdp/cluster.key", requires = "voter")]
    key_file: PathBuf,
    /// Seconds at its start in which the voter gives no vote, as it may have given one before: at least the directors'
    /// `hold` and `deadtime`
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, requires = "voter")]
    silence: Duration,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Transport(#[from] transport::Error),
    #[error("cannot listen at {address}: {fault}")]
    Listen { address: SocketAddr, fault: transport::Fault },
    #[error("cannot start the thread that votes: {0}")]
    Thread(#[source] io::Error),
    #[error("votes no more: cannot wait for messages: {0}")]
    Wait(#[source] io::Error),
    #[error("votes no more: its thread has panicked")]
    Panicked,
    #[error("cannot wait for signals: {0}")]
    Signal(#[source] io::Error),
}

/// Until SIGTERM or SIGINT; SIGHUP has the key file read again. `life` is chosen anew at each start.
pub async fn run(options: Options, life: u64) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Error::Signal)?;
    let mut witness = Witness::start(&options.name, options.settings, life)?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => witness.read_keys(),
            error = witness.failed() => return Err(error),
        }
    }
}

impl Beside {
    /// Starts it, if it is wanted.
    pub fn start(self, life: u64) -> Result<Option<Witness>, Error> {
        self.name.map(|name| Witness::start(&name, self.settings, life)).transpose()
    }
}

/// A running voter. When this is dropped, it ends.
#[derive(Debug)]
pub struct Witness {
    key_file: PathBuf,
    orders: mpsc::Sender<Order>,
    waker: Waker,
    failure: oneshot::Receiver<Error>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// In the network namespace of the calling thread.
    fn start(name: &str, settings: Settings, life: u64) -> Result<Self, Error> {
        let Settings { listen, key_file, silence } = settings;
        let keys = Keyring::load(&key_file)?;
        let transport = Transport::listen(listen)?;
        if let Some(fault) = transport.paths().find_map(|path| path.fault) {
            return Err(Error::Listen { address: listen, fault });
        }
        let waker = transport.waker();
        let (orders, received) = mpsc::channel();
        let (failed, failure) = oneshot::channel();
        let thread = Thread::new(NodeId::of(name), life, silence, transport, keys);
        let thread = std::thread::Builder::new().name("witness".to_owned()).spawn(move || {
            if let Err(error) = thread.run(&received) {
                // Whoever has dropped this wants no more of it.
                failed.send(error).ok();
            }
        });
        info!(name, %listen, "votes");
        Ok(Self { key_file, orders, waker, failure, thread: Some(thread.map_err(Error::Thread)?) })
    }

    /// Why it votes no more. Never returns while it does; to be awaited once.
    pub async fn failed(&mut self) -> Error {
        (&mut self.failure).await.unwrap_or(Error::Panicked)
    }

    /// Takes the keys that the file has now, so that they can change while it runs.
    pub fn read_keys(&self) {
        match Keyring::load(&self.key_file) {
            Ok(keys) => {
                self.order(Order::Keys(keys));
                info!(file = %self.key_file.display(), "the voter has read its keys again");
            }
            Err(error) => warn!(%error, "the voter goes on with the keys it has"),
        }
    }

    fn order(&self, order: Order) {
        // A thread that has ended has told why.
        self.orders.send(order).ok();
        self.waker.wake();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.order(Order::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that votes has panicked");
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected a number of seconds from 0 to 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        options: Options,
    }

    #[derive(Debug, Parser)]
    struct Guest {
        #[command(flatten)]
        voter: Beside,
    }

    fn told<T: Parser>(words: &[&str]) -> String {
        let words = ["lvsd"].iter().chain(words);
        T::try_parse_from(words).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_voter_has_the_same_options_alone_and_beside_other_work() {
        let rest = ["--listen", "10.0.0.9:694", "--key-file", "/etc/key", "--silence", "0.5"];
        assert_eq!(told::<Alone>(&[&["--name", "w"], &rest[..]].concat()), "");
        assert_eq!(told::<Guest>(&[&["--voter", "w"], &rest[..]].concat()), "");
        assert_eq!(told::<Guest>(&[]), "", "and none");
        assert!(told::<Alone>(&[]).contains("--name"));
        for option in rest.chunks(2) {
            let told = told::<Guest>(option);
            assert!(told.contains("--voter <NAME>"), "{option:?} without a voter: {told}");
        }
    }

    #[test]
    fn a_silence_is_a_time() {
        for text in ["-1", "86401", "nan", "ten"] {
            let told = told::<Alone>(&["--name", "w", &format!("--silence={text}")]);
            assert!(told.contains("a number of seconds from 0 to 86400"), "{text}: {told}");
        }
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
    }
}
