//! More than two directors: one tells all others, and which one it is changes.

use std::time::Duration;

use proptest::prelude::*;

use super::super::{
    Active, Directory, Options, Peer, ReceiverStats, Receivers, SenderStats, Senders, Step, wire,
};
use super::model::{DESTINATIONS, Indices, LEFT, RIGHT, SERVICES, Table, service_of};

const BUCKETS: u32 = 64;
/// With a connection to each service they fit into the smallest table: any director may have to hold all.
const CLIENTS: u64 = 60;

pub(super) struct Director {
    pub(super) table: Table,
    senders: Senders,
    receivers: Receivers,
    directory: Directory,
    /// It is run; else what is sent to it is lost.
    pub(super) runs: bool,
}

struct Letter {
    arrives: Duration,
    from: usize,
    to: usize,
    datagram: Vec<u8>,
}

pub(super) struct Several {
    pub(super) now: Duration,
    pub(super) directors: Vec<Director>,
    letters: Vec<Letter>,
    /// In thousandths, from and to each director.
    lost: Vec<u64>,
    late: u64,
    random: u64,
}

/// The place of `other` among the others of `own`, and back.
fn peer(own: usize, other: usize) -> Peer {
    Peer(if other < own { other } else { other - 1 } as u8)
}

fn director(own: usize, peer: Peer) -> usize {
    let place = usize::from(peer.0);
    if place < own { place } else { place + 1 }
}

fn indices(of: usize) -> Indices {
    if of.is_multiple_of(2) { LEFT } else { RIGHT }
}

/// As director `own` sees it, when these are active, by service.
fn directory(own: usize, active: [Option<usize>; SERVICES as usize]) -> Directory {
    Directory::with(&indices(own).snapshot(SERVICES), |key| match active[service_of(key) as usize] {
        Some(active) if active == own => Active::Here,
        Some(active) => Active::At(peer(own, active)),
        None => Active::Unknown,
    })
}

