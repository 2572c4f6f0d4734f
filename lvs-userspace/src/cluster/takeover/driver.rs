//! The task behind [`super::Takeover`]: announces when it is time, listens to who claims our addresses, and follows
//! the interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{pending, poll_fn};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::warn;

use super::address::Present;
use super::announce::frame::{Claim, Word};
use super::announce::socket::{About, Listener};
use super::wire::Wires;
use super::{Entry, Failure, Notice, Shared};
use crate::config::model::GroupAddress;
use crate::network;

/// Between two alarms about one address, and between two defences of it (RFC 5227 section 2.4).
const ALARM_ONCE_IN: Duration = Duration::from_secs(10);
/// From a claim to the alarm: who takes the address over in order announces it while we are about to let it go.
const BENEFIT_OF_DOUBT: Duration = Duration::from_millis(200);

/// A claim by somebody else.
#[derive(Clone, Debug)]
struct Heard {
    interface: Arc<str>,
    claim: Claim,
}

impl Heard {
    fn is_about(&self, address: &GroupAddress) -> bool {
        address.address == self.claim.address && *address.interface == *self.interface
    }
}

/// The ears on one interface.
#[derive(Debug)]
struct Ears {
    index: u32,
    addresses: BTreeSet<IpAddr>,
    listeners: Vec<Listener>,
}

pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) changes: network::Changes,
    pub(super) notices: mpsc::Sender<Notice>,
    ears: BTreeMap<Arc<str>, Ears>,
    /// Of addresses that somebody else has claimed.
    suspicions: BTreeMap<IpAddr, Suspicion>,
}

/// A claim of an address that we hold.
#[derive(Debug)]
enum Suspicion {
    /// An alarm, if we still hold it then.
    Due(Instant, Heard),
    /// The alarm was given.
    Told(Instant),
}

enum Event {
    Due,
    Changed,
    Heard(Arc<str>, io::Result<Word>),
}

impl Suspicion {
    const fn due(&self) -> Option<Instant> {
        match self {
            Self::Due(due, _) => Some(*due),
            Self::Told(_) => None,
        }
    }

