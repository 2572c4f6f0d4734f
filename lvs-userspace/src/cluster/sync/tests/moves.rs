//! Services that go from one director to another while others stay where they are.

use std::collections::BTreeMap;
use std::time::Duration;

use lvs_common::address::Address;

use super::several::Several;

/// Everybody hears who is active, by service.
fn all_learn(several: &mut Several, active: [Option<usize>; 3]) {
    (0..several.directors.len()).for_each(|own| several.learn_each(own, active));
}

/// Clients 0 to 9 of each service, at who is active for it.
fn connect(several: &mut Several, at: [usize; 3], clients: std::ops::Range<u16>) {
    for (service, at) in (0..).zip(at) {
        for client in clients.clone() {
            several.directors[at].table.begin(several.now, client + 100 * service as u16, service, 0);
        }
    }
}

/// Clients of a service, as a director knows them.
fn clients(several: &Several, at: usize, of: u32) -> BTreeMap<(Address, u16), u32> {
    let flows = several.directors[at].table.flows().into_keys();
    let own = flows.filter(|(.., service, _)| *service == of);
    own.map(|(client, port, _, _, destination)| ((client, port), destination)).collect()
}

/// Before the second service follows, its successor has to hold its connections as well.
#[test]
fn giving_up_one_service_does_not_end_the_telling_of_the_others() {
    let mut several = Several::new(3, 21);
    connect(&mut several, [0; 3], 0..10);
    assert!(several.run_until(|several| several.agree(0, 1) && several.agree(0, 2)).is_some());
    all_learn(&mut several, [Some(1), Some(0), Some(0)]);
    several.run(5);
    connect(&mut several, [1, 0, 0], 10..20);
    let took = several.run_until(|several| several.agree(0, 1) && several.agree(0, 2));
    assert!(took.is_some_and(|took| took < 100), "{took:?} ms, {:?}", several.sent(0, 1));
    several.run(4000);
    for other in [1, 2] {
        assert_eq!(several.sent(0, other).sessions, 1);
        assert!(several.sent(0, other).is_followed && several.sent(0, other).lag == Duration::ZERO);
    }
    assert!(several.agree(0, 1) && several.agree(0, 2));
}

/// What a director once said that it is active for counts no more when it has given it up.
#[test]
fn a_later_bulk_takes_nothing_of_a_service_that_was_given_up() {
    let mut several = Several::new(3, 22);
    all_learn(&mut several, [Some(0), Some(0), Some(1)]);
    connect(&mut several, [0, 0, 1], 0..10);
    assert!(several.run_until(|several| several.agree(0, 1) && several.agree(1, 2)).is_some());
    all_learn(&mut several, [Some(1), Some(0), Some(1)]);
    connect(&mut several, [1, 0, 1], 10..20);
    assert!(several.run_until(|several| clients(several, 2, 0).len() == 20).is_some());
    several.run(100);
    // The successor dies. One of its services is taken at once, the other one is nobody's for a while.
    several.directors[1].runs = false;
    let table = &mut several.directors[0].table;
    table.age(several.now + Duration::from_secs(86_400));
    for own in [0, 2] {
        several.learn_each(own, [None, Some(0), Some(0)]);
    }
    several.run(1000);
    assert!(several.received(0, 2).is_current);
    assert_eq!(clients(&several, 2, 2).len(), 0, "its new director has none");
    assert_eq!(clients(&several, 2, 0).len(), 20);
    // Whoever has it then says what it has.
    for own in [0, 2] {
        several.learn_each(own, [Some(0); 3]);
    }
    assert!(several.run_until(|several| several.agree(0, 2) && several.received(0, 2).is_current).is_some());
    assert_eq!(clients(&several, 2, 0).len(), 0);
}
