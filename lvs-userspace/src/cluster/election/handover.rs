//! A group goes to another director in order: nothing is to be lost with it.

use std::cmp::Reverse;
use std::time::Duration;

use super::peer::Peer;
use super::{Node, Output, State, Task, Why};
use crate::cluster::identity::GroupId;

/// How long the connections may take to be told; or two dead times, if that is shorter: by then one that has asked for the
/// group and died is known to be dead.
pub const TELLING: Duration = Duration::from_secs(1);

/// On the way to another director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handover {
    pub(super) why: Why,
    since: Duration,
    is_told: bool,
}

impl Node {
    /// Gives a group up when another director has been told of all its connections; until then no new one is taken that has
    /// to be remembered. At once where nobody could be told, or nothing comes here any more. To be repeated.
    pub(super) fn hand_over(&mut self, index: usize, why: Why, now: Duration) {
        let group = self.group(index);
        let has_heirs = self.alive(now).next().is_some();
        let seat = &mut self.seats[index];
        let State::Holding { epoch, ends, fresh_until, serves: true } = seat.state else {
            return self.give_up(index, why, now);
        };
        if !has_heirs || !seat.fitness.is_fit || ends <= now {
            return self.give_up(index, why, now);
        }
        match seat.handover {
            None => {
                seat.handover = Some(Handover { why, since: now, is_told: false });
                let fresh_until = fresh_until.min(now);
                seat.state = State::Holding { epoch, ends, fresh_until, serves: true };
                self.outputs.push(Output::Lease { group, epoch, ends, fresh_until });
                self.order(Task::Tidy { group });
            }
            Some(Handover { since, is_told, .. })
                if is_told || now.saturating_sub(since) >= TELLING.min(2 * self.settings.deadtime) =>
            {
                self.give_up(index, why, now);
            }
            Some(_) => {}
        }
    }

    /// Who is the first to ask for a group that is given up.
    pub(super) fn heir(&self, index: usize, now: Duration) -> Option<&Peer> {
        let group = self.group(index);
        let rank = |peer: &Peer| Reverse(self.settings.rank(index, peer.node));
        let ready = self.alive(now).filter_map(|peer| Some((peer, peer.says(group)?)));
        let ready = ready.filter(|(_, said)| said.is_ready && said.fitness.is_fit);
        ready.max_by_key(|(peer, said)| (said.wants, said.fitness, rank(peer))).map(|(peer, _)| peer)
    }

    /// All connections of a group that is handed over have been told.
    pub fn tidied(&mut self, group: GroupId) {
        self.with(group, |seat| {
            if let Some(handover) = &mut seat.handover {
                handover.is_told = true;
            }
        });
    }
}
