//! A data plane of its own with control before it, on no interface: for what happens in its maps.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use lvs_common::LAYOUT_VERSION;
use lvs_userspace::config::model::Limits;
use lvs_userspace::config::{self, Config};
use lvs_userspace::control::{Capacity, Event, NextHop, State};
use lvs_userspace::dataplane::{Dataplane, OpenOptions, object};

use super::clock::timed;
use crate::lab::identity::{BPF_FILE_SYSTEM, Identity};

/// The identity removes the pins when it goes, whatever happens.
pub(super) struct Director {
    pub(super) dataplane: Dataplane,
    state: State,
    limits: Limits,
    now: Duration,
    identity: Identity,
    /// How long it took to get so far.
    pub(super) opened: Opened,
}

/// How long an agent took to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    /// To load the programs, on the wall.
    pub(super) loaded: Duration,
    /// To read the maps, on the wall.
    pub(super) read: Duration,
    /// To make sense of what was read: of the processor.
    pub(super) adopted: Duration,
}

/// How long the steps of one event took, and how many commands it came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Of the processor.
    pub(super) decided: Duration,
    /// On the wall: the kernel makes us wait for grace periods.
    pub(super) written: Duration,
    pub(super) commands: usize,
}

impl Director {
    pub(super) fn open(limits: Limits) -> Result<Self> {
        Self::open_as(Identity::take()?, limits)
    }

    fn open_as(identity: Identity, limits: Limits) -> Result<Self> {
        let begin = Instant::now();
        let dataplane = Dataplane::open(&OpenOptions {
            instance: &identity.name(),
            object: object::director()?,
            limits,
            interfaces: Vec::new(),
            allow_generic: false,
        })?;
        let capacity = Capacity { destinations: dataplane.destination_capacity(), ..Capacity::default() };
        let loaded = begin.elapsed();
        let snapshot = dataplane.snapshot()?;
        let read = begin.elapsed() - loaded;
        let (state, adopted) = timed(|| State::adopt_with(snapshot, capacity))?;
        let opened = Opened { loaded, read, adopted };
        Ok(Self { dataplane, state, limits, now: Duration::from_secs(100), identity, opened })
    }

    /// Another agent takes over: what it finds in the maps is all it knows.
    pub(super) fn adopt_again(self) -> Result<Self> {
        let Self { dataplane, limits, identity, .. } = self;
        drop(dataplane);
        Self::open_as(identity, limits)
    }

    pub(super) fn desire(&mut self, config: Config) -> Result<Step> {
        self.events([Event::Desired(config)])
    }

    /// Tells where each server is: all behind one interface, which nothing is sent by.
    pub(super) fn locate(&mut self, servers: impl IntoIterator<Item = IpAddr>) -> Result<Step> {
        let event = |address| Event::NextHop {
            address,
            next_hop: Some(NextHop {
                interface: 1,
                source_mac: [2, 0, 0, 0, 0, 1],
                next_hop_mac: Some([2, 0, 0, 0, 0, 2]),
                behind_router: false,
                mtu: 1500,
                source_address: None,
            }),
        };
        self.events(servers.into_iter().map(event).collect::<Vec<_>>())
    }

    /// Each event is decided and carried out before the next, as the agent does.
    fn events(&mut self, events: impl IntoIterator<Item = Event>) -> Result<Step> {
        let mut step = Step { decided: Duration::ZERO, written: Duration::ZERO, commands: 0 };
        for event in events {
            let (commands, decided) = timed(|| self.state.handle(event, self.now))?;
            let begin = Instant::now();
            self.dataplane.apply(&commands)?;
            step.written += begin.elapsed();
            step.decided += decided;
            step.commands += commands.len();
        }
        Ok(step)
    }

    /// Where the maps are pinned.
    pub(super) fn pins(&self) -> PathBuf {
        Path::new(BPF_FILE_SYSTEM).join(self.identity.name()).join(format!("v{LAYOUT_VERSION}"))
    }
}

pub(super) fn parse(text: &str) -> Result<Config> {
    config::parse(text, "bench.yaml").map_err(|mistakes| anyhow!("{mistakes}")).context("our own file")
}