impl Several {
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let others = |salt: u64| (1..count as u64).map(move |number| seed ^ salt ^ number << 32);
        let directors = (0..count).map(|own| Director {
            table: Table::new(indices(own), BUCKETS + own as u32, seed ^ own as u64),
            senders: Senders::new(Options::default(), BUCKETS + own as u32, others(own as u64 | 1 << 60)),
            receivers: Receivers::new(others(own as u64 | 1 << 61)),
            directory: Directory::default(),
            runs: true,
        });
        let mut several = Self {
            now: Duration::from_secs(100_000),
            directors: directors.collect(),
            letters: Vec::new(),
            lost: vec![0; count],
            late: 0,
            random: seed | 1,
        };
        (0..count).for_each(|own| several.learn(own, Some(0)));
        several
    }

    fn random(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    /// A director hears who is active for everything.
    fn learn(&mut self, own: usize, active: Option<usize>) {
        self.learn_each(own, [active; SERVICES as usize]);
    }

    /// A director hears who is active, by service.
    pub(super) fn learn_each(&mut self, own: usize, active: [Option<usize>; SERVICES as usize]) {
        let director = &mut self.directors[own];
        let former = std::mem::replace(&mut director.directory, directory(own, active));
        director.receivers.plan_changed(&former, &director.directory);
        director.senders.plan_changed(self.now, &former, &director.directory);
    }

    /// Its agent begins anew; its table is still there.
    fn restart(&mut self, own: usize, active: Option<usize>) {
        let lives: Vec<u64> = (1..self.directors.len()).map(|_| self.random() << 20).collect();
        let director = &mut self.directors[own];
        director.senders = Senders::new(Options::default(), BUCKETS + own as u32, lives.clone());
        director.receivers = Receivers::new(lives);
        director.directory = Directory::default();
        self.learn(own, active);
    }

    fn post(&mut self, from: usize, to: Peer, datagram: Vec<u8>) {
        let to = director(from, to);
        let lost = self.lost[from].max(self.lost[to]);
        if self.random() % 1000 < lost {
            return;
        }
        let late = if self.random() % 1000 < self.late { self.random() % 50 } else { 0 };
        let arrives = self.now + Duration::from_millis(1 + late);
        self.letters.push(Letter { arrives, from, to, datagram });
    }

    fn deliver(&mut self, letter: &Letter) {
        let Director { table, senders, receivers, directory, runs } = &mut self.directors[letter.to];
        if !*runs {
            return;
        }
        let (header, body) = wire::decode(&letter.datagram).expect("our own datagram");
        let from = peer(letter.to, letter.from);
        if matches!(body, wire::Body::Join { .. } | wire::Body::Report { .. }) {
            senders.receive(self.now, from, &header, &body, directory);
        } else {
            let taken = receivers.receive(self.now, from, (&header, &body), table, directory);
            taken.expect("a table that takes it");
        }
    }

    /// A millisecond passes.
    pub(super) fn step(&mut self) {
        self.now += Duration::from_millis(1);
        let now = self.now;
        let (arrived, rest) = self.letters.drain(..).partition(|letter: &Letter| letter.arrives <= now);
        self.letters = rest;
        let arrived: Vec<Letter> = arrived;
        arrived.iter().for_each(|letter| self.deliver(letter));
        for own in 0..self.directors.len() {
            let mut sent = Vec::new();
            let Director { table, senders, receivers, directory, runs } = &mut self.directors[own];
            if !*runs {
                continue;
            }
            if senders.wants_marks() {
                for bucket in std::mem::take(&mut table.marked) {
                    senders.mark(now, bucket);
                }
            }
            loop {
                match senders.poll(now, table, directory) {
                    Step::Send(to, datagram) => sent.push((to, datagram)),
                    Step::Again => {}
                    Step::Pause | Step::Wait => break,
                }
            }
            while let Some(report) = receivers.poll(now) {
                sent.push(report);
            }
            sent.into_iter().for_each(|(to, datagram)| self.post(own, to, datagram));
        }
    }

    pub(super) fn run(&mut self, milliseconds: u64) {
        (0..milliseconds).for_each(|_| self.step());
    }

    /// Milliseconds until `condition`; `None` after 20 seconds.
    pub(super) fn run_until(&mut self, condition: impl Fn(&Self) -> bool) -> Option<u64> {
        (1..20_000).find(|_| {
            self.step();
            condition(self)
        })
    }

    fn traffic(&mut self, at: usize, clients: u64) {
        for _ in 0..3 {
            let (client, service) = (self.random() % clients, self.random() % u64::from(SERVICES));
            let destination = self.random() % u64::from(DESTINATIONS);
            let table = &mut self.directors[at].table;
            table.begin(self.now, client as u16, service as u32, destination as u32);
            (0..8).for_each(|_| table.live(self.now));
        }
    }

    pub(super) fn agree(&self, one: usize, other: usize) -> bool {
        self.directors[one].table.flows() == self.directors[other].table.flows()
    }

    fn all_agree(&self, with: usize) -> bool {
        (0..self.directors.len()).all(|other| self.agree(with, other))
    }

    pub(super) fn sent(&self, from: usize, to: usize) -> SenderStats {
        self.directors[from].senders.stats(self.now, peer(from, to)).expect("a director")
    }

    pub(super) fn received(&self, from: usize, at: usize) -> ReceiverStats {
        self.directors[at].receivers.stats(peer(at, from)).expect("a director")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// Some are cut off, some have a bad link: the others hold everything as soon as if they were alone, and those too
    /// in the end.
    #[test]
    fn who_is_slow_or_dead_holds_nobody_back(
        seed: u64,
        weather in prop::collection::vec(prop_oneof![Just(0_u64), Just(0), 1_u64..600, Just(1000)], 1..7),
        late in 0_u64..300,
        clients in 1_u64..400,
    ) {
        let mut several = Several::new(weather.len() + 2, seed);
        (0..100).for_each(|_| several.traffic(0, clients));
        // The first is active, the second has a good link; the others have heard of everything before it went bad.
        several.run(500);
        several.late = late;
        several.lost = [0, 0].into_iter().chain(weather.iter().copied()).collect();
        for _ in 0..800 {
            several.traffic(0, clients);
            several.step();
        }
        let took = several.run_until(|several| several.agree(0, 1));
        prop_assert!(took.is_some_and(|took| took < 1500), "{took:?} {:?}", several.sent(0, 1));
        several.lost.fill(0);
        prop_assert!(several.run_until(|several| several.all_agree(0)).is_some());
        several.run(1000);
        prop_assert!(several.all_agree(0), "and it stays so");
        for other in 1..several.directors.len() {
            let sent = several.sent(0, other);
            prop_assert_eq!((sent.waiting, sent.lag), (0, Duration::ZERO), "{}", other);
            prop_assert!(several.received(0, other).is_complete);
        }
    }

    /// The active one is paused, replaced, and goes on for a while as if nothing had happened. Then its successor dies.
    /// Who takes over last has what the one before had.
    #[test]
    fn two_successors_keep_what_there_was(
        seed: u64,
        count in 3_usize..6,
        lost in 0_u64..300,
        pause in 1_u64..5000,
        late in 0_u64..200,
    ) {
        let mut several = Several::new(count, seed);
        (0..100).for_each(|_| several.traffic(0, CLIENTS));
        (several.lost, several.late) = (vec![lost; count], late);
        prop_assert!(several.run_until(|several| several.all_agree(0)).is_some());
        several.directors[0].runs = false;
        // The others hear of the new one, each in its time.
        for other in 1..count {
            several.learn(other, Some(1));
            several.run(pause % 7);
        }
        for _ in 0..pause / 10 {
            several.traffic(1, CLIENTS);
            several.step();
        }
        several.run(pause);
        // It goes on, and ends its connections, since nobody has sent it any packet.
        several.directors[0].runs = true;
        let later = several.now + Duration::from_secs(86_400);
        several.directors[0].table.age(later);
        several.run(100);
        let held = several.directors[1].table.flows();
        if pause > 1000 {
            prop_assert!(several.run_until(|several| several.agree(1, 2)).is_some(), "{:?}", several.sent(1, 2));
        }
        several.learn(0, Some(1));
        prop_assert!(several.run_until(|several| several.all_agree(1)).is_some());
        prop_assert_eq!(&several.directors[0].table.flows(), &held);

        several.directors[1].runs = false;
        for other in [0, 2].into_iter().chain(3..count) {
            several.learn(other, Some(2));
        }
        prop_assert_eq!(&several.directors[2].table.flows(), &held, "as it was");
        (0..200).for_each(|_| { several.traffic(2, CLIENTS); several.step(); });
        prop_assert!(several.run_until(|several| several.agree(2, 0)).is_some());
    }
}

/// What ended while nobody was told of it is found by the bulk that follows a takeover.
#[test]
fn who_becomes_active_says_also_what_is_no_more() {
    let mut several = Several::new(3, 5);
    (0..100).for_each(|_| several.traffic(0, CLIENTS));
    assert!(several.run_until(|several| several.all_agree(0)).is_some());
    several.directors[0].runs = false;
    several.learn(1, Some(1));
    // The third one does not know yet, and is told.
    for _ in 0..50 {
        several.directors[1].table.age(several.now + Duration::from_secs(86_400));
        several.step();
    }
    assert!(several.directors[1].table.flows().is_empty());
    assert!(!several.directors[2].table.flows().is_empty(), "it is not the one that is expected to tell");
    several.learn(2, Some(1));
    assert!(several.run_until(|several| several.agree(1, 2)).is_some());
    let received = several.received(1, 2);
    assert!(received.is_current && received.services == SERVICES && received.removed > 0, "{received:?}");
}

/// The same within a session that there was before, whichever datagrams are lost.
#[test]
fn the_end_of_another_bulk_is_not_missed() {
    for seed in 0..24 {
        let mut several = Several::new(3, seed);
        (0..100).for_each(|_| several.traffic(0, CLIENTS));
        assert!(several.run_until(|several| several.all_agree(0)).is_some());
        several.directors[0].runs = false;
        several.learn(2, Some(1));
        several.directors[1].table.age(several.now + Duration::from_secs(86_400));
        several.lost = vec![0, 400, 400];
        several.learn(1, Some(1));
        assert!(several.run_until(|several| several.agree(1, 2)).is_some(), "seed {seed}");
        assert!(several.directors[2].table.flows().is_empty());
        assert_eq!(several.received(1, 2).sessions, 1, "seed {seed}");
    }
}

/// All share what may be sent, and nobody has to wait for another.
#[test]
fn a_bulk_for_many_keeps_to_one_pace() {
    let mut several = Several::new(5, 6);
    for client in 0..200 {
        several.directors[0].table.begin(several.now, client, 0, 0);
    }
    let options = Options { bytes_per_second: 4000, ..Options::default() };
    several.directors[0].senders = Senders::new(options, BUCKETS, [7, 8, 9, 10]);
    several.learn(0, Some(0));
    several.run(2000);
    let sent: Vec<u64> = (1..5).map(|other| several.sent(0, other).bytes).collect();
    let all: u64 = sent.iter().sum();
    assert!((8_000..8_000 + 4096 + 1400).contains(&all), "{sent:?}");
    assert!(sent.iter().max() <= sent.iter().min().map(|least| least + 2 * 1400).as_ref(), "{sent:?}");
}

/// Whoever begins anew is told everything again, and the others notice nothing.
#[test]
fn a_joiner_costs_the_others_nothing() {
    let mut several = Several::new(4, 8);
    (0..100).for_each(|_| several.traffic(0, CLIENTS));
    assert!(several.run_until(|several| several.all_agree(0)).is_some());
    several.run(1000);
    let before = several.sent(0, 1).entries;
    several.restart(3, Some(0));
    assert!(several.run_until(|several| several.received(0, 3).is_current).is_some());
    assert!(several.all_agree(0));
    assert_eq!(several.sent(0, 3).sessions, 2);
    assert_eq!(several.sent(0, 1).entries, before);
    assert!(several.sent(0, 3).entries > before);
}
