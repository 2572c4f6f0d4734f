//! Senders and receivers with a socket and the data plane: all of the synchronisation with the other directors.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::wire::{self, Body};
use super::{Directory, Options, Peer, ReceiverStats, Receivers, Seal, SenderStats, Senders, Step};
use crate::cluster::reach::Addresses;
use crate::cluster::refusal::{Refusal, Refusals};
use crate::dataplane::{FlowReader, FlowWriter, monotonic_nanoseconds};

/// Between two looks for what has changed.
pub const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Until there may be more to send.
const PAUSE: Duration = Duration::from_millis(1);
/// Datagrams taken from the socket before anything else is done: as many as a sender may have under way.
const DATAGRAMS_AT_ONCE: usize = 64;
/// Changed buckets taken note of at once.
const MARKS_AT_ONCE: usize = 65_536;

/// How far the synchronisation is, and what it has cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// By peer.
    pub peers: Vec<PeerStatus>,
    /// Datagrams from addresses that no director has.
    pub strangers: u64,
    /// Datagrams that were not sealed by another director, or make no sense.
    pub refusals: Refusals,
}

impl Status {
    /// Datagrams that were not taken, by reason; those that never happened too.
    pub fn refused(&self) -> Vec<(String, u64)> {
        let stale = self.peers.iter().map(|peer| peer.sender.stale + peer.receiver.stale).sum();
        let others = [("stranger", self.strangers), ("stale", stale)];
        self.refusals.iter().chain(others).map(|(reason, count)| (reason.to_owned(), count)).collect()
    }
}

/// With one other director.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    pub sender: SenderStats,
    pub receiver: ReceiverStats,
    /// Records that the connection table could not take: the kernel has refused.
    pub failures: u64,
}

/// What a link is made of.
#[derive(Debug)]
pub struct Parts<S> {
    /// Bound, and connected to nobody.
    pub socket: std::net::UdpSocket,
    /// The other directors' names, for people.
    pub peers: Vec<String>,
    /// Where they are reached; it may change.
    pub addresses: watch::Receiver<Arc<Addresses>>,
    pub seal: S,
    pub reader: FlowReader,
    pub writer: FlowWriter,
    /// What this director's maps hold, and who is active for what. The link ends when its other end is gone.
    pub directory: watch::Receiver<Arc<Directory>>,
    pub options: Options,
}

/// The synchronisation with all other directors.
///
/// It keeps a processor busy while there is a bulk, and sleeps otherwise: give it a thread of its own, with a runtime
/// of that one thread.
#[derive(Debug)]
pub struct Link<S> {
    socket: UdpSocket,
    peers: Vec<String>,
    addresses: watch::Receiver<Arc<Addresses>>,
    reached: Arc<Addresses>,
    seal: S,
    reader: FlowReader,
    writer: FlowWriter,
    plan: watch::Receiver<Arc<Directory>>,
    directory: Arc<Directory>,
    senders: Senders,
    receivers: Receivers,
    status: watch::Sender<Status>,
    counted: Status,
}

