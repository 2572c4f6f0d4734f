//! Leases.

use std::thread;

use aya::maps::Array;
use lvs_common::lease::Lease;
use lvs_common::names;
use lvs_userspace::dataplane::MapError;

use crate::lab::Lab;

#[test]
fn leases_are_written_by_a_thread_of_their_own_and_outlive_the_agent() {
    Lab::run("leases", |lab| {
        let lease = |ends| Lease { ends, fresh_until: ends / 2 };
        let dataplane = lab.open();
        let writer = dataplane.lease_writer();
        assert_eq!(writer.read(1).unwrap(), Lease::NONE, "nothing is held that was never written");
        writer.write(1, lease(100)).unwrap();
        thread::scope(|scope| {
            let writer = &writer;
            scope.spawn(move || writer.write(63, lease(200)).unwrap());
        });
        for index in [0, 64, u8::MAX] {
            let refused = [writer.write(index, lease(1)), writer.read(index).map(drop)];
            for error in refused.map(Result::unwrap_err) {
                assert!(matches!(error, MapError::OutOfRange { map: names::LEASES, .. }), "{error}");
            }
        }
        // As if killed: the maps stay, and the handle works on.
        drop(dataplane);
        writer.write(1, lease(300)).unwrap();

        let heir = lab.open().lease_writer();
        assert_eq!([1, 2, 63].map(|index| heir.read(index).unwrap()), [lease(300), Lease::NONE, lease(200)]);
        let leases: Array<_, Lease> = lab.map(names::LEASES).try_into().unwrap();
        assert_eq!(leases.get(&1, 0).unwrap(), lease(300));
        assert_eq!(leases.get(&0, 0).unwrap(), Lease::NONE);
    });
}
