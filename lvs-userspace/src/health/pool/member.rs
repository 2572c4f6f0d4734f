//! One real server of one service: from verdicts and time to whether it serves, and with which weight. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use jiff::Timestamp;

use super::notice::What;
use super::verdict::Verdict;
use crate::config::model::Health;
use crate::health::watch::Certificate;

/// A weight grows in so many steps.
const STEPS: u32 = 10;

/// Where a real server stands between serving and not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// It has returned, and its weight grows.
    Starting {
        from: Duration,
    },
    Out,
    /// It is well again, and must stay so until then.
    Recovering {
        until: Duration,
    },
    /// It is down, but too many are: the checks are doubted, and it serves on.
    Held,
}

impl Phase {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Starting { .. } => "starting",
            Self::Out => "out",
            Self::Recovering { .. } => "recovering",
            Self::Held => "held",
        }
    }
}

/// What an operator wants of a real server, whatever its checks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The checks decide.
    #[default]
    Enabled,
    /// Weight 0: no new connections, the old ones go on.
    Drained,
    /// It is taken out.
    Disabled,
}

impl Mode {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Drained => "drained",
            Self::Disabled => "disabled",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) verdict: Verdict,
    /// Since when the verdict stands.
    pub(super) since: Duration,
    pub(super) reason: String,
    pub(super) phase: Phase,
    pub(super) mode: Mode,
    /// When it failed, the latest last; no more than flaps are counted for.
    pub(super) falls: Vec<Duration>,
    /// Failures in a row of its checks, as far as the alerts ask for them.
    pub(super) failures: u32,
    /// When its certificate ends, in seconds since 1970, if that is soon and people know.
    pub(super) expiring: Option<u64>,
}

/// What there is to tell, and why.
pub(super) type Told = Option<(What, String)>;

impl Member {
    pub(super) const fn new(now: Duration) -> Self {
        Self {
            verdict: Verdict::Unchecked,
            since: now,
            reason: String::new(),
            phase: Phase::Serving,
            mode: Mode::Enabled,
            falls: Vec::new(),
            failures: 0,
            expiring: None,
        }
    }

    /// Whether it gets connections, as far as its checks are concerned.
    pub(super) const fn serves(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Starting { .. } | Phase::Held)
    }

    /// Takes another verdict in. `doubted`: too many are down, so that nobody is taken out any more.
    pub(super) fn judge(&mut self, verdict: Verdict, reason: &str, health: &Health, now: Duration) -> Told {
        if self.verdict == verdict {
            return None;
        }
        let was_down = !self.verdict.serves();
        (self.verdict, self.since) = (verdict, now);
        reason.clone_into(&mut self.reason);
        if !verdict.serves() {
            if self.serves() {
                self.count_fall(health, now);
            }
            self.phase = Phase::Out;
            return Some((What::Down, reason.to_owned()));
        }
        if !was_down || self.phase != Phase::Out {
            if self.phase == Phase::Held {
                // It never left.
                self.phase = Phase::Serving;
                return Some((What::Up, reason.to_owned()));
            }
            return None;
        }
        let (delay, because) = self.delay(health, now);
        if delay.is_zero() {
            self.enter(health, now);
            return Some((What::Up, reason.to_owned()));
        }
        self.phase = Phase::Recovering { until: now + delay };
        Some((What::Recovering, format!("{reason}; it returns after {} s{because}", delay.as_secs_f64())))
    }

    /// What the time alone changes.
    pub(super) fn advance(&mut self, health: &Health, now: Duration) -> Told {
        match self.phase {
            Phase::Recovering { until } if until <= now => {
                self.enter(health, now);
                Some((What::Up, self.reason.clone()))
            }
            Phase::Starting { from } if from + health.slow_start <= now => {
                self.phase = Phase::Serving;
                None
            }
            _ => None,
        }
    }

    /// Takes in which certificates its checks have seen; `None` of one that has seen none yet.
    pub(super) fn see(&mut self, seen: impl Iterator<Item = Option<Certificate>>) -> Told {
        let (mut is_complete, mut first, mut soonest) = (true, None::<u64>, None::<u64>);
        for certificate in seen {
            let Some(Certificate { end, ends_soon }) = certificate else {
                is_complete = false;
                continue;
            };
            first = Some(first.map_or(end, |first| first.min(end)));
            if ends_soon {
                soonest = Some(soonest.map_or(end, |soonest| soonest.min(end)));
            }
        }
        let was_expiring = self.expiring.is_some();
        match soonest {
            Some(end) => {
                self.expiring = Some(end);
                (!was_expiring).then(|| (What::Expiring, format!("the certificate ends on {}", date(end))))
            }
            None if was_expiring && is_complete => {
                self.expiring = None;
                let reason = first.map_or_else(
                    || "no check looks at the certificate any more".to_owned(),
                    |end| format!("the certificate that is shown now ends on {}", date(end)),
                );
                Some((What::Renewed, reason))
            }
            None => None,
        }
    }

    /// Whether [`Self::advance`] may have something to do later.
    pub(super) const fn waits(&self) -> bool {
        matches!(self.phase, Phase::Recovering { .. } | Phase::Starting { .. })
    }

    pub(super) fn enter(&mut self, health: &Health, now: Duration) {
        self.phase = match health.slow_start.is_zero() {
            true => Phase::Serving,
            false => Phase::Starting { from: now },
        };
    }

    /// Tenths of its weight that it has by now, from 1 to 10.
    pub(super) fn tenths(&self, health: &Health, now: Duration) -> u32 {
        let Phase::Starting { from } = self.phase else { return STEPS };
        let passed = now.saturating_sub(from).as_secs_f64() / health.slow_start.as_secs_f64();
        // Saturates, and is 10 for a ramp of no length.
        ((passed * f64::from(STEPS)) as u32 + 1).min(STEPS)
    }

    fn count_fall(&mut self, health: &Health, now: Duration) {
        let Some(flaps) = health.flaps else {
            self.falls.clear();
            return;
        };
        self.falls.retain(|fall| *fall + flaps.within > now);
        self.falls.push(now);
        let surplus = self.falls.len().saturating_sub(flaps.limit as usize);
        self.falls.drain(..surplus);
    }

    /// How long it must stay well before it returns, and why so long.
    fn delay(&self, health: &Health, now: Duration) -> (Duration, String) {
        if let Some(flaps) = health.flaps {
            let recent = self.falls.iter().filter(|fall| **fall + flaps.within > now).count();
            if recent >= flaps.limit as usize && flaps.hold > health.recovery_delay {
                let within = flaps.within.as_secs_f64();
                return (flaps.hold, format!(", since it failed {recent} times in {within} s"));
            }
        }
        (health.recovery_delay, String::new())
    }
}

/// `2026-12-05 12:00 UTC`
fn date(unix_seconds: u64) -> String {
    let time = i64::try_from(unix_seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    // A certificate may end in a year that no calendar has.
    time.map_or_else(|| "a day far away".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}
