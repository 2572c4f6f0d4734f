//! The loop of a voter.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use tracing::{info, warn};

use super::Error;
use crate::cluster::beat::{Beat, Promise};
use crate::cluster::election::{Received, Voter};
use crate::cluster::identity::{GroupId, NodeId};
use crate::cluster::keys::{Keyring, Kind};
use crate::cluster::message;
use crate::cluster::refusal::Refusals;
use crate::cluster::transport::{Source, Transport};
use crate::cluster::urgency::be_urgent;
use crate::dataplane::monotonic_nanoseconds;

/// It looks for orders this often at the least.
const ROUND: Duration = Duration::from_secs(1);

/// What the thread is told.
pub(super) enum Order {
    Keys(Keyring),
    Stop,
}

pub(super) struct Thread {
    voter: Voter,
    transport: Transport,
    keys: Keyring,
    refusals: Refusals,
    /// Votes that were told of.
    told: Vec<(GroupId, Promise)>,
}

impl Thread {
    pub(super) fn new(
        node: NodeId,
        life: u64,
        silence: Duration,
        transport: Transport,
        keys: Keyring,
    ) -> Self {
        let voter = Voter::new(node, life, silence, now());
        Self { voter, transport, keys, refusals: Refusals::default(), told: Vec::new() }
    }

    /// Until the order to stop.
    pub(super) fn run(mut self, orders: &Receiver<Order>) -> Result<(), Error> {
        be_urgent();
        loop {
            match orders.try_recv() {
                Ok(Order::Keys(keys)) => self.keys = keys,
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            for (source, beat, time) in self.listen().map_err(Error::Wait)? {
                self.answer(source, &beat, time);
            }
            self.tell();
        }
    }

    fn listen(&mut self) -> io::Result<Vec<(Source, Beat, Duration)>> {
        let Self { transport, keys, refusals, .. } = self;
        let mut heard = Vec::new();
        transport.poll(ROUND, |source, datagram| {
            match keys.open(Kind::Beat, datagram).and_then(message::decode) {
                Ok(beat) => heard.push((source, beat, now())),
                Err(refusal) => refusals.count(refusal),
            }
        })?;
        Ok(heard)
    }

    fn answer(&mut self, source: Source, beat: &Beat, time: Duration) {
        let (received, answer) = self.voter.receive(beat, time);
        if received == Received::Stranger {
            warn!(node = format!("{:016x}", beat.sender.0), "more directors than a cluster can have");
        }
        let Some(answer) = answer else { return };
        let sealed = self.keys.seal(Kind::Beat, &message::encode(&answer));
        if let Err(error) = self.transport.send_to(source, &sealed) {
            warn!(%error.fault, "cannot answer");
        }
    }

    /// Of votes that are given to another director, or for another term.
    fn tell(&mut self) {
        let votes: Vec<_> =
            self.voter.ballots().filter_map(|(group, ballot)| Some((group, ballot.promise?))).collect();
        for (group, promise) in votes.iter().filter(|vote| !self.told.contains(vote)) {
            let (group, node) = (format!("{:016x}", group.0), format!("{:016x}", promise.to.0));
            info!(group, node, term = promise.epoch, "has the vote");
        }
        self.told = votes;
    }
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_nanoseconds())
}
