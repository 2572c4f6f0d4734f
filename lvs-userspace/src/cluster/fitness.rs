//! What makes a director fit to serve: its links, the gateways it reaches, its programs and files.
//!
//! A link that goes is told of by the kernel, everything else is asked for now and then.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::beat::Fitness;
use crate::config::model::{Check, Probe, Timing, Track, TrackScript};
use crate::health::probe;
use crate::health::watch::Finding;
use crate::network::{self, Network};
use crate::program::{self, Program};

/// Between two looks at files.
const LOOK: Duration = Duration::from_millis(500);
/// Each gateway, script and file that is well counts for more than all that checks say: the ranks are links and any
/// gateway, all of these, quorums, real servers. Of 64, the most there can be, none is lost in a `u16`.
const WEIGHT: u16 = 1000;
/// How long a file may be looked for: the disk may not answer.
const LOOKING: Duration = Duration::from_secs(2);

/// What was found; each part has one writer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    links: bool,
    gateways: Vec<bool>,
    scripts: Vec<bool>,
    files: Vec<bool>,
}

impl Facts {
    fn of(track: &Track) -> Self {
        // What has not been asked yet is taken for well: a start is no failure.
        Self {
            links: true,
            gateways: vec![true; track.gateways.len()],
            scripts: vec![true; track.scripts.len()],
            files: vec![true; track.files.len()],
        }
    }

    /// Of a director whose checks give a group's services this score, up to 999.
    fn fitness(&self, checks: u16) -> Fitness {
        let reaches = self.gateways.is_empty() || self.gateways.contains(&true);
        let each = [&self.gateways, &self.scripts, &self.files];
        let well = each.into_iter().flatten().filter(|well| **well).count();
        let well = u16::try_from(well).unwrap_or(u16::MAX).saturating_mul(WEIGHT);
        Fitness { is_fit: self.links && reaches, score: well.saturating_add(checks.min(WEIGHT - 1)) }
    }
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Tracker {
    facts: watch::Receiver<Facts>,
    _tasks: JoinSet<()>,
}

impl Tracker {
    /// `interfaces`: those of the groups, and what `track` has besides. Must be called within a tokio runtime.
    pub fn start(
        track: &Track,
        interfaces: Vec<String>,
        deadtime: Duration,
        network: Network,
    ) -> Result<Self, network::Error> {
        let changes = Network::watch_interfaces()?;
        let (sender, facts) = watch::channel(Facts::of(track));
        let sender = Arc::new(sender);
        let mut tasks = JoinSet::new();
        tasks.spawn(links(interfaces, deadtime, network, changes, Arc::clone(&sender)));
        for (index, gateway) in track.gateways.iter().enumerate() {
            tasks.spawn(gateway_answers(index, *gateway, deadtime, Arc::clone(&sender)));
        }
        for (index, script) in track.scripts.iter().enumerate() {
            tasks.spawn(script_passes(index, script.clone(), Arc::clone(&sender)));
        }
        for (index, file) in track.files.iter().enumerate() {
            tasks.spawn(file_exists(index, file.clone(), Arc::clone(&sender)));
        }
        Ok(Self { facts, _tasks: tasks })
    }

    /// For a group whose services have this score by the checks: from 0 to 999, see [`Tally::score`].
    ///
    /// [`Tally::score`]: crate::health::pool::Tally::score
    pub fn fitness(&self, checks: u16) -> Fitness {
        self.facts.borrow().fitness(checks)
    }

