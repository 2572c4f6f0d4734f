//! What operators want of groups, and how a director ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::{interval, sleep, timeout};
use tracing::{error, warn};

use super::Cluster;
use super::steward::Turn;
use crate::cluster::election::Refused;
use crate::cluster::identity::{GroupId, NodeId};
use crate::cluster::pulse::{Order, Outlook, Status};
use crate::cluster::reach::Peer;
use crate::cluster::sync::link::LOOK_AGAIN;
use crate::cluster::vrrp::Progress;
use crate::runtime::Error;

/// How long others may still send here what is another director's now: a neighbour table takes no news for a second
/// after the last, and the other director announces itself again after a second. Without the fence the kernel would
/// pass a nat server's answers on as they are, and the client would reset the connection.
const LINGER: Duration = Duration::from_millis(1500);
/// How long another director may take to have what this one hands over at its end.
const HANDING_OVER: Duration = Duration::from_secs(2);
/// How long a command waits for directors to follow each other.
const FOLLOWING: Duration = Duration::from_millis(500);
/// How long a hold, or an answer of the thread that beats, is waited for in dead times.
const PATIENCE: u32 = 2;

impl Cluster {
    /// `None`: all groups.
    pub(in crate::runtime) async fn operate(&self, what: Wish, group: Option<&str>) -> Result<(), Error> {
        let groups: Vec<&str> = match group {
            Some(name) => vec![name],
            None => self.plan.groups.iter().map(|group| group.name.as_str()).collect(),
        };
        let limit = Instant::now() + FOLLOWING;
        for name in groups {
            let mut done = self.order(what, name).await?;
            // After a change of roles others are about to follow.
            while matches!(done, Err(Refused::Untold)) && Instant::now() < limit {
                sleep(LOOK_AGAIN).await;
                done = self.order(what, name).await?;
            }
            done.map_err(|refused| Error::Cluster(format!("group {name}: {}", reason(refused))))?;
        }
        Ok(())
    }

    async fn order(&self, what: Wish, name: &str) -> Result<Result<(), Refused>, Error> {
        let group = GroupId::of(name);
        if what == Wish::Take && self.others.holder(group).is_some_and(|holder| !self.follows(holder)) {
            return Ok(Err(Refused::Untold));
        }
        let done = self.ask(|answer| match what {
            Wish::Standby => Order::Standby { group, answer },
            Wish::Release => Order::Release { group, answer },
            Wish::Take => Order::Take { group, answer },
        });
        done.await.ok_or_else(|| Error::Cluster("the thread that beats has ended".to_owned()))
    }

    /// Whether this director has been told all connections of another one, or nobody is told any.
    fn follows(&self, peer: Peer) -> bool {
        let Some(replication) = &self.replication else { return true };
        let told = replication.status.borrow().peers.get(peer.index()).map(|peer| peer.receiver);
        told.is_some_and(|receiver| receiver.is_following && receiver.is_current)
    }

    /// Asks the others to wait for the next start with what is held. Whether they do.
    pub(in crate::runtime) async fn hold(&mut self) -> bool {
        let progress = Arc::clone(&self.progress);
        at_work(progress, self.plan.timing.watchdog, self.ask_for_hold()).await
    }

    async fn ask_for_hold(&mut self) -> bool {
        let length = self.plan.timing.hold;
        let patience = PATIENCE * self.plan.timing.deadtime;
        let asked = timeout(patience, self.ask(|answer| Order::Hold { length, answer })).await;
        if asked != Ok(Some(Ok(()))) {
            return false;
        }
        let granted = timeout(patience, async {
            // Each group for itself: one that is not waited for would be taken over, and so all are handed over.
            let mut waiting = self.active.clone();
            while !waiting.is_empty() {
                match self.changed().await {
                    Some(Turn::Held { group }) => drop(waiting.remove(&group)),
                    Some(_) => {}
                    None => return false,
                }
            }
            true
        });
        self.is_held = granted.await.unwrap_or(false);
        self.is_held
    }

    /// Hands everything over, unless the others wait for the next start. When this returns, nothing comes here any
    /// more that the fence would have to stop.
    pub(in crate::runtime) async fn end(self) {
        if !self.is_held {
            at_work(Arc::clone(&self.progress), self.plan.timing.watchdog, self.leave()).await;
        }
        let Self { pulse, takeover, steward, is_held, .. } = self;
        // Joins the thread; then the steward has nobody to do anything for.
        drop(pulse);
        if let Err(error) = steward.await {
            error!(%error, "addresses may be left behind");
        }
        if !is_held && let Some(takeover) = Arc::into_inner(takeover) {
            takeover.close();
        }
    }

    /// Gives everything up, and beats until others have it and are known for it: without the vote of this director
    /// another one would first have to miss it.
    async fn leave(&self) {
        let patience = PATIENCE * self.plan.timing.deadtime;
        let status = timeout(patience, self.describe()).await.ok().flatten();
        if timeout(patience, self.ask(Order::Leave)).await.is_err() {
            warn!("nothing was handed over: the others take it after the dead time");
        }
        let Some(Status { node, peers, .. }) = status else { return };
        if self.is_active() && peers.iter().any(|peer| peer.is_alive) {
            // There may be nobody who can take it.
            timeout(HANDING_OVER, self.taken_over(NodeId::of(&node))).await.ok();
            sleep(LINGER).await;
        }
    }

    /// Returns when others than this director claim all groups that were held here.
    async fn taken_over(&self, own: NodeId) {
        let is_over = |outlook: &Outlook| {
            let holders = self.active.iter().map(|group| outlook.holders.get(&GroupId::of(group)));
            holders.flatten().filter(|holder| **holder != own).count() == self.active.len()
        };
        // It fails when the thread that beats has ended, and with it what there was to wait for.
        self.pulse.outlook().wait_for(is_over).await.ok();
    }
}

/// Does `work`. The thread that beats would fall silent in the middle of it if it heard nothing of the main task.
async fn at_work<T>(progress: Arc<Progress>, watchdog: Duration, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    let mut round = interval(watchdog / 4);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = round.tick() => progress.made(Instant::now()),
        }
    }
}

/// What an operator wants of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    Standby,
    Release,
    Take,
}

const fn reason(refused: Refused) -> &'static str {
    match refused {
        Refused::Unknown => "the cluster has no such group (`lvsctl cluster` lists them)",
        Refused::Nobody => {
            "no other director is ready to take it (`lvsctl cluster`); `release` gives it up all the same"
        }
        Refused::Untold => {
            "the director that would take it is not told the connections of the one that holds it, and they would break: is UDP port 695 open between them (`lvsctl cluster`)? `release`, at the holder, gives it up all the same"
        }
        Refused::NotHeld => "it is not held here",
        Refused::Unfit => "this director is not ready or not fit (`lvsctl cluster`)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_long_is_no_hanging() {
        let watchdog = Duration::from_secs(60);
        let progress = Progress::new(Instant::now().checked_sub(2 * watchdog).unwrap());
        assert!(!progress.is_recent(Instant::now(), watchdog));
        let until_it_is_heard = async {
            while !progress.is_recent(Instant::now(), watchdog) {
                tokio::task::yield_now().await;
            }
        };
        let work = at_work(Arc::clone(&progress), watchdog, until_it_is_heard);
        timeout(Duration::from_secs(30), work).await.unwrap();
    }
}
