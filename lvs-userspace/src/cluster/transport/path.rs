//! One path: open, or to be opened again.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::plan::Plan;
use super::{Fault, Kind, LONGEST, PathError, PathInfo, serial, udp};

/// So long a path that could not be opened is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// Datagrams that are taken from a path before others have their turn.
const TURN: usize = 32;

#[derive(Debug)]
pub(super) struct Path {
    pub(super) info: PathInfo,
    plan: Plan,
    link: Result<Link, Closed>,
}

#[derive(Debug)]
enum Link {
    Udp(udp::Link),
    Serial(serial::Link),
}

/// Why there is no link, and when one is tried for again.
#[derive(Debug)]
struct Closed {
    fault: Fault,
    retry_at: Instant,
}

impl Path {
    pub(super) fn new(name: String, kind: Kind, plan: Plan, now: Instant) -> Self {
        let info = PathInfo { name, kind, fault: None, counts: super::Counts::default() };
        let nothing = Closed { fault: Fault(nix::errno::Errno::ENOTCONN), retry_at: now };
        let mut path = Self { info, plan, link: Err(nothing) };
        path.reopen(now);
        path
    }

    /// Opens the path if it is closed, and it is time.
    pub(super) fn reopen(&mut self, now: Instant) {
        if !self.link.as_ref().is_err_and(|closed| closed.retry_at <= now) {
            return;
        }
        let opened: io::Result<Link> = match &self.plan {
            Plan::Udp(plan) => plan.open().map(Link::Udp),
            Plan::Serial(plan) => plan.open().map(Link::Serial),
        };
        match opened {
            Ok(link) => {
                self.info.fault = None;
                self.link = Ok(link);
            }
            Err(error) => self.close(Fault::of(&error), now),
        }
    }

    fn close(&mut self, fault: Fault, now: Instant) {
        self.info.fault = Some(fault);
        self.link = Err(Closed { fault, retry_at: now + RETRY });
    }

    /// When there is something to do although nothing is received.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.link {
            Err(closed) => Some(closed.retry_at),
            Ok(Link::Udp(_)) => None,
            Ok(Link::Serial(link)) => link.due(),
        }
    }

    /// What to wait for.
    pub(super) fn watched(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match self.link.as_ref().ok()? {
            Link::Udp(link) => Some((link.as_fd(), PollFlags::POLLIN)),
            Link::Serial(link) if link.is_sending() => {
                Some((link.as_fd(), PollFlags::POLLIN | PollFlags::POLLOUT))
            }
            Link::Serial(link) => Some((link.as_fd(), PollFlags::POLLIN)),
        }
    }

    /// Sends to all who hear this path, or to `source` where one can be sent to alone.
    pub(super) fn send(
        &mut self,
        number: usize,
        bytes: &[u8],
        source: Option<SocketAddr>,
        now: Instant,
        errors: &mut Vec<PathError>,
    ) {
        let before = errors.len();
        let mut failed = |to, fault| errors.push(PathError { path: number, to, fault });
        match (&mut self.link, source) {
            (Err(closed), _) => failed(None, closed.fault),
            (Ok(Link::Udp(link)), None) => link.send(bytes, failed),
            (Ok(Link::Udp(link)), Some(source)) => link.answer(bytes, source, failed),
            (Ok(Link::Serial(link)), _) => {
                if let Err(fault) = link.send(bytes, now) {
                    failed(None, fault);
                }
            }
        }
        let Some(PathError { fault, .. }) = errors.get(before..).and_then(<[_]>::last) else {
            self.info.counts.sent += 1;
            self.info.fault = None;
            return;
        };
        self.info.counts.failed += 1;
        self.info.fault = Some(*fault);
        let is_lost = match &self.link {
            Err(_) => false,
            Ok(Link::Udp(link)) => link.is_stale(),
            Ok(Link::Serial(_)) => true,
        };
        if is_lost {
            self.close(*fault, now);
        }
    }

    /// Hands on what has come, and goes on with what was to be sent.
    pub(super) fn serve(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        mut receive: impl FnMut(Option<SocketAddr>, &[u8]),
    ) {
        let counts = &mut self.info.counts;
        let served = match &mut self.link {
            Err(_) => Ok(()),
            Ok(Link::Serial(link)) => link
                .receive(|found| match found {
                    Ok(datagram) => {
                        counts.received += 1;
                        receive(None, datagram);
                    }
                    Err(_) => counts.damaged += 1,
                })
                .and_then(|()| link.go_on(now)),
            Ok(Link::Udp(link)) => (0..TURN)
                .try_for_each(|_| {
                    match link.receive(buffer)? {
                        udp::Received::Nothing => return Err(Turn::Over),
                        udp::Received::Stranger => counts.strangers += 1,
                        udp::Received::Datagram { length, .. } if length > LONGEST => counts.too_long += 1,
                        udp::Received::Datagram { length, from } => {
                            counts.received += 1;
                            receive(Some(from), &buffer[..length]);
                        }
                    }
                    Ok(())
                })
                .or_else(Turn::end),
        };
        if let Err(fault) = served {
            self.info.counts.failed += 1;
            match self.plan {
                Plan::Serial(_) => self.close(fault, now),
                // What the network says about something that was sent: the socket goes on.
                Plan::Udp(_) => self.info.fault = Some(fault),
            }
        }
    }
}

/// Why no more is taken.
enum Turn {
    Over,
    Failed(Fault),
}

impl From<Fault> for Turn {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl Turn {
    fn end(self) -> Result<(), Fault> {
        match self {
            Self::Over => Ok(()),
            Self::Failed(fault) => Err(fault),
        }
    }
}
