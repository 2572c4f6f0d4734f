//! The connection table, aged and read.

use std::collections::{BTreeMap, HashSet};

use aya::maps::{Array, MapData};
use lvs_common::address::Address;
use lvs_common::connection::{Bucket, Displaced, ENTRIES_PER_BUCKET, Entry, TableState, WINDOW, flags};
use lvs_common::destination::{Destination, Load, destination_flags};
use lvs_common::flow::{FlowKey, hash_client, slot_of};
use lvs_common::names;
use lvs_common::service::{ServiceKey, protocol};
use lvs_common::settings::Settings;
use lvs_common::tcp_state::state;
use lvs_userspace::control::command::Command;
use lvs_userspace::dataplane::now_ticks;

use crate::lab::{Lab, SMALL};
use crate::plan::{address, destination, service_on_ring};

fn flow(number: u32) -> FlowKey {
    let client = Address::from_v4((0x0a01_0000 + number).to_be_bytes());
    FlowKey::new(client, 40000, address("10.0.0.3"), 80, protocol::TCP)
}

/// The connection table, written as the program writes it.
struct Connections {
    buckets: Array<MapData, Bucket>,
    settings: Settings,
}

impl Connections {
    fn of(lab: &Lab) -> Self {
        let buckets: Array<_, Bucket> = lab.map(names::CONNECTIONS).try_into().unwrap();
        let settings = lab.settings();
        assert_eq!(settings.buckets, buckets.len());
        Self { buckets, settings }
    }

    fn home(&self, key: &FlowKey) -> u32 {
        let hash = hash_client(self.settings.seed, key.source.halves(), key.source_port, key.protocol);
        slot_of(hash, self.settings.buckets)
    }

    fn displaced(&self, bucket: u32) -> Displaced {
        Displaced(self.buckets.get(&bucket, 0).unwrap().entries[0].displaced)
    }

    /// Stores an entry at the first free place in the window behind its home; how far behind, or `None`
    /// where there is no room.
    fn insert(&mut self, key: &FlowKey, entry: Entry) -> Option<u32> {
        let home = self.home(key);
        for distance in 0..WINDOW {
            let number = (home + distance) % self.settings.buckets;
            let mut bucket = self.buckets.get(&number, 0).unwrap();
            let Some(free) = bucket.entries.iter().position(|entry| entry.state == 0) else { continue };
            let displaced = bucket.entries[free].displaced;
            bucket.entries[free] = Entry {
                client: key.source,
                client_port: key.source_port,
                virtual_port: key.destination_port,
                displaced,
                ..entry
            };
            self.buckets.set(number, bucket, 0).unwrap();
            if distance > 0 {
                let mut bucket = self.buckets.get(&home, 0).unwrap();
                bucket.entries[0].displaced = self.displaced(home).plus(distance).0;
                self.buckets.set(home, bucket, 0).unwrap();
            }
            return Some(distance);
        }
        None
    }

    /// Every entry that is not free.
    fn taken(&self) -> Vec<Entry> {
        let buckets = self.buckets.iter().map(Result::unwrap);
        buckets.flat_map(|bucket| bucket.entries).filter(|entry| entry.state != 0).collect()
    }
}

/// An established connection of the service with index 0.
const ENTRY: Entry = Entry {
    last_seen: 0,
    version: 0,
    state: state::ESTABLISHED as u8,
    flags: flags::COUNTED | flags::NAT,
    client: Address::UNSPECIFIED,
    client_port: 0,
    virtual_port: 0,
    service: 0,
    destination: 3,
    generation: 1,
    sequence: 0,
    displaced: 0,
};

/// What flows need: the settings, their service, and two destinations of which one was removed.
fn ground() -> Vec<Command> {
    let removed = Destination { flags: destination_flags::REMOVED, ..destination(1) };
    let Command::SetService { value, .. } = service_on_ring(0) else { unreachable!() };
    let key = ServiceKey::new(address("10.0.0.3"), 80, protocol::TCP);
    vec![
        Command::SetSettings(Settings::defaults()),
        Command::SetDestination { index: 3, value: destination(1) },
        Command::SetDestination { index: 4, value: removed },
        Command::SetService { key, value },
    ]
}

