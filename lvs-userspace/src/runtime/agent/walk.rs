//! Walks through the connection table: ageing, and a census now and then.

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tracing::{error, warn};

use lvs_common::settings::Settings;

use super::{Agent, CENSUS_AGAIN, WALK_AGAIN, WALK_SHARE};
use crate::control::Event;
use crate::runtime::ageing::{Found, Walk};

impl Agent {
    pub(super) fn settings(&self) -> Settings {
        self.installed.state.snapshot().settings.unwrap_or_else(Settings::defaults)
    }

    pub(super) fn start_walk(&mut self) -> Option<JoinHandle<Found>> {
        let walk = self.walk.take()?;
        let settings = self.settings();
        let census = (Instant::now() >= self.next_census).then(|| {
            self.next_census = Instant::now() + CENSUS_AGAIN;
            self.installed.state.census(self.installed.now())
        });
        Some(spawn_blocking(move || walk.run(&settings, census.flatten())))
    }

    pub(super) fn walked(&mut self, found: Option<Found>) {
        let Some(Found { walk, swept, counted, took }) = found else {
            error!("ageing has failed; beginning anew");
            self.next_walk = Instant::now() + WALK_AGAIN;
            let dataplane = &self.installed.dataplane;
            self.walk = Some(Walk { sweeper: dataplane.sweeper(), readback: dataplane.readback() });
            return;
        };
        self.walk = Some(walk);
        self.next_walk = Instant::now() + WALK_AGAIN.max(took * WALK_SHARE);
        match swept {
            Ok(report) => {
                self.usage.embryonic = report.embryonic;
                self.usage.established = report.established;
                self.handle(Event::Swept { references: report.references });
            }
            Err(reason) => warn!(%reason, "connections could not be aged"),
        }
        match counted {
            Some(Ok(census)) => self.handle(Event::Counted(census)),
            Some(Err(reason)) => warn!(%reason, "connections could not be counted"),
            None => {}
        }
    }
}
