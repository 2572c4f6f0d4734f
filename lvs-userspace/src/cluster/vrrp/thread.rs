//! The thread that speaks VRRP: it waits for packets, changes of interfaces, orders and the time, and for nothing else,
//! so that a busy agent does not cost an advertisement.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tracing::{error, warn};

use super::link::{self, Changes};
use super::router::Router;
use super::{Leases, Order, Progress, Turn};
use crate::cluster::urgency::be_urgent;
use crate::config::model::VrrpInstance;

/// Between two looks at what no message tells of: the agent's progress, sockets that could not be opened.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Whom the thread acts on.
pub(super) struct Outside {
    pub(super) leases: Box<dyn Leases>,
    pub(super) turns: tokio::sync::mpsc::UnboundedSender<Turn>,
    pub(super) progress: Arc<Progress>,
    pub(super) watchdog: Duration,
}

impl Outside {
    pub(super) fn turn(&self, turn: Turn) {
        if let Err(error) = self.turns.send(turn) {
            error!(%error, "nobody moves the addresses any more");
        }
    }
}

pub(super) struct Thread {
    outside: Outside,
    orders: mpsc::Receiver<Order>,
    woken: PipeReader,
    changes: Changes,
    routers: Vec<Router>,
    next_look: Instant,
}

/// What was waited for.
#[derive(Default)]
struct Ready {
    order: bool,
    change: bool,
}

impl Thread {
    pub(super) fn new(
        outside: Outside,
        orders: mpsc::Receiver<Order>,
        woken: PipeReader,
    ) -> io::Result<Self> {
        let (changes, routers) = (Changes::watch()?, Vec::new());
        Ok(Self { outside, orders, woken, changes, routers, next_look: Instant::now() })
    }

    pub(super) fn configure(&mut self, instances: Vec<VrrpInstance>, now: Instant) {
        let mut old = std::mem::take(&mut self.routers);
        let mut changed = Vec::new();
        for instance in &instances {
            match old.iter().position(|router| router.goes_on_as(instance)) {
                None => self.routers.push(Router::new(instance.clone())),
                Some(index) => {
                    let router = old.swap_remove(index);
                    if router.instance != *instance {
                        changed.push((self.routers.len(), instance.clone()));
                    }
                    self.routers.push(router);
                }
            }
        }
        for mut router in old {
            router.stop(&mut self.outside, "the configuration is another one");
        }
        self.outside.leases.configure(&instances);
        for (index, instance) in changed {
            self.routers[index].change(instance, &mut self.outside, now);
        }
        for router in &self.routers {
            router.renew(&mut self.outside);
        }
        self.look(now);
    }

    /// Until the order to stop.
    pub(super) fn run(mut self) {
        be_urgent();
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(errno) => {
                    error!(%errno, "VRRP ends here: cannot wait for packets");
                    break;
                }
            };
            if ready.order && !self.obey() {
                break;
            }
            let now = Instant::now();
            if (ready.change && self.changes.take()) || now >= self.next_look {
                self.look(now);
            }
            // What has arrived counts before the time that has passed, of which the thread may have missed some.
            for router in &mut self.routers {
                router.receive(&mut self.outside);
            }
            let now = Instant::now();
            for router in &mut self.routers {
                router.tick(&mut self.outside, now);
            }
        }
        for router in &mut self.routers {
            router.stop(&mut self.outside, "the agent ends");
        }
    }

    fn wait(&self) -> Result<Ready, Errno> {
        let next = self.routers.iter().filter_map(Router::next).chain([self.next_look]).min();
        let timeout = next.map(|next| TimeSpec::from(next.saturating_duration_since(Instant::now())));
        let sockets = self.routers.iter().filter_map(|router| Some(router.sockets()?.as_fd()));
        let mut descriptors: Vec<_> = [self.woken.as_fd(), self.changes.as_fd()]
            .into_iter()
            .chain(sockets)
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
            .collect();
        match ppoll(&mut descriptors, timeout, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno),
        }
        let is_ready = |index: usize| descriptors[index].any().unwrap_or(true);
        Ok(Ready { order: is_ready(0), change: is_ready(1) })
    }

    /// Whether to go on.
    fn obey(&mut self) -> bool {
        // One byte for each order, more or less; what counts are the orders.
        let mut bytes = [0; 64];
        if !self.woken.read(&mut bytes).is_ok_and(|read| read > 0) {
            return false;
        }
        while let Ok(order) = self.orders.try_recv() {
            let now = Instant::now();
            match order {
                Order::Configure(instances) => self.configure(instances, now),
                Order::Rest { instance, for_so_long } => {
                    let named = self.routers.iter_mut().filter(|router| router.instance.name == instance);
                    named.for_each(|router| router.rest(now + for_so_long, &mut self.outside));
                }
                Order::Describe(answer) => {
                    let all = self.routers.iter().map(|router| router.status(now));
                    // Whoever asked may have given up waiting.
                    answer.send(all.collect()).ok();
                }
                Order::Stop => return false,
            }
        }
        true
    }

    /// At the interfaces and the agent's progress.
    fn look(&mut self, now: Instant) {
        self.next_look = now + LOOK_AGAIN;
        let links = match link::read() {
            Ok(links) => links,
            Err(error) => {
                warn!(%error, "cannot read the interfaces: VRRP takes them to be as they were");
                return;
            }
        };
        let may_serve = self.outside.progress.is_recent(now, self.outside.watchdog);
        let all: Vec<_> = self.routers.iter().map(|router| router.instance.clone()).collect();
        for router in &mut self.routers {
            let link = links.get(&router.instance.interface);
            router.follow_device(|name| links.contains_key(name), &mut self.outside, now);
            router.follow(link, may_serve, &all, &mut self.outside, now);
        }
    }
}
