//! The desired state of the active director, told to the other one.
//!
//! Each director listens, over TCP, at the address and port where it tells connections by UDP; and each that is active
//! for no group asks the other one. The asked one tells all of its state, again whenever that has changed, and in any
//! case that it is still there. What the bytes mean is in [`wire`]; who has no key learns nothing new from asking, since
//! nothing between directors is secret, but cannot make a director believe anything.

mod ask;
mod tell;
#[cfg(test)]
mod tests;
mod wire;

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::keys::Keyring;
use wire::Nonce;

/// From the beginning of a connection until somebody has asked, and for connecting.
const GREETING: Duration = Duration::from_secs(2);
/// Until the other one is asked again after a connection has ended: the director that was started first has heard of
/// the second one as soon as that one of it.
const AGAIN: Duration = Duration::from_millis(100);
/// The other one hears at least so often that this one is there.
const BEAT: Duration = Duration::from_millis(500);
/// Between two states.
const BETWEEN: Duration = Duration::from_millis(100);
/// For one frame to be taken by the one who asked.
const WRITE: Duration = Duration::from_secs(10);
/// Connections at a time.
const MOST: usize = 4;

/// The keys in force; others may come with a reload.
pub type Keys = Arc<dyn Fn() -> Keyring + Send + Sync>;

/// A state, and when it was so: ages in it are of then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated<T> {
    pub state: T,
    pub at: Instant,
}

/// What is known of the other director.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Heard<T> {
    /// Nothing, or nothing any more; also while this director tells its own.
    #[default]
    Unknown,
    /// It is active for no group.
    Nothing,
    State(Arc<Dated<T>>),
}

/// Where, with whom and for how long.
#[derive(Clone)]
pub struct Settings {
    pub here: SocketAddr,
    pub there: SocketAddr,
    pub keys: Keys,
    /// When the other one was not heard for so long, nothing is known of it any more.
    pub patience: Duration,
}

/// Tells this director's state and hears the other's, until it is dropped.
#[derive(Debug)]
pub struct Exchange<T> {
    own: watch::Sender<Option<Arc<Dated<T>>>>,
    heard: watch::Receiver<Heard<T>>,
    _tasks: JoinSet<()>,
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Exchange<T> {
    /// Within a tokio runtime. Begins as one who is active for nothing.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.here).await?;
        Ok(Self::with(listener, settings))
    }

    fn with(listener: TcpListener, settings: Settings) -> Self {
        let (own, own_seen) = watch::channel(None);
        let (heard_told, heard) = watch::channel(Heard::Unknown);
        let mut tasks = JoinSet::new();
        let (peer, keys) = (settings.there.ip(), Arc::clone(&settings.keys));
        tasks.spawn(tell::tell(listener, peer, keys, own_seen.clone()));
        tasks.spawn(ask::ask(settings, own_seen, heard_told));
        Self { own, heard, _tasks: tasks }
    }
}

impl<T> Exchange<T> {
    /// Through which this director's state is told: `None` when it is active for nothing.
    pub fn own(&self) -> watch::Sender<Option<Arc<Dated<T>>>> {
        self.own.clone()
    }

    /// Whether anything is known of the other director.
    pub fn hears(&self) -> bool {
        !matches!(*self.heard.borrow(), Heard::Unknown)
    }

    /// Returns when [`Self::heard`] is something else than it was when it was asked for last.
    pub async fn changed(&mut self) {
        if self.heard.changed().await.is_err() {
            // The task that asks has ended, which it does not do by itself: nothing changes any more.
            std::future::pending().await
        }
    }

    pub fn heard(&mut self) -> Heard<T>
    where
        T: Clone,
    {
        self.heard.borrow_and_update().clone()
    }
}

/// A state with its age, so that it means the same on another clock.
#[derive(Debug, Serialize, Deserialize)]
struct Aged<S> {
    milliseconds: u64,
    state: S,
}

/// One frame, without its length.
async fn read(stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = wire::length(head, most).map_err(invalid)?;
    // Grows with what comes: a length is believed by nobody before the seal was looked at.
    let mut sealed = Vec::new();
    stream.take(length as u64).read_to_end(&mut sealed).await?;
    if sealed.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(sealed)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// That nobody can guess.
fn nonce() -> io::Result<Nonce> {
    let mut bytes = Nonce::default();
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