    /// Returns when something has changed; never when nothing is watched any more.
    pub async fn changed(&mut self) {
        if self.facts.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn note(facts: &watch::Sender<Facts>, what: &str, change: impl FnOnce(&mut Facts) -> &mut bool, well: bool) {
    facts.send_if_modified(|facts| {
        let before = change(facts);
        let changed = *before != well;
        *before = well;
        if changed && well {
            info!(what, "is well again: this director is fitter");
        } else if changed {
            warn!(what, "has failed: this director is less fit");
        }
        changed
    });
}

async fn links(
    names: Vec<String>,
    deadtime: Duration,
    network: Network,
    mut changes: network::Changes,
    facts: Arc<watch::Sender<Facts>>,
) {
    // The kernel tells of a lost carrier up to a second later, if it has told of another change before; who asks is
    // told at once.
    let mut again = interval((deadtime / 5).clamp(Duration::from_millis(20), LOOK));
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = changes.next() => if changed.is_none() {
                // What follows is found at the next look.
                again.tick().await;
            },
            _ = again.tick() => {}
        }
        match network.links().await {
            Ok(links) => {
                let up = |name: &String| links.iter().any(|link| link.name == *name && link.up);
                let down: Vec<&str> = names.iter().filter(|name| !up(name)).map(String::as_str).collect();
                let what = if down.is_empty() {
                    "every link".to_owned()
                } else {
                    format!("link {}", down.join(", "))
                };
                note(&facts, &what, |facts| &mut facts.links, down.is_empty());
            }
            Err(error) => warn!(%error, "cannot look after the links"),
        }
    }
}

async fn gateway_answers(
    index: usize,
    gateway: IpAddr,
    deadtime: Duration,
    facts: Arc<watch::Sender<Facts>>,
) {
    let interval_of = deadtime.clamp(Duration::from_millis(200), Duration::from_secs(2));
    let check = Check {
        address: gateway,
        port: 0,
        source: None,
        interface: None,
        path: None,
        timing: Timing { timeout: interval_of, ..Timing::default() },
        probe: Probe::Icmp,
    };
    let what = format!("gateway {gateway}");
    let mut failures = 0;
    let mut next = interval(interval_of);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        next.tick().await;
        let outcome = probe::run(&check, None).await;
        failures = if outcome.finding == Finding::Passed { 0 } else { failures + 1 };
        // A single lost packet is no cut.
        if failures == 0 || failures >= 2 {
            note(&facts, &what, |facts| &mut facts.gateways[index], failures == 0);
        }
    }
}

async fn script_passes(index: usize, script: TrackScript, facts: Arc<watch::Sender<Facts>>) {
    let what = format!("program {}", script.command.join(" "));
    let mut next = interval(script.interval);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        next.tick().await;
        let program = Program { command: script.command.clone(), keep: 0, ..Program::default() };
        let finished = timeout(script.timeout, program::run(&program)).await;
        let passed = finished.is_ok_and(|finished| finished.is_ok_and(|finished| finished.status.success()));
        note(&facts, &what, |facts| &mut facts.scripts[index], passed);
    }
}

async fn file_exists(index: usize, file: PathBuf, facts: Arc<watch::Sender<Facts>>) {
    let what = format!("file {}", file.display());
    let found = |exists| note(&facts, &what, |facts| &mut facts.files[index], exists);
    let mut next = interval(LOOK);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        next.tick().await;
        let look = tokio::fs::try_exists(&file);
        tokio::pin!(look);
        let exists = match timeout(LOOKING, &mut look).await {
            Ok(exists) => exists,
            Err(_) => {
                found(false);
                // No other look before this one has ended: each would take a thread.
                look.await
            }
        };
        found(exists.unwrap_or(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_gateways_decide_before_everything_else() {
        let track = Track {
            gateways: vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()],
            files: vec!["/a".into()],
            ..Track::default()
        };
        let well = Facts::of(&track);
        assert!(well.fitness(3).is_fit);
        let one_gateway = Facts { gateways: vec![false, true], ..well.clone() };
        assert!(one_gateway.fitness(3).is_fit, "one of them is enough");
        assert!(one_gateway.fitness(999) < well.fitness(0), "two are better");
        for unfit in
            [Facts { gateways: vec![false, false], ..well.clone() }, Facts { links: false, ..well.clone() }]
        {
            assert!(unfit.fitness(500) < well.fitness(0));
        }
        let no_file = Facts { files: vec![false], ..well.clone() };
        assert!(
            no_file.fitness(999) < well.fitness(0),
            "a file counts for more than any number of real servers"
        );
        assert!(well.fitness(3) < well.fitness(4));
    }

    #[test]
    fn the_last_of_many_counts_as_the_first() {
        let all = Facts {
            links: true,
            gateways: vec![true; Track::MOST_GATEWAYS],
            scripts: vec![true; Track::MOST_SCRIPTS],
            files: vec![true; Track::MOST_FILES],
        };
        let mut one_less = all.clone();
        one_less.files[0] = false;
        assert!(one_less.fitness(999) < all.fitness(0));
        assert_eq!(one_less.fitness(999).score + 1, all.fitness(0).score);
    }
}
