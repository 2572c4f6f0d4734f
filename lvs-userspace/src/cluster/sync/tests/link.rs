//! Two directors and a link that loses, doubles and reorders.

use std::time::Duration;

use proptest::prelude::*;

use super::super::{Directory, Options, Peer, ReceiverStats, Receivers, SenderStats, Senders, Step, wire};
use super::model::{DESTINATIONS, LEFT, RIGHT, SERVICES, Table};

/// What the link does to datagrams, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) late: u64,
}

/// The other one of two.
pub(super) const ONLY: Peer = Peer(0);

/// A datagram under way.
#[derive(Clone, Debug)]
struct Letter {
    arrives: Duration,
    to_receiver: bool,
    datagram: Vec<u8>,
}

pub(super) struct Pair {
    pub(super) now: Duration,
    pub(super) left: Table,
    pub(super) right: Table,
    pub(super) sender: Senders,
    pub(super) receiver: Receivers,
    pub(super) left_directory: Directory,
    pub(super) right_directory: Directory,
    pub(super) weather: Weather,
    letters: Vec<Letter>,
    /// Everything the sender has sent, to be played again.
    pub(super) recorded: Vec<Vec<u8>>,
    random: u64,
}

impl Pair {
    /// The left one is active for everything, and has a table of so many buckets; the right one's is twice as large.
    pub(super) fn new(buckets: u32, seed: u64) -> Self {
        Self {
            now: Duration::from_secs(100_000),
            left: Table::new(LEFT, buckets, seed),
            right: Table::new(RIGHT, buckets * 2, seed ^ 1),
            sender: Senders::new(Options::default(), buckets, [seed | 1]),
            receiver: Receivers::new([seed]),
            left_directory: LEFT.directory(|_| true),
            right_directory: RIGHT.directory(|_| false),
            weather: Weather::default(),
            letters: Vec::new(),
            recorded: Vec::new(),
            random: seed | 1,
        }
    }

    pub(super) fn random(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn post(&mut self, to_receiver: bool, datagram: Vec<u8>) {
        assert!(datagram.len() + Options::default().overhead <= wire::DATAGRAM, "{} bytes", datagram.len());
        if to_receiver {
            self.recorded.push(datagram.clone());
        }
        let copies = if self.random() % 1000 < self.weather.doubled { 2 } else { 1 };
        for _ in 0..copies {
            if self.random() % 1000 < self.weather.lost {
                continue;
            }
            let late = if self.random() % 1000 < self.weather.late { self.random() % 50 } else { 0 };
            let arrives = self.now + Duration::from_millis(1 + late);
            self.letters.push(Letter { arrives, to_receiver, datagram: datagram.clone() });
        }
    }

    pub(super) fn deliver(&mut self, to_receiver: bool, datagram: &[u8]) {
        let (header, body) = wire::decode(datagram).expect("our own datagram");
        if to_receiver {
            let (right, directory) = (&mut self.right, &self.right_directory);
            let taken = self.receiver.receive(self.now, ONLY, (&header, &body), right, directory);
            taken.expect("a table that takes it");
        } else {
            self.sender.receive(self.now, ONLY, &header, &body, &self.left_directory);
        }
    }

    /// A millisecond passes.
    pub(super) fn step(&mut self) {
        self.now += Duration::from_millis(1);
        let now = self.now;
        let (arrived, rest) = self.letters.drain(..).partition(|letter: &Letter| letter.arrives <= now);
        self.letters = rest;
        let arrived: Vec<Letter> = arrived;
        for letter in arrived {
            self.deliver(letter.to_receiver, &letter.datagram);
        }
        for bucket in std::mem::take(&mut self.left.marked) {
            self.sender.mark(now, bucket);
        }
        loop {
            match self.sender.poll(self.now, &self.left, &self.left_directory) {
                Step::Send(_, datagram) => self.post(true, datagram),
                Step::Again => {}
                Step::Pause | Step::Wait => break,
            }
        }
        while let Some((_, datagram)) = self.receiver.poll(self.now) {
            self.post(false, datagram);
        }
    }

    pub(super) fn run(&mut self, milliseconds: u64) {
        (0..milliseconds).for_each(|_| self.step());
    }

    /// Until `condition`; false when it takes longer than a minute.
    pub(super) fn run_until(&mut self, condition: impl Fn(&Self) -> bool) -> bool {
        (0..60_000).any(|_| {
            self.step();
            condition(self)
        })
    }

    /// Traffic of the left director for a millisecond.
    pub(super) fn traffic(&mut self, clients: u64) {
        for _ in 0..3 {
            let (client, service) = (self.random() % clients, self.random() % u64::from(SERVICES));
            let destination = self.random() % u64::from(DESTINATIONS);
            self.left.begin(self.now, client as u16, service as u32, destination as u32);
            (0..8).for_each(|_| self.left.live(self.now));
        }
    }

    /// Another plan or another role of the left director.
    pub(super) fn left_is(&mut self, directory: Directory) {
        let former = std::mem::replace(&mut self.left_directory, directory);
        self.sender.plan_changed(self.now, &former, &self.left_directory);
    }

    /// The same of the right one.
    pub(super) fn right_is(&mut self, directory: Directory) {
        let former = std::mem::replace(&mut self.right_directory, directory);
        self.receiver.plan_changed(&former, &self.right_directory);
    }

    pub(super) fn sent(&self) -> SenderStats {
        self.sender.stats(self.now, ONLY).expect("the other one")
    }

    pub(super) fn received(&self) -> ReceiverStats {
        self.receiver.stats(ONLY).expect("the other one")
    }

    pub(super) fn agree(&self) -> bool {
        self.left.flows() == self.right.flows()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the link does: once it works the receiver's table is the sender's.
    #[test]
    fn tables_agree_after_any_weather(
        seed: u64,
        lost in 0_u64..700,
        doubled in 0_u64..300,
        late in 0_u64..500,
        clients in 1_u64..400,
        buckets in 1_u32..80,
    ) {
        let mut pair = Pair::new(buckets, seed);
        (0..buckets * 2).for_each(|_| pair.traffic(clients));
        pair.weather = Weather { lost, doubled, late };
        for _ in 0..1500 {
            pair.traffic(clients);
            pair.step();
        }
        pair.weather = Weather::default();
        let agreed = pair.run_until(|pair| pair.received().is_complete && pair.agree());
        prop_assert!(agreed, "{:?} {:?}", pair.sent(), pair.received());
        pair.run(2000);
        prop_assert!(pair.agree(), "and it stays so");
        prop_assert_eq!(pair.sent().waiting, 0);
        // What stands behind a lost explanation is refused, and told again.
        let stats = pair.received();
        prop_assert!(stats.unresolved == 0 && (stats.refused == 0 || stats.gaps > 0), "{stats:?}");
    }

    /// The receiver never says that it is complete before it holds what was there all the time.
    #[test]
    fn complete_means_complete(seed: u64, lost in 0_u64..600, late in 0_u64..300) {
        let mut pair = Pair::new(64, seed);
        (0..60).for_each(|_| pair.traffic(2000));
        let there = pair.left.flows();
        prop_assert!(there.len() > 50);
        pair.weather = Weather { lost, late, doubled: 0 };
        prop_assert!(pair.run_until(|pair| pair.received().is_complete));
        prop_assert_eq!(pair.right.flows(), there);
        prop_assert_eq!(pair.sent().bulk_left, 0);
    }
}
