//! A director with a kernel that checks itself, and the words its tests are written in.

use std::net::IpAddr;
use std::time::Duration;

use lvs_common::address::Address;
use lvs_common::ring::Slot;
use lvs_common::service::{Service as Installed, ServiceKey, protocol};

use super::model::Model;
use super::{config, server, service};
use crate::config::model::{Config, RealServer, Scheduler};
use crate::control::{Command, Event, State};

pub(super) struct Director {
    pub(super) state: State,
    pub(super) model: Model,
    pub(super) now: Duration,
}

impl Director {
    pub(super) fn new(file: &Config) -> Self {
        let mut director = Self {
            state: State::adopt(Default::default()),
            model: Model::default(),
            now: Duration::from_secs(100),
        };
        director.load(file);
        director
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Command> {
        let commands = self.state.handle(event, self.now);
        self.model.apply_all(&commands);
        commands
    }

    pub(super) fn load(&mut self, file: &Config) -> Vec<Command> {
        self.model.expect(file);
        self.handle(Event::Desired(file.clone()))
    }

    pub(super) fn tick(&mut self, seconds: u64) -> Vec<Command> {
        self.now += Duration::from_secs(seconds);
        self.handle(Event::Tick)
    }

    pub(super) fn sweep(&mut self, references: &[(u32, u32)]) {
        assert_eq!(self.handle(Event::Swept { references: references.iter().copied().collect() }), []);
    }

    pub(super) fn service(&self, vip: u8) -> Installed {
        self.model.snapshot.services[&key(vip, 80)]
    }

    pub(super) fn slots(&self, vip: u8) -> &[Slot] {
        &self.model.snapshot.rings[&self.service(vip).ring]
    }

    pub(super) fn destinations(&self, vip: u8) -> Vec<(u32, u32)> {
        let view = self.state.describe();
        let service = view.services.iter().find(|view| view.vip == IpAddr::from([192, 0, 2, vip])).unwrap();
        service.destinations.iter().map(|destination| (destination.index, destination.generation)).collect()
    }
}

pub(super) fn key(vip: u8, port: u16) -> ServiceKey {
    ServiceKey::new(Address::from_v4([192, 0, 2, vip]), port, protocol::TCP)
}

pub(super) fn pool(weights: &[u32]) -> Vec<RealServer> {
    (1..).zip(weights).map(|(host, weight)| server(host, *weight)).collect()
}

pub(super) fn one(scheduler: Scheduler, real_servers: Vec<RealServer>) -> Config {
    config(vec![service(1, 80, scheduler, real_servers)])
}
