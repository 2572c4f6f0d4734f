//! Control's state and the data plane it is carried out on, in step.

use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::Error;
use super::next_hops::NextHops;
use crate::config::Config;
use crate::control::{Capacity, Event, State};
use crate::dataplane::{Dataplane, MapError};

/// Between two tries to carry out what the kernel has refused.
const TRY_AGAIN: Duration = Duration::from_secs(10);

pub(super) struct Installed {
    pub(super) state: State,
    pub(super) dataplane: Dataplane,
    /// In force.
    pub(super) config: Config,
    clock: Instant,
    /// The kernel holds less than the configuration wants: when to try again.
    behind_until: Option<Duration>,
}

impl Installed {
    /// `state` is what the maps hold; nothing of `config` is installed yet.
    pub(super) fn new(dataplane: Dataplane, state: State, config: Config) -> Self {
        for warning in state.warnings() {
            warn!("{warning}");
        }
        let services = state.snapshot().services.len();
        if services > 0 {
            info!(services, "took over what an earlier agent left");
        }
        Self { state, dataplane, config, clock: Instant::now(), behind_until: None }
    }

    /// Monotonic, as control wants it: since the agent's start.
    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Has control decide about `event` and carries it out; the number of commands. What the kernel
    /// refuses is tried once more from what the maps hold then.
    pub(super) fn handle(&mut self, event: Event, next_hops: &NextHops) -> Result<usize, Error> {
        let desired = matches!(event, Event::Desired(_));
        let tick = matches!(event, Event::Tick);
        let now = self.now();
        if tick && self.behind_until.is_some_and(|until| until <= now) {
            return self.begin_again(next_hops);
        }
        let before: Vec<String> = if desired { Vec::new() } else { self.state.warnings().to_vec() };
        let commands = self.state.handle(event, now);
        for warning in self.state.warnings().iter().filter(|warning| !before.contains(warning)) {
            warn!("{warning}");
        }
        match self.dataplane.apply(&commands) {
            Ok(()) => {
                if !commands.is_empty() {
                    debug!(commands = commands.len(), "carried out");
                }
                Ok(commands.len())
            }
            Err(reason) => {
                error!(%reason, "the kernel's maps could not be written; beginning again from what they hold");
                self.begin_again(next_hops)
            }
        }
    }

    /// Installs `config`; where the kernel refuses it, the one before is installed again.
    pub(super) fn install(&mut self, config: Config, next_hops: &NextHops) -> Result<usize, Error> {
        let before = std::mem::replace(&mut self.config, config);
        let installed = self.handle(Event::Desired(self.config.clone()), next_hops);
        if installed.is_err() {
            self.config = before;
            if let Err(reason) = self.begin_again(next_hops) {
                error!(%reason, "the configuration before could not be installed again either");
            }
        }
        installed
    }

    /// Adopts what the maps hold and leads it to the configuration in force.
    fn begin_again(&mut self, next_hops: &NextHops) -> Result<usize, Error> {
        let now = self.now();
        self.behind_until = Some(now + TRY_AGAIN);
        let mut state = adopted(&self.dataplane)?.beside(&self.state);
        let events = next_hops.events().chain([Event::Desired(self.config.clone())]);
        let commands: Vec<_> = events.flat_map(|event| state.handle(event, now)).collect();
        match self.dataplane.apply(&commands) {
            Ok(()) => {
                self.state = state;
                self.behind_until = None;
                info!(commands = commands.len(), "the kernel's maps hold what the configuration wants");
                Ok(commands.len())
            }
            Err(reason) => {
                // Until the next try nothing but what the maps hold is decided about.
                self.state = adopted(&self.dataplane)?.beside(&self.state);
                Err(reason.into())
            }
        }
    }
}

/// The state that the maps hold.
pub(super) fn adopted(dataplane: &Dataplane) -> Result<State, MapError> {
    let capacity = Capacity { destinations: dataplane.destination_capacity(), ..Capacity::default() };
    Ok(State::adopt_with(dataplane.snapshot()?, capacity))
}
