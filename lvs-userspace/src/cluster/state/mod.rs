//! The desired state of the active director, told to all others.
//!
//! Each director listens, over TCP, at the address and port where it tells connections by UDP; and each asks all others,
//! since whoever holds one group may stand by for another. The asked one tells all of its state, again whenever that has changed, and in any
//! case that it is still there. What the bytes mean is in [`wire`]; who has no key learns nothing new from asking, since
//! nothing between directors is secret, but cannot make a director believe anything.

mod ask;
mod choice;
mod refused;
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
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::keys::Keyring;
use super::reach::{Addresses, Peer};
pub use choice::choose;
use refused::Refused;
use wire::Nonce;

/// From the beginning of a connection until somebody has asked, and for connecting.
const GREETING: Duration = Duration::from_secs(2);
/// Until another one is asked again after a connection has ended: the director that was started first has heard of
/// the second one as soon as that one of it.
const AGAIN: Duration = Duration::from_millis(100);
/// The same at the most, where what it tells makes no sense here, and will not a moment later.
const AGAIN_AT_LAST: Duration = Duration::from_secs(5);
/// Who asks hears at least so often that this one is there.
const BEAT: Duration = Duration::from_millis(500);
/// Between two states.
const BETWEEN: Duration = Duration::from_millis(100);
/// For one frame to be taken by the one who asked.
const WRITE: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 16;
/// Connections of each director at a time.
const MOST: usize = 4;

/// The keys in force; others may come with a reload.
pub type Keys = Arc<dyn Fn() -> Keyring + Send + Sync>;

/// A state, and when it was so: ages in it are of then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated<T> {
    pub state: T,
    /// Counts the states of the one who tells, in its present life.
    pub version: u64,
    pub at: Instant,
}

/// What is known of another director.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Heard<T> {
    /// Nothing, or nothing any more.
    #[default]
    Unknown,
    /// It is active for no group.
    Nothing,
    State(Arc<Dated<T>>),
}

/// What was written last to another director that asks: the version of this one's state, 0 for that it has none; `None`
/// where it does not ask.
pub type Written = Option<u64>;

/// Where, with whom and for how long.
#[derive(Clone)]
pub struct Settings {
    pub here: SocketAddr,
    /// The other directors' names, for people.
    pub peers: Vec<String>,
    /// Where they are reached; it may change.
    pub addresses: watch::Receiver<Arc<Addresses>>,
    pub keys: Keys,
    /// When another one was not heard for so long, nothing is known of it any more.
    pub patience: Duration,
}

impl Settings {
    /// Bound to the own address, by which others know this director.
    fn socket(&self, port: u16) -> io::Result<TcpSocket> {
        let socket = if self.here.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(self.here.ip(), port))?;
        Ok(socket)
    }
}

/// Tells this director's state and hears those of others, until it is dropped.
#[derive(Debug)]
pub struct Exchange<T> {
    own: watch::Sender<Option<Arc<Dated<T>>>>,
    /// By peer.
    heard: watch::Receiver<Vec<Heard<T>>>,
    written: watch::Receiver<Vec<Written>>,
    refused: Refused,
    _tasks: JoinSet<()>,
}

impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Exchange<T> {
    /// Within a tokio runtime. Begins as one who is active for nothing.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let listener = settings.socket(settings.here.port())?.listen(BACKLOG)?;
        let (own, own_seen) = watch::channel(None);
        let (told, heard) = watch::channel(vec![Heard::Unknown; settings.peers.len()]);
        let (writes, written) = watch::channel(vec![Written::default(); settings.peers.len()]);
        let refused = Refused::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(tell::tell(listener, settings.clone(), own_seen, (writes, refused.clone())));
        for peer in Peer::all(settings.peers.len()) {
            let told = (told.clone(), refused.clone());
            let asks = ask::ask(settings.clone(), peer, told);
            tasks.spawn(async move { match asks.await {} });
        }
        Ok(Self { own, heard, written, refused, _tasks: tasks })
    }

    /// What is known of each of the others.
    pub fn heard(&mut self) -> Vec<Heard<T>> {
        self.heard.borrow_and_update().clone()
    }

    /// As [`Self::heard`], and it stays new to [`Self::changed`].
    pub fn look(&self) -> Vec<Heard<T>> {
        self.heard.borrow().clone()
    }
}

impl<T> Exchange<T> {
    /// Connections that were not attended to, and those that ended for what was said, by reason; every reason.
    pub fn refused(&self) -> Vec<(String, u64)> {
        self.refused.counts()
    }

    /// Through which this director's state is told: `None` when it is active for nothing.
    pub fn own(&self) -> watch::Sender<Option<Arc<Dated<T>>>> {
        self.own.clone()
    }

    /// How far each of the others is told this director's state.
    pub fn written(&self) -> watch::Receiver<Vec<Written>> {
        self.written.clone()
    }

    /// Returns when [`Self::heard`] is something else than it was when it was asked for last.
    pub async fn changed(&mut self) {
        if self.heard.changed().await.is_err() {
            // The tasks that ask have ended, which they do not do by themselves: nothing changes any more.
            std::future::pending().await
        }
    }
}

/// A state with its age, so that it means the same on another clock.
#[derive(Debug, Serialize, Deserialize)]
struct Aged<S> {
    milliseconds: u64,
    /// Earlier releases do not count.
    #[serde(default)]
    version: u64,
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
