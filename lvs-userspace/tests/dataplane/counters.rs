//! Counters.

use aya::maps::{Array, PerCpuArray, PerCpuValues};
use lvs_common::cause::Cause;
use lvs_common::counters::Counters;
use lvs_common::destination::Load;
use lvs_common::names;
use lvs_userspace::control::command::Command;
use lvs_userspace::dataplane::MapError;

use crate::lab::{Lab, SMALL};

#[test]
fn counters_are_summed_over_cpus_and_zeroed_for_a_new_owner() {
    Lab::run("counters", |lab| {
        let mut dataplane = lab.open();
        let mut counters: PerCpuArray<_, Counters> = lab.map(names::COUNTERS).try_into().unwrap();
        let cpus = aya::util::nr_cpus().unwrap();
        let one = Counters { connections: 1, packets_in: 2, bytes_in: 3, packets_out: 4, bytes_out: 5 };
        counters.set(9, PerCpuValues::try_from(vec![one; cpus]).unwrap(), 0).unwrap();
        let mut loads: Array<_, Load> = lab.map(names::LOADS).try_into().unwrap();
        loads.set(9, Load { active: 4, inactive: 5 }, 0).unwrap();

        let readback = dataplane.readback();
        let sums = readback.counters(0..SMALL.destinations).unwrap();
        let cpus = cpus as u64;
        let expected = Counters {
            connections: cpus,
            packets_in: 2 * cpus,
            bytes_in: 3 * cpus,
            packets_out: 4 * cpus,
            bytes_out: 5 * cpus,
        };
        assert_eq!(sums[9], expected);
        assert!(sums.iter().enumerate().all(|(index, sum)| index == 9 || *sum == Counters::ZERO));
        assert_eq!(readback.counters(9..10).unwrap(), [expected], "a range that does not begin at 0");
        assert_eq!(readback.loads(8..10).unwrap()[1], Load { active: 4, inactive: 5 });
        assert!(matches!(readback.loads(60..65), Err(MapError::OutOfRange { index: 64, .. })));

        dataplane.apply(&[Command::ZeroDestination { index: 9 }]).unwrap();
        assert_eq!(readback.counters(9..10).unwrap(), [Counters::ZERO]);
        assert_eq!(readback.loads(9..10).unwrap(), [Load { active: 0, inactive: 0 }]);
        let causes = readback.causes().unwrap();
        assert_eq!(causes.len(), Cause::ALL.len());
        assert!(dataplane.events().unwrap().take().is_none());
    });
}
