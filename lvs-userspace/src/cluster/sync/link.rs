//! Sender and receiver with a socket and the data plane: all of the synchronisation with one other director.

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
use super::{Directory, Options, Receiver, ReceiverStats, Seal, Sender, SenderStats, Step};
use crate::dataplane::{FlowReader, FlowWriter, monotonic_nanoseconds};

/// Between two looks for what has changed.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Until there may be more to send.
const PAUSE: Duration = Duration::from_millis(1);
/// Datagrams taken from the socket before anything else is done: as many as the sender may have under way.
const DATAGRAMS_AT_ONCE: usize = 64;
/// Changed buckets taken note of at once.
const MARKS_AT_ONCE: usize = 65_536;

/// How far the synchronisation is, and what it has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub sender: SenderStats,
    pub receiver: ReceiverStats,
    /// Datagrams that were not sealed by the other director.
    pub unauthentic: u64,
    /// Datagrams of another layout, or that make no sense.
    pub malformed: u64,
    /// Records that the connection table could not take: the kernel has refused.
    pub failures: u64,
}

/// What a link is made of.
#[derive(Debug)]
pub struct Parts<S> {
    pub socket: std::net::UdpSocket,
    /// The other director's socket.
    pub peer: SocketAddr,
    pub seal: S,
    pub reader: FlowReader,
    pub writer: FlowWriter,
    /// What this director's maps hold, and what it is active for. The link ends when its other end is gone.
    pub directory: watch::Receiver<Arc<Directory>>,
    pub options: Options,
}

/// The synchronisation with one other director.
///
/// It keeps a processor busy while there is a bulk, and sleeps otherwise: give it a thread of its own, with a runtime
/// of that one thread.
#[derive(Debug)]
pub struct Link<S> {
    socket: UdpSocket,
    seal: S,
    reader: FlowReader,
    writer: FlowWriter,
    plan: watch::Receiver<Arc<Directory>>,
    directory: Arc<Directory>,
    sender: Sender,
    receiver: Receiver,
    status: watch::Sender<Status>,
    counted: Status,
}

impl<S: Seal> Link<S> {
    /// Within a tokio runtime. Also answers where to read how it goes.
    pub fn new(parts: Parts<S>) -> io::Result<(Self, watch::Receiver<Status>)> {
        let Parts { socket, peer, seal, reader, writer, directory: mut plan, options } = parts;
        socket.set_nonblocking(true)?;
        socket.connect(peer)?;
        let options = Options { overhead: seal.overhead(), ..options };
        let random = RandomState::new();
        let directory = Arc::clone(&plan.borrow_and_update());
        let (status, reading) = watch::channel(Status::default());
        let link = Self {
            socket: UdpSocket::from_std(socket)?,
            seal,
            sender: Sender::new(options, reader.buckets(), random.hash_one("sender")),
            receiver: Receiver::new(random.hash_one("receiver")),
            reader,
            writer,
            plan,
            directory,
            status,
            counted: Status::default(),
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
                // What is wrong with it shows when it is used.
                _ = self.socket.readable() => {}
                () = sleep(pause) => {}
            }
        }
    }

    fn replan(&mut self) {
        let directory = Arc::clone(&self.plan.borrow_and_update());
        self.receiver.plan_changed(&self.directory, &directory);
        self.sender.plan_changed(&self.directory, &directory);
        self.directory = directory;
    }

    /// Takes what the other one has sent.
    fn read(&mut self) {
        // One byte more than a datagram may have, so that one that is too long is noticed.
        let mut buffer = [0; wire::DATAGRAM + 1];
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.socket.try_recv(&mut buffer) {
                Ok(length) => self.take(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The other one is not there, or not yet.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => {
                    debug!(%error, "a datagram about connections could not be received");
                    break;
                }
            }
        }
    }

    fn take(&mut self, datagram: &[u8]) {
        let Some(message) = self.seal.open(datagram) else {
            self.counted.unauthentic += 1;
            return;
        };
        let (header, body) = match wire::decode(message) {
            Ok(decoded) => decoded,
            Err(error) => {
                debug!(%error, "a datagram of the other director's was ignored");
                self.counted.malformed += 1;
                return;
            }
        };
        let now = now();
        if matches!(body, Body::Join { .. } | Body::Report { .. }) {
            self.sender.receive(now, &header, &body, &self.directory);
            return;
        }
        let was_current = self.receiver.stats().is_current;
        let taken = self.receiver.receive(now, &header, &body, &mut self.writer, &self.directory);
        if let Err(reason) = taken {
            self.counted.failures += 1;
            warn!(%reason, "the other director's connections could not be taken over; asking for them again");
        }
        let stats = self.receiver.stats();
        if stats.is_current && !was_current {
            info!(connections = stats.inserted, "holding all connections of the other director");
        }
    }

    /// Without a receiver marks stay where they are: the next one is told everything anyway.
    fn take_marks(&mut self) {
        if !self.sender.is_followed() {
            return;
        }
        for _ in 0..MARKS_AT_ONCE {
            let Some(bucket) = self.reader.next_marked() else { break };
            self.sender.mark(bucket);
        }
    }

    /// Sends what there is to send; answers how long there is nothing more.
    fn write(&mut self) -> Duration {
        while let Some(report) = self.receiver.poll(now()) {
            self.send(report);
        }
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.sender.poll(now(), &self.reader, &self.directory) {
                Step::Send(datagram) => self.send(datagram),
                Step::Again => return Duration::ZERO,
                Step::Pause => return PAUSE,
                Step::Wait => return LOOK_AGAIN,
            }
        }
        Duration::ZERO
    }

    /// A datagram that cannot be sent is one that was lost.
    fn send(&mut self, mut datagram: Vec<u8>) {
        self.seal.seal(&mut datagram);
        if let Err(error) = self.socket.try_send(&datagram)
            && !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock)
        {
            debug!(%error, "a datagram about connections could not be sent");
        }
    }

    fn publish(&mut self) {
        let (sender, receiver) = (self.sender.stats(), self.receiver.stats());
        let now = Status { sender, receiver, ..self.counted };
        self.status.send_if_modified(|status| std::mem::replace(status, now) != now);
    }
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_nanoseconds())
}
