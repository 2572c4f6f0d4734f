//! How long decisions take: printed, not asserted (`cargo test -- --nocapture scale`).

use std::time::{Duration, Instant};

use super::{config, server, service};
use crate::config::model::{Config, Scheduler};
use crate::control::{Command, Event, State};

/// 1000 services of 20 servers each, in `pools` different pools.
fn file(pools: u16) -> Config {
    let services = (0..1000u16).map(|number| {
        let hosts = (0..20u8).map(|host| server(host + (number % pools) as u8 * 2, 10));
        service((number / 250) as u8, 1 + number % 250, Scheduler::Mh, hosts.collect())
    });
    config(services.collect())
}

#[test]
fn a_thousand_services_of_twenty_servers() {
    for pools in [1, 100] {
        let mut state = State::adopt(Default::default());
        let mut files = vec![file(pools), file(pools), file(pools), file(pools)];
        files[2].services[500].real_servers[3].weight = 5;
        files[3].services[500].real_servers.remove(3);
        let mut counts = Vec::new();
        for (what, file) in ["first", "same", "one weight", "one server less"].into_iter().zip(files) {
            let began = Instant::now();
            let commands = state.handle(Event::Desired(file), Duration::from_secs(1));
            println!("{pools} pools, {what}: {} commands in {:?}", commands.len(), began.elapsed());
            counts.push(commands.len());
        }
        let rings = |commands: &[Command]| {
            commands.iter().filter(|command| matches!(command, Command::SetRing { .. })).count()
        };
        assert_eq!(counts[1], 0);
        assert!(counts[2] <= 6 && counts[3] <= 8, "{counts:?}");
        let mut fresh = State::adopt(Default::default());
        assert_eq!(rings(&fresh.handle(Event::Desired(file(pools)), Duration::ZERO)), usize::from(pools));
        let began = Instant::now();
        let mut heir = State::adopt(state.snapshot().clone());
        println!("{pools} pools, adopted in {:?}", began.elapsed());
        assert_eq!(heir.handle(Event::Tick, Duration::ZERO), []);
    }
}
