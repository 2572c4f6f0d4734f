//! VRRP: the other way for machines to agree whose the addresses are, understood by routers and by keepalived.
//!
//! [`machine`] decides, pure; a [`thread`] of its own, which waits for nobody, sends and hears advertisements and
//! renews the leases of the data plane. What becomes of the addresses it tells as [`Turn`]s, to whoever runs
//! [`super::takeover`].
//!
//! Without the virtual MAC (RFC 9568 section 7.3) addresses are announced with the interface's own, as keepalived does
//! without `use_vmac`. With it they are on a [`device`] of their own while this machine is active.

pub mod device;
mod frame;
mod link;
pub mod machine;
pub mod mover;
pub mod packet;
mod router;
#[cfg(test)]
mod simulation;
mod socket;
mod status;
mod thread;

use std::io::{self, PipeWriter, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::config::model::VrrpInstance;

use device::Device;
pub use status::{Counts, RouterStatus};

/// What the instance of that name is to do with its addresses now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    Take { instance: String, device: Option<Device> },
    Give { instance: String, device: Option<Device> },
}

impl Turn {
    /// The instance with its device, and whether it is active.
    fn of(self) -> ((String, Option<Device>), bool) {
        match self {
            Self::Take { instance, device } => ((instance, device), true),
            Self::Give { instance, device } => ((instance, device), false),
        }
    }
}

/// The data plane's leases. Between `renew` and the end of that lease, or [`Self::end`], it answers for the instance's
/// addresses.
pub trait Leases: Send {
    /// These are the instances from now on, in this order. No lease of another one may go on; those that are active
    /// and were before are renewed next.
    fn configure(&mut self, instances: &[VrrpInstance]);
    /// `fresh_until`: without another renewal by then, something is wrong.
    fn renew(&mut self, instance: &str, ends: Instant, fresh_until: Instant);
    /// At once: another machine is active, or about to be.
    fn end(&mut self, instance: &str);
}

/// Progress is made so often by who has nothing else to do. The shortest watchdog has room for some.
pub const SIGN: Duration = Duration::from_millis(200);

/// That the agent goes on: without it for too long, its machine must not be active.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    /// Milliseconds after that.
    last: AtomicU64,
}

impl Progress {
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { begun: now, last: AtomicU64::new(0) })
    }

    pub fn made(&self, now: Instant) {
        let milliseconds = now.saturating_duration_since(self.begun).as_millis();
        self.last.store(u64::try_from(milliseconds).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn is_recent(&self, now: Instant, within: Duration) -> bool {
        let last = self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed));
        now.saturating_duration_since(last) <= within
    }
}

/// What the thread is told.
enum Order {
    Configure(Vec<VrrpInstance>),
    Rest { instance: String, for_so_long: Duration },
    Describe(oneshot::Sender<Vec<RouterStatus>>),
    Stop,
}

/// The running thread. It stops when this is dropped, at the latest.
#[derive(Debug)]
pub struct Vrrp {
    orders: mpsc::Sender<Order>,
    wake: PipeWriter,
    thread: Option<JoinHandle<()>>,
}

impl Vrrp {
    /// In the network namespace of the calling thread. `progress`: without any for `watchdog`, all instances rest.
    pub fn start(
        instances: Vec<VrrpInstance>,
        leases: Box<dyn Leases>,
        progress: Arc<Progress>,
        watchdog: Duration,
        turns: tokio::sync::mpsc::UnboundedSender<Turn>,
    ) -> io::Result<Self> {
        let (woken, wake) = io::pipe()?;
        let (orders, received) = mpsc::channel();
        let outside = thread::Outside { leases, turns, progress, watchdog };
        let mut thread = thread::Thread::new(outside, received, woken)?;
        thread.configure(instances, Instant::now());
        let thread = std::thread::Builder::new().name("vrrp".to_owned()).spawn(move || thread.run())?;
        Ok(Self { orders, wake, thread: Some(thread) })
    }

    /// What has not changed goes on undisturbed, and so does what has other addresses, peers, priority or preemption;
    /// anything else resigns and begins anew.
    pub fn configure(&self, instances: Vec<VrrpInstance>) {
        self.order(Order::Configure(instances));
    }

    /// The instance could not do what its turn was: others may try for so long.
    pub fn rest(&self, instance: &str, for_so_long: Duration) {
        self.order(Order::Rest { instance: instance.to_owned(), for_so_long });
    }

    /// What can be told of the virtual routers, in the order of the file.
    pub async fn describe(&self) -> Vec<RouterStatus> {
        let (answer, described) = oneshot::channel();
        self.order(Order::Describe(answer));
        described.await.unwrap_or_default()
    }

    /// Resigns wherever it is active, and ends. The last turns are taken before the channel of turns ends.
    pub fn stop(&self) {
        self.order(Order::Stop);
    }

    fn order(&self, order: Order) {
        let told =
            self.orders.send(order).map_err(io::Error::other).and_then(|()| (&self.wake).write_all(&[0]));
        if let Err(error) = told {
            tracing::error!(%error, "the thread that speaks VRRP has ended");
        }
    }
}

impl Drop for Vrrp {
    fn drop(&mut self) {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            self.stop();
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that speaks VRRP has panicked");
        }
    }
}
