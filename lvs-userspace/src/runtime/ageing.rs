//! One walk through the connection table on a blocking thread: ageing, and a census when one is due.

use std::time::{Duration, Instant};

use crate::control::Census;
use crate::dataplane::{MapError, Readback, SweepReport, Sweeper, now_ticks};
use lvs_common::settings::Settings;

/// What goes to the thread and comes back with what was found.
pub(super) struct Walk {
    pub(super) sweeper: Sweeper,
    pub(super) readback: Readback,
}

pub(super) struct Found {
    pub(super) walk: Walk,
    pub(super) swept: Result<SweepReport, MapError>,
    pub(super) counted: Option<Result<Census, MapError>>,
    pub(super) took: Duration,
}

impl Walk {
    pub(super) fn run(mut self, settings: &Settings, census: Option<Census>) -> Found {
        let began = Instant::now();
        let swept = self.sweeper.sweep(now_ticks(), settings);
        let counted = census.map(|census| count(&self.readback, census));
        Found { walk: self, swept, counted, took: began.elapsed() }
    }
}

fn count(readback: &Readback, mut census: Census) -> Result<Census, MapError> {
    for batch in readback.connections()? {
        for entry in batch? {
            census.see(&entry.key, &entry.connection);
        }
    }
    Ok(census)
}
