//! Paths on which beats travel, for one thread that waits for them: no runtime, nothing that blocks.
//!
//! A path that does not work costs nothing but its own beats. What is missing at the start, an interface, an address
//! or a device, is tried for again every second, and so is what was lost.

mod path;
mod plan;
mod serial;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use super::frame;
use super::identity::NodeId;
use crate::config::model::Cluster;
use path::Path;

/// Bytes of the longest datagram.
pub const LONGEST: usize = frame::LONGEST;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the cluster has no node with the number {:#x}", .0.0)]
    NoNode(NodeId),
    #[error("cannot make what wakes the thread of the heartbeat: {0}")]
    Waker(Errno),
}

/// What the system says is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.desc())]
pub struct Fault(pub Errno);

impl Fault {
    fn of(error: &io::Error) -> Self {
        Self(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unicast,
    Multicast,
    Broadcast,
    Serial,
    /// To the voter, who answers.
    Voter,
    /// Of a voter: from whoever asks.
    Listening,
}

/// What is to be told of a path.
#[derive(Clone, Debug)]
pub struct PathInfo {
    /// For people: `from 10.0.0.1`, `multicast 239.255.42.99 on eth1`.
    pub name: String,
    pub kind: Kind,
    /// What went wrong last, if nothing has been sent or opened since.
    pub fault: Option<Fault>,
    pub counts: Counts,
}

/// Messages of one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// To everybody on the path.
    pub sent: u64,
    /// Not sent to everybody, and messages that the network refused.
    pub failed: u64,
    pub received: u64,
    /// Dropped: from an address that no node has.
    pub strangers: u64,
    /// Dropped: more than [`LONGEST`] bytes.
    pub too_long: u64,
    /// Dropped: noise on a serial line.
    pub damaged: u64,
}

/// A message that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathError {
    /// Index into [`Transport::paths`].
    pub path: usize,
    /// To whom; `None` when the path as a whole does not work.
    pub to: Option<SocketAddr>,
    pub fault: Fault,
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Index into [`Transport::paths`].
    pub path: usize,
    /// `None` on a serial line.
    pub address: Option<SocketAddr>,
}

/// Ends [`Transport::poll`] from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    pub fn wake(&self) {
        // It fails when 2^64 - 2 calls have waked nobody; one more would tell nothing new.
        self.0.write(1).ok();
    }
}

/// All sockets and lines of one node.
#[derive(Debug)]
pub struct Transport {
    paths: Vec<Path>,
    waker: Waker,
    /// A byte longer than what is taken, to tell what is too long.
    buffer: Box<[u8]>,
}

impl Transport {
    /// Opens every path of `cluster` that `own` has. Those that cannot be opened have a fault, and are tried again.
    pub fn open(cluster: &Cluster, own: NodeId) -> Result<Self, Error> {
        Self::new(plan::paths(cluster, own)?)
    }

    /// Listens at `address`, for a voter: it is sent to, and answers.
    pub fn listen(address: SocketAddr) -> Result<Self, Error> {
        let plan = plan::Plan::Udp(udp::Plan::open_to_all(address));
        Self::new(vec![(format!("at {address}"), Kind::Listening, plan)])
    }

    fn new(plans: Vec<(String, Kind, plan::Plan)>) -> Result<Self, Error> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let waker = Waker(Arc::new(EventFd::from_flags(flags).map_err(Error::Waker)?));
        let now = Instant::now();
        let paths = plans.into_iter().map(|(name, kind, plan)| Path::new(name, kind, plan, now)).collect();
        Ok(Self { paths, waker, buffer: vec![0; LONGEST + 1].into() })
    }

    /// Always the same ones in the same order.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &PathInfo> {
        self.paths.iter().map(|path| &path.info)
    }

    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Sends to everybody on every path, and tells whom it could not send to.
    pub fn send(&mut self, bytes: &[u8]) -> Vec<PathError> {
        let now = Instant::now();
        let mut errors = Vec::new();
        for (number, path) in self.paths.iter_mut().enumerate() {
            path.reopen(now);
            path.send(number, bytes, None, now, &mut errors);
        }
        errors
    }

    /// Answers a message on its path: to its sender alone over unicast, else to everybody there.
    pub fn send_to(&mut self, source: Source, bytes: &[u8]) -> Result<(), PathError> {
        let now = Instant::now();
        let mut errors = Vec::new();
        if let Some(path) = self.paths.get_mut(source.path) {
            path.send(source.path, bytes, source.address, now, &mut errors);
        }
        errors.pop().map_or(Ok(()), Err)
    }

    /// Waits until something has come, `timeout` has passed or a [`Waker`] was used, and hands on what has come. It may
    /// return earlier. Whether it was woken; the error is that of poll(2).
    pub fn poll(&mut self, timeout: Duration, mut receive: impl FnMut(Source, &[u8])) -> io::Result<bool> {
        let now = Instant::now();
        self.paths.iter_mut().for_each(|path| path.reopen(now));
        let due = self.paths.iter().filter_map(Path::due).min();
        let timeout = due.map_or(timeout, |due| timeout.min(due.saturating_duration_since(now)));
        let Some((is_woken, ready)) = self.wait(timeout)? else { return Ok(false) };
        if is_woken {
            // An error means that another call has read it.
            self.waker.0.read().ok();
        }
        let now = Instant::now();
        for (number, path) in self.paths.iter_mut().enumerate() {
            if ready.contains(&number) || path.due().is_some_and(|due| due <= now) {
                let receive = |address, bytes: &[u8]| receive(Source { path: number, address }, bytes);
                path.serve(&mut self.buffer, now, receive);
            }
        }
        Ok(is_woken)
    }

    /// Whether the waker was used, and which paths have something. `None` after a signal.
    fn wait(&self, timeout: Duration) -> io::Result<Option<(bool, Vec<usize>)>> {
        let open = self.paths.iter().enumerate();
        let open = open.filter_map(|(number, path)| path.watched().map(|watched| (number, watched)));
        let (numbers, files): (Vec<_>, Vec<_>) = open.unzip();
        let mut watched = vec![PollFd::new(self.waker.0.as_fd(), PollFlags::POLLIN)];
        watched.extend(files.into_iter().map(|(file, events)| PollFd::new(file, events)));
        match ppoll(&mut watched, Some(TimeSpec::from_duration(timeout)), None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        // Events of a later kernel, which have no name here, are something too.
        let is_ready = |watched: &PollFd<'_>| watched.revents() != Some(PollFlags::empty());
        let ready = numbers.into_iter().zip(&watched[1..]).filter(|(_, watched)| is_ready(watched));
        Ok(Some((is_ready(&watched[0]), ready.map(|(number, _)| number).collect())))
    }
}
