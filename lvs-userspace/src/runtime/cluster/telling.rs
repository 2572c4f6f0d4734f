//! Whether the others know this director's connections, and what it wants of the services.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::desired::Own;
use crate::cluster::identity::NodeId;
use crate::cluster::pulse::Outlook;
use crate::cluster::state::Written;
use crate::cluster::sync::SenderStats;
use crate::cluster::sync::link::{LOOK_AGAIN, Status};

/// What has changed is looked for in the table now and then.
const LOOKED: Duration = Duration::from_millis(2 * LOOK_AGAIN.as_millis() as u64);

/// How far each of the others is.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    /// The other directors, as `status` has them.
    pub(super) nodes: Vec<NodeId>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) outlook: watch::Receiver<Outlook>,
    /// The desired state, and what of it they were written.
    pub(super) own: Own,
    pub(super) written: watch::Receiver<Vec<Written>>,
}

impl Telling {
    /// Returns when all that are heard know every connection of now, and the desired state.
    pub(super) async fn finished(mut self) {
        let began = Instant::now();
        let version = self.own.borrow().as_ref().map_or(0, |own| own.version);
        sleep(LOOKED + LOOK_AGAIN).await;
        while !self.is_finished(began.elapsed(), version) {
            let changed = tokio::select! {
                changed = self.status.changed() => changed,
                changed = self.outlook.changed() => changed,
                changed = self.written.changed() => changed,
            };
            // Nobody is told any more where this fails.
            if changed.is_err() {
                return;
            }
        }
    }

    /// Says of each of the others whether it has been told everything, whenever that changes: at the beginning nobody has.
    /// Until nobody is told any more.
    pub(super) async fn follow(mut self, mut say: impl FnMut(NodeId, bool)) {
        let mut known: Vec<Option<bool>> = vec![None; self.nodes.len()];
        loop {
            let told: Vec<bool> =
                self.status.borrow_and_update().peers.iter().map(|peer| follows(&peer.sender)).collect();
            for ((node, known), is_told) in self.nodes.iter().zip(&mut known).zip(told) {
                if known.replace(is_told) != Some(is_told) {
                    say(*node, is_told);
                }
            }
            if self.status.changed().await.is_err() {
                return;
            }
            // Under load the status changes all the time.
            sleep(LOOK_AGAIN).await;
        }
    }

    fn is_finished(&self, elapsed: Duration, version: u64) -> bool {
        let (status, outlook, written) = (self.status.borrow(), self.outlook.borrow(), self.written.borrow());
        let mut others = self.nodes.iter().zip(status.peers.iter().zip(&*written));
        others.all(|(node, (peer, written))| {
            // One that does not ask cannot be told.
            let knows = is_told(&peer.sender, elapsed) && written.is_none_or(|written| written >= version);
            !outlook.alive.contains(node) || knows
        })
    }
}

/// Whether one that follows was told everything that had changed when this was asked for the first time, so long ago. One
/// that does not follow, or has only begun to, was not.
fn is_told(sender: &SenderStats, elapsed: Duration) -> bool {
    follows(sender) && sender.lag + LOOKED < elapsed
}

/// Whether it knows everything but for the latest changes.
const fn follows(sender: &SenderStats) -> bool {
    sender.is_followed && sender.bulk_left == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sync::link::PeerStatus;

    const FOLLOWS: SenderStats = SenderStats {
        sessions: 1,
        incompatible: 0,
        datagrams: 0,
        bytes: 0,
        entries: 0,
        removals: 0,
        lost: 0,
        stale: 0,
        is_followed: true,
        bulk_total: 64,
        bulk_left: 0,
        waiting: 0,
        lag: Duration::ZERO,
        rate: 0,
    };

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn what_had_changed_when_it_was_asked_for_has_to_be_told() {
        let late = SenderStats { lag: milliseconds(15), ..FOLLOWS };
        assert!(is_told(&FOLLOWS, milliseconds(30)));
        assert!(!is_told(&late, milliseconds(30)) && is_told(&late, milliseconds(50)));
        // Its lag begins with its session.
        let joins = SenderStats { bulk_left: 1, ..FOLLOWS };
        let absent = SenderStats { is_followed: false, ..FOLLOWS };
        assert!(!is_told(&joins, milliseconds(900)) && !is_told(&absent, milliseconds(900)));
    }

    #[tokio::test]
    async fn all_that_are_heard_are_waited_for_and_the_dead_are_not() {
        let nodes = [NodeId(1), NodeId(2)];
        let follows = PeerStatus { sender: FOLLOWS, ..PeerStatus::default() };
        let (told, status) =
            watch::channel(Status { peers: vec![follows, PeerStatus::default()], ..Status::default() });
        let (heard, outlook) = watch::channel(Outlook { alive: nodes.into(), ..Outlook::default() });
        let (writes, written) = watch::channel(vec![Some(3); 2]);
        let own = Own::new(None);
        let telling = Telling { nodes: nodes.into(), status, outlook, own, written };
        assert!(!telling.is_finished(milliseconds(900), 3), "one is heard and does not follow");
        heard.send_modify(|outlook| outlook.alive = [NodeId(1)].into());
        assert!(telling.is_finished(milliseconds(900), 3));
        assert!(!telling.is_finished(milliseconds(900), 4), "what was drained last is not told");
        writes.send_replace(vec![None, Some(4)]);
        assert!(telling.is_finished(milliseconds(900), 4), "it does not ask");
        writes.send_replace(vec![Some(4); 2]);
        assert!(telling.is_finished(milliseconds(900), 4));
        heard.send_modify(|outlook| outlook.alive = nodes.into());
        let (sender, mut said) = tokio::sync::mpsc::unbounded_channel();
        let follow =
            telling.clone().follow(move |node, is_told| sender.send((node, is_told)).expect("a receiver"));
        let follow = tokio::spawn(follow);
        let finished = tokio::spawn(telling.finished());
        told.send_modify(|status| status.peers[1] = follows);
        tokio::time::timeout(Duration::from_secs(20), finished).await.expect("it is told").expect("no panic");
        // A change that lasts is said once, and so is its end.
        let mut heard = Vec::new();
        while heard.last() != Some(&(NodeId(2), true)) {
            heard.push(said.recv().await.expect("a word"));
        }
        assert!(heard.starts_with(&[(NodeId(1), true)]), "{heard:?}");
        told.send_modify(|status| status.peers[0].sender.is_followed = false);
        assert_eq!(said.recv().await, Some((NodeId(1), false)));
        drop(told);
        follow.await.expect("it ends");
    }
}
