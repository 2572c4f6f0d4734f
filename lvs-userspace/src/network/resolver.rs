//! The task around [`Resolution`]: reads the kernel's messages, asks what it wants asked, passes on what
//! it reports.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::kernel::{Events, Network};
use super::resolution::{Action, Resolution};
use super::{Error, NextHopChanged};

/// Between two questions about a neighbour that is not confirmed. The kernel itself gives up after three
/// questions a second apart; a server that comes back is found within this time after that.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Between two lookups of every route, for changes the kernel sends no message about.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(30);
/// Reports on their way; the task waits when the reader lags, and loses nothing.
const REPORTS: usize = 256;

/// Keeps a set of addresses resolved until it is dropped.
pub struct Resolver {
    addresses: watch::Sender<BTreeSet<IpAddr>>,
}

impl Resolver {
    /// Starts the task, watching no address yet. Reports end when the resolver is dropped or the netlink
    /// connection is lost.
    pub fn start(network: Network, events: Events) -> (Self, mpsc::Receiver<NextHopChanged>) {
        let (addresses, wanted) = watch::channel(BTreeSet::new());
        let (reports, receiver) = mpsc::channel(REPORTS);
        let task = Task { network, reports, resolution: Resolution::default() };
        tokio::spawn(async move {
            match task.run(events, wanted).await {
                Err(End::Failed(error)) => warn!(%error, "next hops are no longer watched"),
                Err(End::Unwanted) => {}
            }
        });
        (Self { addresses }, receiver)
    }

    /// The addresses to keep resolved from now on. Each new one is reported once it is looked up (first
    /// without a MAC, if the kernel does not know it yet), and then whenever its next hop differs; the
    /// others are not reported again.
    pub fn set_addresses(&self, addresses: BTreeSet<IpAddr>) {
        self.addresses.send_replace(addresses);
    }
}

/// Why the task ends.
enum End {
    /// Nobody listens any more.
    Unwanted,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

struct Task {
    network: Network,
    reports: mpsc::Sender<NextHopChanged>,
    resolution: Resolution,
}

impl Task {
    async fn run(
        mut self,
        mut events: Events,
        mut wanted: watch::Receiver<BTreeSet<IpAddr>>,
    ) -> Result<Infallible, End> {
        let mut ask_again = interval(ASK_AGAIN);
        let mut look_up_again = interval(LOOK_UP_AGAIN);
        ask_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look_up_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.carry_out(vec![Action::ReadTables]).await?;
        loop {
            let actions = tokio::select! {
                event = events.next() => match event {
                    Some(event) => {
                        let mut actions = self.resolution.handle(event);
                        // A burst (a link goes down with a hundred routes) costs one lookup per address.
                        while let Some(event) = events.ready() {
                            actions.extend(self.resolution.handle(event));
                        }
                        actions
                    }
                    None => return Err(End::Failed(Error::Closed)),
                },
                changed = wanted.changed() => match changed {
                    Ok(()) => self.resolution.set_addresses(&wanted.borrow_and_update()),
                    Err(_) => return Err(End::Unwanted),
                },
                _ = ask_again.tick() => self.resolution.tick(),
                _ = look_up_again.tick() => self.resolution.look_up_all(),
            };
            self.carry_out(actions).await?;
        }
    }

    async fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), End> {
        let mut queue = VecDeque::from(actions);
        let mut looked_up = BTreeSet::new();
        while let Some(action) = queue.pop_front() {
            match action {
                Action::LookUp(address) => {
                    if looked_up.insert(address) {
                        let route = self.network.route(address).await?;
                        queue.extend(self.resolution.route_found(address, route));
                    }
                }
                // The interface may be gone by now; the message about that is on its way.
                Action::Ask(key) => {
                    if let Err(error) = self.network.ask(key).await {
                        debug!(%error, "not asked");
                    }
                }
                Action::ReadTables => {
                    let (links, neighbours) = (self.network.links().await?, self.network.neighbours().await?);
                    queue.extend(self.resolution.synchronise(links, neighbours));
                }
                Action::Report(report) => {
                    if self.reports.send(report).await.is_err() {
                        return Err(End::Unwanted);
                    }
                }
            }
        }
        Ok(())
    }
}
