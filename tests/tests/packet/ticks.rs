//! By which clock packets see the lease: most by the time of the last timer tick, some by the exact one.

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use lvs_common::cause::Cause;
use lvs_common::lease::{Lease, tick};
use lvs_common::names;
use lvs_tests::cluster::{HELD, STALE};
use lvs_tests::packet::{Expect, Side, World};
use lvs_userspace::dataplane::monotonic_nanoseconds;

use crate::traffic::*;

/// So many packets each CPU may yet take the tick's time.
struct Trust(PerCpuArray<MapData, u32>);

impl Trust {
    fn of(world: &World) -> Self {
        let map = MapData::from_pin(world.pins().join(names::TICK_TRUST)).and_then(Map::from_map_data);
        Self(map.and_then(PerCpuArray::try_from).unwrap_or_else(|error| panic!("{error}")))
    }

    fn set(&mut self, packets: u32) {
        let count = aya::util::nr_cpus().unwrap_or_else(|(what, error)| panic!("{what}: {error}"));
        let values = PerCpuValues::try_from(vec![packets; count]).unwrap_or_else(|error| panic!("{error}"));
        self.0.set(0, values, 0).unwrap_or_else(|error| panic!("{error}"));
    }

    fn each(&self) -> Vec<u32> {
        self.0.get(&0, 0).unwrap_or_else(|error| panic!("{error}")).to_vec()
    }

    fn sum(&self) -> u32 {
        self.each().into_iter().sum()
    }
}

fn world() -> World {
    let services = service("ring", V4.vip, 80, "tcp", &servers(&[V4.back]));
    World::with_groups(&services, &[&[V4.vip]])
}

#[test]
fn the_ticks_time_is_compared_with_the_exact_one_after_so_many_packets() {
    let mut world = world();
    let mut trust = Trust::of(&world);
    let frame = FROM_CLIENT.frame(&V4.request().tcp_packet(&ack(4000, 80), b"data"));
    world.lease(1, HELD);
    trust.set(7);
    let before = trust.sum();
    let outcome = world.run(Side::Front, &frame);
    world.equal("held", outcome.causes, vec![]);
    world.equal("one packet by the tick", before - trust.sum(), 1);
    trust.set(0);
    let outcome = world.run(Side::Front, &frame);
    world.equal("held, by the exact clock", outcome.causes, vec![]);
    // A test may be held up for so long between two readings that the tick seems to stand still.
    world.wait_for("a comparison that finds the tick's time good", |world| {
        world.run(Side::Front, &frame);
        trust.each().contains(&tick::PACKETS) || trust.sum() > 0
    });
    let most = trust.each().into_iter().max();
    world.check("never more than that", most <= Some(tick::PACKETS), || format!("{most:?}"));
}

/// However much the tick is trusted, it decides only what it cannot be wrong about.
#[test]
fn the_tick_decides_nothing_near_an_end() {
    let mut world = world();
    let mut trust = Trust::of(&world);
    let frame = FROM_CLIENT.frame(&V4.request().tcp_packet(&ack(4000, 80), b"data"));
    for round in 0..50 {
        world.lease(1, HELD);
        trust.set(tick::PACKETS);
        let outcome = world.run(Side::Front, &frame);
        world.equal(&format!("{round}: held"), outcome.causes, vec![]);
        // The last tick is earlier than this, whenever it was.
        let ends = monotonic_nanoseconds();
        world.lease(1, Lease { ends, fresh_until: u64::MAX });
        world.row(&format!("{round}: over"), Side::Front, &frame, &Expect::Drop(Cause::NoLease));
    }
    world.lease(1, STALE);
    trust.set(tick::PACKETS);
    let before = trust.sum();
    let outcome = world.run(Side::Front, &frame);
    world.equal("stale, but held", outcome.causes, vec![]);
    world.check("by the exact clock", trust.sum() >= before, || "the tick was taken".to_owned());
}