    /// The next claim is news again.
    fn is_over(&self, now: Instant) -> bool {
        matches!(self, Self::Told(at) if now.duration_since(*at) >= ALARM_ONCE_IN)
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, changes: network::Changes, notices: mpsc::Sender<Notice>) -> Self {
        Self { shared, changes, notices, ears: BTreeMap::new(), suspicions: BTreeMap::new() }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.next().await {
                Event::Due => {
                    let now = Instant::now();
                    self.shared.announce_due(now);
                    self.give_alarms(now);
                }
                Event::Changed => {
                    if let Err(error) = self.follow().await {
                        warn!(%error, "addresses may be missing, or not announced");
                    }
                }
                Event::Heard(interface, Ok(Word::Has(claim))) => self.consider(interface, claim),
                // Who is about to take an address of ours is answered, by the kernel.
                Event::Heard(_, Ok(Word::Asks(_))) => {}
                Event::Heard(interface, Err(error)) => self.ear_failed(&interface, &error),
            }
        }
    }

    async fn next(&mut self) -> Event {
        let shared = &self.shared;
        let suspicion = self.suspicions.values().filter_map(Suspicion::due).min();
        let due = async {
            loop {
                // Before the schedules are read, so that a change after that is not missed.
                let woken = shared.wake.notified();
                match shared.next_due().into_iter().chain(suspicion).min() {
                    Some(next) => tokio::select! {
                        () = sleep_until(next.into()) => return,
                        () = woken => {}
                    },
                    None => woken.await,
                }
            }
        };
        let ears = &self.ears;
        let heard = poll_fn(|context| {
            for (interface, ears) in ears {
                for listener in &ears.listeners {
                    if let Poll::Ready(word) = listener.poll_word(context) {
                        return Poll::Ready(Event::Heard(interface.clone(), word));
                    }
                }
            }
            Poll::Pending
        });
        let changes = &mut self.changes;
        let changed = async {
            tokio::select! {
                () = shared.groups_changed.notified() => {}
                change = changes.next() => if change.is_none() {
                    warn!("interfaces are no longer watched: an address that is lost will not come back");
                    pending().await
                }
            }
        };
        // Announcements first: they are what others wait for.
        tokio::select! {
            biased;
            () = due => Event::Due,
            () = changed => Event::Changed,
            event = heard => event,
        }
    }

    /// After a change of interfaces, addresses or groups; tells the first failure after having tried all.
    pub(super) async fn follow(&mut self) -> Result<(), Failure> {
        let before = self.shared.look_at_interfaces().await?;
        self.listen();
        let mut outcome = {
            let _alone = self.shared.addresses.lock().await;
            self.shared.clear_dropped().await
        };
        for entry in self.shared.entries() {
            outcome = outcome.and(self.restore(&entry, &before).await);
        }
        outcome
    }

    /// Opens ears where there are none for the interface as it is now.
    fn listen(&mut self) {
        let mut wanted: BTreeMap<Arc<str>, BTreeSet<IpAddr>> = BTreeMap::new();
        for entry in self.shared.entries() {
            for address in &entry.group.addresses {
                wanted.entry(address.interface.as_str().into()).or_default().insert(address.address);
            }
        }
        self.ears.retain(|interface, _| wanted.contains_key(interface));
        let mut is_new = false;
        for (interface, addresses) in wanted {
            let Ok(wire) = self.shared.wire(&interface) else {
                self.ears.remove(&interface);
                continue;
            };
            let is_same = |ears: &Ears| ears.index == wire.index && ears.addresses == addresses;
            if self.ears.get(&interface).is_some_and(is_same) {
                continue;
            }
            is_new = true;
            let list: Vec<_> = addresses.iter().copied().collect();
            match Listener::open_all(wire.index, About::Claims, &list) {
                Ok(listeners) => {
                    self.ears.insert(interface, Ears { index: wire.index, addresses, listeners });
                }
                Err(error) => {
                    self.ears.remove(&interface);
                    warn!(%interface, %error, "cannot hear who else has the addresses of groups there");
                }
            }
        }
        if is_new {
            self.shared.apply_settings();
        }
    }

    /// Puts back what of a held group has gone, with its link perhaps, and announces where that is needed.
    async fn restore(&mut self, entry: &Entry, before: &Wires) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let _alone = shared.addresses.lock().await;
        if !entry.is_held() {
            return Ok(());
        }
        let mut missing = Vec::new();
        let mut announce = false;
        let present = Present::read(&self.shared.network).await?;
        for address in &entry.group.addresses {
            let Ok(wire) = self.shared.wire(&address.interface) else { continue };
            announce |= wire.is_up && before.get(&address.interface) != Some(wire);
            if !present.has(wire.index, address.address) {
                missing.push((wire.index, address.address));
            }
        }
        if !announce && missing.is_empty() {
            return Ok(());
        }
        let put = self.shared.put(entry).await;
        entry.schedule_announcements(Instant::now());
        self.shared.wake.notify_one();
        if !missing.is_empty() {
            let present = Present::read(&self.shared.network).await?;
            missing.retain(|(index, address)| present.has(*index, *address));
        }
        for (_, address) in missing {
            self.tell(Notice::Restored { group: entry.group.name.clone(), address });
        }
        put
    }

    /// An address that we hold and somebody else claims is an alarm, if it stays so.
    fn consider(&mut self, interface: Arc<str>, claim: Claim) {
        if self.shared.is_own(claim.by) {
            return;
        }
        let heard = Heard { interface, claim };
        let now = Instant::now();
        let is_known = self.suspicions.get(&claim.address).is_some_and(|known| !known.is_over(now));
        if !is_known && self.held(&heard).is_some() {
            self.suspicions.insert(claim.address, Suspicion::Due(now + BENEFIT_OF_DOUBT, heard));
        }
    }

    /// The held group that it is about, and the address.
    fn held(&self, heard: &Heard) -> Option<(String, GroupAddress)> {
        let held = self.shared.entries().into_iter().filter(|entry| entry.is_held());
        held.into_iter().find_map(|entry| {
            let address = entry.group.addresses.iter().find(|address| heard.is_about(address))?;
            Some((entry.group.name.clone(), address.clone()))
        })
    }

    /// What is still held is defended.
    fn give_alarms(&mut self, now: Instant) {
        let due: Vec<_> = self
            .suspicions
            .iter()
            .filter(|(_, suspicion)| suspicion.due().is_some_and(|due| due <= now))
            .map(|(address, _)| *address)
            .collect();
        for address in due {
            let Some(Suspicion::Due(_, heard)) = self.suspicions.remove(&address) else { continue };
            let Some((group, held)) = self.held(&heard) else { continue };
            self.suspicions.insert(address, Suspicion::Told(now));
            if let Err(error) = self.shared.announce_address(&held) {
                warn!(%error, "an address that somebody else claims is not defended");
            }
            self.tell(Notice::Conflict { group, address, by: heard.claim.by });
        }
    }

    fn ear_failed(&mut self, interface: &Arc<str>, error: &io::Error) {
        // The kernel goes on by itself when the interface is up again.
        if error.raw_os_error() == Some(libc::ENETDOWN) {
            return;
        }
        warn!(%interface, %error, "no longer hears who else has the addresses of groups there");
        self.ears.remove(interface);
    }

    /// Where nobody reads them, notices are lost: they are news and not state.
    fn tell(&self, notice: Notice) {
        if let Err(error) = self.notices.try_send(notice) {
            warn!(%error, "a notice is lost");
        }
    }
}
