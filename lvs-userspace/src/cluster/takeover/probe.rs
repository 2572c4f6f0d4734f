//! Does somebody else have an address? Asked on the wire before it is taken.
//!
//! This takes the place of the kernel's duplicate address detection, which for IPv6 takes a second and for IPv4
//! does not exist. Whoever answers for others (proxy ARP) answers here too, and is told of by its MAC. So is whoever asks
//! the same meanwhile: nobody has the addresses then, and two are about to take them (RFC 5227 section 2.1.1, RFC 4862
//! section 5.4.3).

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::announce::frame::{self, Claim, Word};
use super::announce::socket::{About, Listener};
use super::{Failure, Shared};
use crate::config::model::Group;
use crate::dataplane::monotonic_nanoseconds;

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// Questions about each address.
    pub count: u32,
    /// Between two of them.
    pub spacing: Duration,
    /// How long an answer to the last one is waited for.
    pub wait: Duration,
}

impl Default for Probing {
    fn default() -> Self {
        Self { count: 3, spacing: Duration::from_millis(10), wait: Duration::from_millis(40) }
    }
}

impl Probing {
    /// How long it takes where nobody answers.
    pub fn length(&self) -> Duration {
        self.spacing * self.count.max(1).saturating_sub(1) + self.wait
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody has any of the addresses, as far as a link without loss can tell.
    Silent,
    /// The first one who said that he has one.
    Answered(Claim),
    /// Nobody has any of them; the first one who has asked the same.
    Asked(Claim),
}

/// What was found out, and until when it was listened for, by the clock of the data plane's leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    pub answer: Answer,
    pub until: Duration,
}

/// About all addresses of the group at once.
pub(super) async fn probe(shared: &Shared, group: &Group, probing: Probing) -> Result<Probed, Failure> {
    // They hear whatever comes after the first question, and are read to the end.
    let ears = Ears::open(shared, group)?;
    let mut asked = None;
    let mut hear = |word: Word| match word {
        Word::Has(claim) => Some(claim),
        Word::Asks(claim) => {
            asked.get_or_insert(claim);
            None
        }
    };
    let mut answered = None;
    'questions: for question in 1..=probing.count.max(1) {
        for address in &group.addresses {
            let wire = shared.wire(&address.interface)?;
            let question = frame::probe(address.address, wire.mac);
            shared.send(&address.interface, wire.index, &question)?;
        }
        let pause = if question < probing.count { probing.spacing } else { probing.wait };
        let until = Instant::now() + pause;
        while let Ok(word) = timeout_at(until, ears.next(shared)).await {
            answered = hear(word?);
            if answered.is_some() {
                break 'questions;
            }
        }
    }
    let until = Duration::from_nanos(monotonic_nanoseconds());
    while let (None, Some(word)) = (answered, ears.take(shared)) {
        answered = hear(word);
    }
    // The kernel waits for all its readers before it lets go of one, and the answer would get too old meanwhile.
    drop(tokio::task::spawn_blocking(move || drop(ears)));
    let answer = match (answered, asked) {
        (Some(claim), _) => Answer::Answered(claim),
        (None, Some(claim)) => Answer::Asked(claim),
        (None, None) => Answer::Silent,
    };
    Ok(Probed { answer, until })
}

/// What hears of a group's addresses, on all of their interfaces.
struct Ears(Vec<(String, BTreeSet<IpAddr>, Vec<Listener>)>);

impl Ears {
    fn open(shared: &Shared, group: &Group) -> Result<Self, Failure> {
        let mut wanted: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        for address in &group.addresses {
            wanted.entry(&address.interface).or_default().insert(address.address);
        }
        let ears = wanted.into_iter().map(|(interface, addresses)| {
            let index = shared.wire(interface)?.index;
            let list: Vec<_> = addresses.iter().copied().collect();
            let deaf = |source| Failure::Deaf { interface: interface.to_owned(), source };
            let mut listeners = Listener::open_all(index, About::Claims, &list).map_err(deaf)?;
            listeners.extend(Listener::open_all(index, About::Questions, &list).map_err(deaf)?);
            Ok((interface.to_owned(), addresses, listeners))
        });
        ears.collect::<Result<_, Failure>>().map(Self)
    }

    /// The next word of somebody else about one of the addresses.
    async fn next(&self, shared: &Shared) -> Result<Word, Failure> {
        loop {
            let (heard, interface, addresses) = poll_fn(|context| {
                for (interface, addresses, listeners) in &self.0 {
                    for listener in listeners {
                        if let Poll::Ready(heard) = listener.poll_word(context) {
                            return Poll::Ready((heard, interface, addresses));
                        }
                    }
                }
                Poll::Pending
            })
            .await;
            let deaf = |source: io::Error| Failure::Deaf { interface: interface.clone(), source };
            let word = heard.map_err(deaf)?;
            if is_meant(shared, addresses, word) {
                return Ok(word);
            }
        }
    }

    /// The same of those that have arrived already.
    fn take(&self, shared: &Shared) -> Option<Word> {
        self.0.iter().find_map(|(_, addresses, listeners)| {
            let mut words = listeners.iter().flat_map(|listener| std::iter::from_fn(|| listener.take_word()));
            words.find(|word| is_meant(shared, addresses, *word))
        })
    }
}

fn is_meant(shared: &Shared, addresses: &BTreeSet<IpAddr>, word: Word) -> bool {
    let claim = word.claim();
    addresses.contains(&claim.address) && !shared.is_own(claim.by)
}