impl<S: Seal> Link<S> {
    /// Within a tokio runtime. Also answers where to read how it goes.
    pub fn new(parts: Parts<S>) -> io::Result<(Self, watch::Receiver<Status>)> {
        let Parts { socket, peers, mut addresses, seal, reader, writer, directory: mut plan, options } =
            parts;
        socket.set_nonblocking(true)?;
        let options = Options { overhead: seal.overhead(), ..options };
        let random = RandomState::new();
        let lives = |what: &'static str| {
            let random = &random;
            (0..peers.len()).map(move |peer| random.hash_one((what, peer)))
        };
        let directory = Arc::clone(&plan.borrow_and_update());
        let reached = Arc::clone(&addresses.borrow_and_update());
        let counted = Status { peers: vec![PeerStatus::default(); peers.len()], ..Status::default() };
        let (status, reading) = watch::channel(counted.clone());
        let mut senders = Senders::new(options, reader.buckets(), lives("sender"));
        senders.plan_changed(now(), &Directory::default(), &directory);
        let link = Self {
            socket: UdpSocket::from_std(socket)?,
            seal,
            senders,
            receivers: Receivers::new(lives("receiver")),
            peers,
            addresses,
            reached,
            reader,
            writer,
            plan,
            directory,
            status,
            counted,
        };
        Ok((link, reading))
    }

    /// Until `stop` is done, or nobody changes the directory any more.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            self.read();
            self.take_marks();
            let pause = self.write();
            self.publish();
            tokio::select! {
                () = &mut stop => return,
                changed = self.plan.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.replan();
                }
                Ok(()) = self.addresses.changed() => {
                    self.reached = Arc::clone(&self.addresses.borrow_and_update());
                }
                // What is wrong with it shows when it is used.
                _ = self.socket.readable() => {}
                () = sleep(pause) => {}
            }
        }
    }

    fn replan(&mut self) {
        let directory = Arc::clone(&self.plan.borrow_and_update());
        self.receivers.plan_changed(&self.directory, &directory);
        self.senders.plan_changed(now(), &self.directory, &directory);
        self.directory = directory;
    }

    /// Takes what others have sent.
    fn read(&mut self) {
        // One byte more than a datagram may have, so that one that is too long is noticed.
        let mut buffer = [0; wire::DATAGRAM + 1];
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.socket.try_recv_from(&mut buffer) {
                Ok((length, from)) => self.take(from, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    debug!(%error, "a datagram about connections could not be received");
                    break;
                }
            }
        }
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        let Some(peer) = self.reached.of(from) else {
            self.counted.strangers += 1;
            return;
        };
        let message = match self.seal.open(datagram) {
            Ok(message) => message,
            Err(refusal) => return self.counted.refusals.count(refusal),
        };
        let (header, body) = match wire::decode(message) {
            Ok(decoded) => decoded,
            Err(error) => {
                debug!(%error, %from, "a datagram of another director's was ignored");
                self.counted.refusals.count(Refusal::Malformed);
                return;
            }
        };
        let now = now();
        if matches!(body, Body::Join { .. }) {
            self.receivers.hear_join(now, peer, header.receiver);
        }
        if matches!(body, Body::Join { .. } | Body::Report { .. }) {
            self.senders.receive(now, peer, &header, &body, &self.directory);
            return;
        }
        let before = self.receivers.stats(peer).unwrap_or_default();
        let taken = self.receivers.receive(now, peer, (&header, &body), &mut self.writer, &self.directory);
        let name = self.peers.get(peer.index()).map_or("", String::as_str);
        if let Err(reason) = taken {
            if let Some(counted) = self.counted.peers.get_mut(peer.index()) {
                counted.failures += 1;
            }
            warn!(%reason, director = name, "connections could not be taken over; asking for them again");
        }
        let stats = self.receivers.stats(peer).unwrap_or_default();
        if stats.is_current && !before.is_current && stats.services > 0 {
            info!(
                director = name,
                connections = stats.inserted,
                "holding all connections of another director"
            );
        }
    }

    /// Those that nobody wants to know of stay where they are.
    fn take_marks(&mut self) {
        if !self.senders.wants_marks() {
            return;
        }
        let now = now();
        for _ in 0..MARKS_AT_ONCE {
            let Some(bucket) = self.reader.next_marked() else { break };
            self.senders.mark(now, bucket);
        }
    }

    /// Sends what there is to send; answers how long there is nothing more.
    fn write(&mut self) -> Duration {
        while let Some((peer, report)) = self.receivers.poll(now()) {
            self.send(peer, report);
        }
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.senders.poll(now(), &self.reader, &self.directory) {
                Step::Send(peer, datagram) => self.send(peer, datagram),
                Step::Again => return Duration::ZERO,
                Step::Pause => return PAUSE,
                Step::Wait => return LOOK_AGAIN,
            }
        }
        Duration::ZERO
    }

    /// A datagram that cannot be sent is one that was lost.
    fn send(&self, peer: Peer, mut datagram: Vec<u8>) {
        let Some(to) = self.reached.to(peer) else { return };
        self.seal.seal(&mut datagram);
        if let Err(error) = self.socket.try_send_to(&datagram, to)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            debug!(%error, %to, "a datagram about connections could not be sent");
        }
    }

    fn publish(&mut self) {
        let now = now();
        for (peer, counted) in Peer::all(self.peers.len()).zip(&mut self.counted.peers) {
            counted.sender = self.senders.stats(now, peer).unwrap_or_default();
            counted.receiver = self.receivers.stats(peer).unwrap_or_default();
        }
        self.status.send_if_modified(|status| {
            let is_new = *status != self.counted;
            if is_new {
                status.clone_from(&self.counted);
            }
            is_new
        });
    }
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_nanoseconds())
}
