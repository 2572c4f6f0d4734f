//! Delivers messages, one after the other for each alert, again and again if need be. A receiver that does
//! not answer holds up nobody else; nor does a disk that does not, since a thread of its own waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::deliver::{self, Failure};
use super::message::Message;
use super::queue::{Queue, Stored};
use crate::config::model::Alert;

/// Between tries of one message; the last one again and again.
const AGAIN: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(1800),
];
/// A message that is older than this is no news.
const OLDEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What the courier is given.
#[derive(Debug)]
pub enum Order {
    /// How the file's alerts are delivered.
    Configure(Vec<Alert>),
    Deliver(Message),
}

/// One alert's messages.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Stored>,
    /// Failures in a row.
    failures: usize,
    /// When the first one may be tried; `None` while it is.
    next: Option<Instant>,
}

/// Delivers until whoever orders is gone.
#[derive(Debug)]
pub struct Courier {
    orders: mpsc::UnboundedReceiver<Order>,
    alerts: BTreeMap<String, Alert>,
    lanes: BTreeMap<String, Lane>,
    queue: Queue,
}

impl Courier {
    /// A courier, and how to give it orders. They are few: a problem is told to each receiver once.
    pub fn new(queue: Queue) -> (Self, mpsc::UnboundedSender<Order>) {
        let (order, orders) = mpsc::unbounded_channel();
        (Self { orders, alerts: BTreeMap::new(), lanes: BTreeMap::new(), queue }, order)
    }

    /// Runs on a thread of its own, which ends with whoever orders.
    pub fn start(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("alerts".to_owned());
        thread.spawn(move || runtime.block_on(self.run())).map(drop)
    }

    async fn run(mut self) {
        for stored in self.queue.load() {
            self.line_up(stored);
        }
        let mut running = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            for (name, lane) in &mut self.lanes {
                let is_due = lane.next.is_some_and(|next| next <= now);
                let (Some(alert), Some(first)) = (self.alerts.get(name), lane.waiting.front()) else {
                    continue;
                };
                if is_due {
                    lane.next = None;
                    running.push(attempt(alert.clone(), first.clone()));
                }
            }
            let due = self
                .lanes
                .iter()
                .filter(|(name, lane)| !lane.waiting.is_empty() && self.alerts.contains_key(*name))
                .filter_map(|(_, lane)| lane.next)
                .min();
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.follow(order),
                    None => return,
                },
                Some((stored, result)) = running.next(), if !running.is_empty() => self.tried(&stored, result),
                () = until(due), if due.is_some() => {}
            }
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Configure(alerts) => {
                self.alerts = alerts.into_iter().map(|alert| (alert.name.clone(), alert)).collect();
                let lanes = self.lanes.iter_mut();
                let gone: Vec<Stored> = lanes
                    .filter(|(name, _)| !self.alerts.contains_key(*name))
                    .flat_map(|(_, lane)| lane.waiting.drain(..))
                    .collect();
                for stored in gone {
                    self.queue.remove(stored.number);
                }
            }
            Order::Deliver(message) => {
                let (stored, dropped) = self.queue.add(message);
                if let Some(number) = dropped {
                    error!("too many messages wait; the oldest is given up");
                    self.lanes
                        .values_mut()
                        .for_each(|lane| lane.waiting.retain(|stored| stored.number != number));
                }
                self.line_up(stored);
            }
        }
    }

    fn line_up(&mut self, stored: Stored) {
        let fresh = || Lane { next: Some(Instant::now()), ..Lane::default() };
        let lane = self.lanes.entry(stored.message.alert.clone()).or_insert_with(fresh);
        lane.waiting.push_back(stored);
    }

    fn tried(&mut self, stored: &Stored, result: Result<(), Failure>) {
        let Stored { number, message } = stored;
        let Some(lane) = self.lanes.get_mut(&message.alert) else { return };
        let age = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_sub(Duration::from_secs(message.unix_seconds));
        let is_over = match result {
            Ok(()) => {
                debug!(alert = message.alert, "told: {}", message.subject());
                if lane.failures > 0 {
                    info!(alert = message.alert, "messages are delivered again");
                }
                lane.failures = 0;
                true
            }
            Err(failure) if failure.is_final() || age >= OLDEST => {
                error!(alert = message.alert, "given up: {failure}: {}", message.subject());
                lane.failures = 0;
                true
            }
            Err(failure) => {
                warn!(alert = message.alert, "not delivered, to be tried again: {failure}");
                lane.failures += 1;
                false
            }
        };
        let pause = match lane.failures {
            0 => Duration::ZERO,
            failures => AGAIN[failures.min(AGAIN.len()) - 1],
        };
        lane.next = Some(Instant::now() + pause);
        if is_over {
            lane.waiting.retain(|waiting| waiting.number != *number);
            self.queue.remove(*number);
        }
    }
}

async fn attempt(alert: Alert, stored: Stored) -> (Stored, Result<(), Failure>) {
    let result = deliver::deliver(&alert, &stored.message).await;
    (stored, result)
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::alert::message::Kind;
    use crate::alert::message::tests::{item, message};

    /// Whoever opens a FIFO to write waits until somebody reads.
    #[test]
    fn a_disk_that_does_not_answer_is_waited_for_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("new");
        mkfifo(&disk, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let (courier, orders) = Courier::new(Queue::new(directory.path().to_owned()));
        courier.start().unwrap();
        let message = message(Kind::Alert, vec![item("www", 1, "down")]);
        orders.send(Order::Deliver(message.clone())).unwrap();
        let written: Message = serde_json::from_slice(&fs::read(&disk).unwrap()).unwrap();
        assert_eq!(written, message);
    }
}
