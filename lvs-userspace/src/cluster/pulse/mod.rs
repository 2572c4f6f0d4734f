//! The thread that beats: it sends and hears messages, lets the election decide, and writes leases.
//!
//! It waits for nobody and does nothing that blocks; what takes time it has done by others, as [`Task`]s, and is told
//! the outcome by [`Order`]s. While the agent's main task makes no progress it does nothing at all: its beats stop,
//! the lease ends by itself, and others see a dead director, which is what it is.

mod detector;
mod outlook;
mod status;
mod thread;

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::beat::Fitness;
use super::election::{Inherited, Promised, Refused, Settings, Task, Wire};
use super::identity::{GroupId, NodeId};
use super::keys::Keyring;
use super::transport::{Transport, Waker};
use super::vrrp::Progress;
use crate::dataplane::LeaseWriter;

pub use outlook::Outlook;
pub use status::{DesiredStatus, GroupStatus, Heard, PathStatus, PeerStatus, Status};

/// What the thread is told.
#[derive(Debug)]
pub enum Order {
    Fitness {
        group: GroupId,
        fitness: Fitness,
    },
    Ready {
        group: GroupId,
        is_ready: bool,
    },
    Digest {
        group: GroupId,
        digest: u64,
    },
    /// Whether another director has been told all connections of this one.
    Told {
        node: NodeId,
        is_told: bool,
    },
    Probed {
        group: GroupId,
        attempt: u64,
        found: Wire,
        /// Until when it was listened for.
        until: Duration,
    },
    Fenced {
        group: GroupId,
        node: NodeId,
        done: bool,
    },
    Failed {
        group: GroupId,
    },
    Tidied {
        group: GroupId,
    },
    Standby {
        group: GroupId,
        answer: oneshot::Sender<Result<(), Refused>>,
    },
    Release {
        group: GroupId,
        answer: oneshot::Sender<Result<(), Refused>>,
    },
    Take {
        group: GroupId,
        answer: oneshot::Sender<Result<(), Refused>>,
    },
    /// A planned restart; the answer is that it was asked for, [`Notice::Held`](super::election::Notice::Held) that it was
    /// granted.
    Hold {
        length: Duration,
        answer: oneshot::Sender<Result<(), Refused>>,
    },
    Keys(Keyring),
    Describe(oneshot::Sender<Status>),
    /// Gives everything up, and from then on only votes.
    Leave(oneshot::Sender<()>),
    /// Ends, and leaves leases as they are.
    Stop,
}

/// What the thread is made of.
#[derive(Debug)]
pub struct Parts {
    pub settings: Settings,
    pub inherited: Vec<Inherited>,
    pub promised: Vec<Promised>,
    /// Names for people.
    pub nodes: BTreeMap<NodeId, String>,
    /// Names for people, and the group's place in `LEASES`.
    pub groups: BTreeMap<GroupId, (String, u8)>,
    pub writer: LeaseWriter,
    pub transport: Transport,
    pub keys: Keyring,
    pub warntime: Duration,
    pub watchdog: Duration,
    pub progress: std::sync::Arc<Progress>,
    pub tasks: tokio::sync::mpsc::UnboundedSender<Task>,
}

/// The running thread. When this is dropped, it ends and leaves leases as they are.
#[derive(Debug)]
pub struct Pulse {
    orders: mpsc::Sender<Order>,
    outlook: watch::Receiver<Outlook>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// In the network namespace of the calling thread.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        let waker = parts.transport.waker();
        let (told, outlook) = watch::channel(Outlook::default());
        let thread = thread::Thread::new(parts, received, told);
        let thread = std::thread::Builder::new().name("pulse".to_owned()).spawn(move || thread.run())?;
        Ok(Self { orders, outlook, waker, thread: Some(thread) })
    }

    pub fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("the thread that beats has ended");
        }
        self.waker.wake();
    }

    /// What is known of the others at any time.
    pub fn outlook(&self) -> watch::Receiver<Outlook> {
        self.outlook.clone()
    }

    /// For those who only give orders.
    pub fn handle(&self) -> Handle {
        Handle { orders: self.orders.clone(), waker: self.waker.clone() }
    }
}

/// Gives orders to the thread.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    waker: Waker,
}

impl Handle {
    pub fn order(&self, order: Order) {
        // Whoever ends the thread knows that it has ended.
        self.orders.send(order).ok();
        self.waker.wake();
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.handle().order(Order::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that beats has panicked");
        }
    }
}