#[test]
fn idle_connections_are_retired_and_their_counts_settled() {
    Lab::run("sweep", |lab| {
        let mut dataplane = lab.open();
        dataplane.apply(&ground()).unwrap();
        let mut connections = Connections::of(lab);
        let settings = connections.settings;
        let now = now_ticks();
        let idle = settings.timeouts[state::ESTABLISHED as usize] + 2;
        let mut loads: Array<_, Load> = lab.map(names::LOADS).try_into().unwrap();
        let mut table: Array<_, TableState> = lab.map(names::TABLE).try_into().unwrap();
        // 100 idle ones, of which 60 have one home, and 50 alive.
        let crowded = connections.home(&flow(0));
        let (at_home, elsewhere): (Vec<_>, Vec<_>) =
            (0..400_000).map(flow).partition(|key| connections.home(key) == crowded);
        let over = at_home[..60].iter().chain(&elsewhere[..40]);
        let alive = &elsewhere[40..90];
        let mut farthest = 0;
        for (key, last_seen) in
            over.map(|key| (key, now.wrapping_sub(idle))).chain(alive.iter().map(|key| (key, now)))
        {
            let distance = connections.insert(key, Entry { last_seen, ..ENTRY }).unwrap();
            farthest = farthest.max(distance);
        }
        assert!(farthest >= 60 / ENTRIES_PER_BUCKET as u32 - 1);
        assert_eq!(connections.displaced(crowded).0 >> WINDOW, 56);
        loads.set(3, Load { active: 150, inactive: 0 }, 0).unwrap();
        table.set(0, TableState { established: 150, ..lab.table_state() }, 0).unwrap();

        let mut sweeper = dataplane.sweeper();
        let report = sweeper.sweep(now, &settings).unwrap();
        assert_eq!((report.embryonic, report.established, report.expired), (0, 150, 100));
        assert_eq!(report.references, BTreeMap::from([(3, 50)]));
        let readback = dataplane.readback();
        let left: Vec<_> = readback.connections().unwrap().flat_map(|batch| batch.unwrap()).collect();
        assert_eq!(left.len(), 50);
        assert!(left.iter().all(|entry| entry.connection.last_seen == now && !entry.embryonic));
        assert!(left.iter().all(|entry| alive.contains(&entry.key)));
        assert_eq!(readback.loads(3..4).unwrap(), [Load { active: 50, inactive: 0 }]);
        assert_eq!(lab.table_state().established, 50);
        assert_eq!(connections.taken().len(), 50, "an entry that is given up is free");
        assert_eq!(connections.displaced(crowded), Displaced(0), "nobody is to be looked for any more");

        let report = sweeper.sweep(now, &settings).unwrap();
        assert_eq!((report.established, report.expired), (50, 0));

        // Connections of a removed destination are proposed though they are not idle, and so are those of
        // an earlier life of an index. An embryonic one is not among those that are established.
        let removed = Entry { destination: 4, last_seen: now, ..ENTRY };
        let former = Entry { generation: 7, last_seen: now, flags: 0, ..ENTRY };
        let embryonic = Entry { flags: flags::EMBRYONIC | flags::COUNTED, ..removed };
        for (key, entry) in elsewhere[90..].iter().zip([removed, former, embryonic]) {
            connections.insert(key, entry).unwrap();
        }
        loads.set(4, Load { active: 2, inactive: 0 }, 0).unwrap();
        table.set(0, TableState { established: 52, ..lab.table_state() }, 0).unwrap();
        let report = sweeper.sweep(now, &settings).unwrap();
        assert_eq!((report.embryonic, report.established, report.expired), (1, 52, 3));
        assert_eq!(report.references, BTreeMap::from([(3, 50)]));
        assert_eq!(lab.table_state().established, 50);
        assert_eq!(
            readback.loads(3..5).unwrap(),
            [Load { active: 50, inactive: 0 }, Load { active: 0, inactive: 0 }]
        );
        assert_eq!(connections.taken().len(), 50);
    });
}

#[test]
fn a_full_connection_table_is_read_whole() {
    Lab::run("table", |lab| {
        let mut dataplane = lab.open();
        dataplane.apply(&ground()).unwrap();
        let mut connections = Connections::of(lab);
        // As many as may be, a fifth of them embryonic, and every place has its turn.
        let entries = SMALL.connections + 1024;
        let mut displaced = 0;
        for number in 0..entries {
            let embryonic = if number < 1024 { flags::EMBRYONIC } else { 0 };
            let distance = connections.insert(&flow(number), Entry { flags: embryonic, ..ENTRY });
            displaced += u32::from(distance.expect("no room") > 0);
        }
        assert!(displaced > 0);
        // Neither free nor a connection yet.
        let busy = Entry { state: state::BUSY as u8, ..ENTRY };
        connections.insert(&flow(entries), busy).unwrap();
        // Of a service that is gone.
        connections.insert(&flow(entries + 1), Entry { service: 99, ..ENTRY }).unwrap();

        let readback = dataplane.readback();
        let read: Vec<_> = readback.connections().unwrap().flat_map(|batch| batch.unwrap()).collect();
        assert_eq!(read.iter().filter(|entry| entry.embryonic).count(), 1024);
        assert_eq!(read.len(), entries as usize);
        let keys: HashSet<FlowKey> = read.iter().map(|entry| entry.key).collect();
        assert!(keys == (0..entries).map(flow).collect());
        let report = dataplane.sweeper().sweep(0, &connections.settings).unwrap();
        assert_eq!((report.embryonic, report.established), (1024, u64::from(SMALL.connections) + 1));
    });
}
