//! The table of checks: what is due, what is running, what is known. Pure; [`super::supervisor`] does the
//! probing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::threshold::{Standing, Streak};
use crate::config::model::Check;

/// What a probe has found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Passed,
    Failed,
    /// Nothing about the server: the agent's own side was at fault (no socket, no file, no program). Nobody
    /// is taken out or put back for that.
    Inconclusive,
}

/// The result of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub finding: Finding,
    /// For people: `http 503`.
    pub summary: String,
    pub took: Duration,
    /// The server's, if it has shown one and passed.
    pub certificate: Option<Certificate>,
}

/// What is known of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// When it ends, in seconds since 1970.
    pub end: u64,
    /// So soon that people are told.
    pub ends_soon: bool,
}

/// The standing of a check has changed, or a result has confirmed the one it has begun with; it has failed as often as
/// somebody wants to hear of; or it sees another certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub check: Arc<Check>,
    pub standing: Standing,
    /// Why: `http 503 after 12 ms, 3 of 3`.
    pub evidence: String,
    /// Failures in a row by now.
    pub failures: u32,
    /// Of the latest probe that has seen one.
    pub certificate: Option<Certificate>,
}

/// What the end of a probe has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub change: Option<Change>,
    /// The first of its probes in a row that found out nothing.
    pub is_blind_now: bool,
}

/// One check as it stands.
#[derive(Clone, Debug)]
pub struct CheckView {
    pub check: Arc<Check>,
    pub standing: Standing,
    /// How long it has stood so.
    pub for_time: Duration,
    pub last: Option<Outcome>,
    /// Latest results in a row that contradict the standing.
    pub contrary: u32,
    pub probes: u64,
    pub failures: u64,
    /// Failures in a row.
    pub failing: u32,
}

/// How well the probes keep time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    pub probes: u64,
    pub running: usize,
    pub most_running: usize,
    /// Begun so many milliseconds late or less: 1, 10, 100, 1000, more.
    pub late: [u64; 5],
    pub latest: Duration,
    /// Of all of them together.
    pub late_total: Duration,
}

/// Upper ends of the classes of [`Pace::late`] but the last.
pub const LATE_CLASSES: [Duration; 4] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_millis(1000),
];

/// Stands for a running probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    place: usize,
    /// Tells a check from one that had its place before.
    generation: u64,
}

#[derive(Debug)]
struct Entry {
    check: Arc<Check>,
    generation: u64,
    streak: Streak,
    /// A result has said the same: it is not only what the check has begun with.
    is_confirmed: bool,
    since: Duration,
    last: Option<Outcome>,
    schedule: Schedule,
    /// When the next probe is due, unless one is running.
    due: Duration,
    /// When the running probe began.
    begun: Option<Duration>,
    probes: u64,
    failures: u64,
    /// Failures in a row.
    failing: u32,
    /// How many of them were told already.
    told: u32,
    certificate: Option<Certificate>,
}

/// All checks that are watched.
#[derive(Debug, Default)]
pub struct Watch {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    places: BTreeMap<Arc<Check>, usize>,
    due: BTreeSet<(Duration, usize)>,
    generation: u64,
    pace: Pace,
    /// Numbers of failures in a row that are told when they are reached.
    counts: BTreeSet<u32>,
}

impl Watch {
    /// Watches these checks and no others. What is known of one that stays, stays; one that is new begins
    /// with the standing it is given.
    pub fn set(&mut self, wanted: BTreeMap<Arc<Check>, Standing>, counts: BTreeSet<u32>, now: Duration) {
        self.counts = counts;
        let gone: Vec<_> = self
            .places
            .iter()
            .filter(|(check, _)| !wanted.contains_key(*check))
            .map(|(_, place)| *place)
            .collect();
        for place in gone {
            if let Some(entry) = self.entries[place].take() {
                self.places.remove(&entry.check);
                self.free.push(place);
            }
        }
        self.due.retain(|(_, place)| self.entries[*place].is_some());
        for (check, standing) in wanted {
            if !self.places.contains_key(&check) {
                self.add(check, standing, now);
            }
        }
    }

    fn add(&mut self, check: Arc<Check>, standing: Standing, now: Duration) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.generation += 1;
        let schedule = Schedule::new(&check);
        let due = now + schedule.first(&check.timing);
        self.due.insert((due, place));
        self.places.insert(Arc::clone(&check), place);
        self.entries[place] = Some(Entry {
            check,
            generation: self.generation,
            streak: Streak::new(standing),
            is_confirmed: false,
            since: now,
            last: None,
            schedule,
            due,
            begun: None,
            probes: 0,
            failures: 0,
            failing: 0,
            told: 0,
            certificate: None,
        });
    }

    /// When the next probe is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A check whose probe is due; it counts as running from now on.
    pub fn begin(&mut self, now: Duration) -> Option<(Ticket, Arc<Check>)> {
        let (due, place) = self.due.first().copied().filter(|(due, _)| *due <= now)?;
        self.due.pop_first();
        let entry = self.entries[place].as_mut()?;
        entry.begun = Some(now);
        self.pace.begin(now.saturating_sub(due));
        Some((Ticket { place, generation: entry.generation }, Arc::clone(&entry.check)))
    }

    /// The probe has ended; what changes by it. Nothing does if the check is no longer watched.
    pub fn end(&mut self, ticket: Ticket, outcome: Outcome, now: Duration) -> Ended {
        self.pace.running -= 1;
        let entry = self.entries[ticket.place].as_mut().filter(|entry| entry.generation == ticket.generation);
        let Some(entry) = entry else { return Ended::default() };
        let timing = entry.check.timing;
        entry.probes += 1;
        entry.failures += u64::from(outcome.finding == Finding::Failed);
        let change = entry.count(&outcome, &self.counts, now);
        let was_blind = entry.last.as_ref().is_some_and(|last| last.finding == Finding::Inconclusive);
        let is_blind_now = outcome.finding == Finding::Inconclusive && !was_blind;
        entry.last = Some(outcome);
        let begun = entry.begun.take().unwrap_or(now);
        let next = begun + entry.schedule.next(&timing, entry.streak.contrary() > 0);
        entry.due = next.max(now);
        self.due.insert((entry.due, ticket.place));
        Ended { change, is_blind_now }
    }

    /// There is reason to doubt: the next probe comes as soon as if one had said so now.
    pub fn hurry(&mut self, check: &Check, now: Duration) {
        let Some(&place) = self.places.get(check) else { return };
        let Some(entry) = self.entries[place].as_mut().filter(|entry| entry.begun.is_none()) else { return };
        let soon = now + entry.check.timing.fast_interval;
        if soon < entry.due {
            self.due.remove(&(entry.due, place));
            entry.due = soon;
            self.due.insert((soon, place));
        }
    }

    pub fn describe(&self, now: Duration) -> Vec<CheckView> {
        let views =
            self.places.values().filter_map(|place| self.entries[*place].as_ref()).map(|entry| CheckView {
                check: Arc::clone(&entry.check),
                standing: entry.streak.standing(),
                for_time: now.saturating_sub(entry.since),
                last: entry.last.clone(),
                contrary: entry.streak.contrary(),
                probes: entry.probes,
                failures: entry.failures,
                failing: entry.failing,
            });
        views.collect()
    }

    pub const fn pace(&self) -> Pace {
        self.pace
    }
}

impl Entry {
    fn count(&mut self, outcome: &Outcome, counts: &BTreeSet<u32>, now: Duration) -> Option<Change> {
        let passed = match outcome.finding {
            Finding::Passed => true,
            Finding::Failed => false,
            Finding::Inconclusive => return None,
        };
        let timing = self.check.timing;
        let needed = match (self.streak.standing(), passed) {
            (Standing::Untested, _) => 1,
            (_, true) => timing.rise,
            (_, false) => timing.fall,
        };
        self.failing = if passed { 0 } else { self.failing.saturating_add(1) };
        self.told = self.told.min(self.failing);
        let has_changed = self.streak.record(passed, timing.rise, timing.fall);
        let was_confirmed = self.is_confirmed;
        self.is_confirmed |= has_changed || self.streak.contrary() == 0;
        let needed = match has_changed {
            true => {
                self.since = now;
                needed
            }
            false if self.is_confirmed != was_confirmed => 1,
            false if self.streak.standing() == Standing::Down && self.reaches(counts) => 1,
            false if outcome.certificate.is_some() && outcome.certificate != self.certificate => 1,
            false => return None,
        };
        self.certificate = outcome.certificate.or(self.certificate);
        self.told = self.failing;
        Some(Change {
            check: Arc::clone(&self.check),
            standing: self.streak.standing(),
            evidence: evidence(outcome, needed),
            failures: self.failing,
            certificate: self.certificate,
        })
    }

    /// Whether a number of failures is reached that was not told yet.
    fn reaches(&self, counts: &BTreeSet<u32>) -> bool {
        self.told < self.failing && counts.range(self.told + 1..=self.failing).next().is_some()
    }
}

impl Pace {
    fn begin(&mut self, late: Duration) {
        self.probes += 1;
        self.running += 1;
        self.most_running = self.most_running.max(self.running);
        self.latest = self.latest.max(late);
        self.late_total += late;
        let class = LATE_CLASSES.iter().position(|end| late <= *end).unwrap_or(LATE_CLASSES.len());
        self.late[class] += 1;
    }
}

/// `http 503 after 12 ms, 3 of 3`
fn evidence(outcome: &Outcome, needed: u32) -> String {
    let Outcome { summary, took, .. } = outcome;
    let in_a_row = if needed > 1 { format!(", {needed} of {needed}") } else { String::new() };
    format!("{summary} after {} ms{in_a_row}", took.as_millis())
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::model::{Probe, Timing};

    pub(crate) fn check(host: u32) -> Check {
        Check {
            address: Ipv4Addr::from(0x0a00_0000 + host).into(),
            port: 80,
            source: None,
            interface: None,
            path: None,
            timing: Timing::default(),
            probe: Probe::Tcp,
        }
    }

    fn wanted(hosts: &[u32]) -> BTreeMap<Arc<Check>, Standing> {
        hosts.iter().map(|host| (Arc::new(check(*host)), Standing::Untested)).collect()
    }

    fn outcome(passed: bool) -> Outcome {
        let summary = if passed { "connected" } else { "refused" }.to_owned();
        let finding = if passed { Finding::Passed } else { Finding::Failed };
        Outcome { finding, summary, took: Duration::from_millis(12), certificate: None }
    }

    /// Runs the next probe with this result; when, and what changed.
    fn step(watch: &mut Watch, passed: bool) -> (Duration, Option<Change>) {
        let now = watch.next_due().unwrap();
        let (ticket, _) = watch.begin(now).unwrap();
        (now, watch.end(ticket, outcome(passed), now).change)
    }

    #[test]
    fn a_change_tells_its_evidence() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1]), BTreeSet::new(), Duration::ZERO);
        assert_eq!(watch.begin(Duration::ZERO).map(|_| ()), None, "the first probe has its own time");
        let changes: Vec<_> = [true, true, false, false, false, false, true, true]
            .into_iter()
            .filter_map(|passed| step(&mut watch, passed).1)
            .map(|change| (change.standing, change.evidence))
            .collect();
        let expected = [
            (Standing::Up, "connected after 12 ms"),
            (Standing::Down, "refused after 12 ms, 3 of 3"),
            (Standing::Up, "connected after 12 ms, 2 of 2"),
        ];
        assert_eq!(changes, expected.map(|(standing, evidence)| (standing, evidence.to_owned())));
    }

    /// In a row, told once each time they are reached, and only of what is down.
    #[test]
    fn numbers_of_failures_are_told() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1]), BTreeSet::from([2, 5, 8]), Duration::ZERO);
        let mut told = Vec::new();
        let mut run = |watch: &mut Watch, results: &[bool]| {
            for passed in results {
                told.extend(step(watch, *passed).1.map(|change| (change.standing, change.failures)));
            }
            std::mem::take(&mut told)
        };
        assert_eq!(run(&mut watch, &[true, false, false]), [(Standing::Up, 0)], "two are not three");
        assert_eq!(run(&mut watch, &[false; 4]), [(Standing::Down, 3), (Standing::Down, 5)]);
        assert_eq!(run(&mut watch, &[true]), []);
        assert_eq!(run(&mut watch, &[false; 5]), [(Standing::Down, 2), (Standing::Down, 5)]);
        // A reload may ask for a number that is reached already.
        watch.set(wanted(&[1]), BTreeSet::from([4, 6]), Duration::ZERO);
        assert_eq!(run(&mut watch, &[false]), [(Standing::Down, 6)]);
        watch.set(wanted(&[1]), BTreeSet::new(), Duration::ZERO);
        assert_eq!(run(&mut watch, &[false]), []);
        watch.set(wanted(&[1]), BTreeSet::from([7]), Duration::ZERO);
        assert_eq!(run(&mut watch, &[false]), [(Standing::Down, 8)]);
    }

    /// Once for each certificate, and for when its end comes near. A probe that saw none changes nothing.
    #[test]
    fn another_certificate_is_told() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1]), BTreeSet::new(), Duration::ZERO);
        let mut told = Vec::new();
        for (end, ends_soon) in
            [(7, false), (7, false), (7, true), (0, false), (7, true), (90, false), (90, false)]
        {
            let certificate = Some(Certificate { end, ends_soon }).filter(|_| end > 0);
            let now = watch.next_due().unwrap();
            let (ticket, _) = watch.begin(now).unwrap();
            let change = watch.end(ticket, Outcome { certificate, ..outcome(end > 0) }, now).change;
            told.extend(change.and_then(|change| change.certificate).map(|seen| (seen.end, seen.ends_soon)));
        }
        assert_eq!(told, [(7, false), (7, true), (90, false)]);
    }

    /// What a check begins with may be another director's word, or an earlier agent's.
    #[test]
    fn the_first_result_that_says_the_same_is_told() {
        let told = |results: &[bool]| -> Vec<Option<Standing>> {
            let mut watch = Watch::default();
            watch.set([(Arc::new(check(1)), Standing::Up)].into(), BTreeSet::new(), Duration::ZERO);
            let results = results.iter();
            results.map(|passed| step(&mut watch, *passed).1.map(|change| change.standing)).collect()
        };
        assert_eq!(told(&[true, true]), [Some(Standing::Up), None]);
        assert_eq!(told(&[false, true, true]), [None, Some(Standing::Up), None]);
        assert_eq!(told(&[false, false, false, false]), [None, None, Some(Standing::Down), None]);
    }

    #[test]
    fn doubt_makes_the_next_probe_come_sooner() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1]), BTreeSet::new(), Duration::ZERO);
        step(&mut watch, true);
        let (first, _) = step(&mut watch, false);
        let gap = (watch.next_due().unwrap() - first).as_secs_f64();
        assert!((0.9..=1.1).contains(&gap), "{gap}");
        let (second, _) = step(&mut watch, true);
        let gap = (watch.next_due().unwrap() - second).as_secs_f64();
        assert!((4.5..=5.5).contains(&gap), "{gap}");
    }

    #[test]
    fn who_is_in_a_hurry_is_probed_once_and_sooner() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1, 2]), BTreeSet::new(), Duration::ZERO);
        let times: Vec<_> = (0..4).map(|_| step(&mut watch, true).0).collect();
        let now = *times.last().unwrap();
        let after = watch.due.clone();
        watch.hurry(&check(1), now);
        watch.hurry(&check(1), now);
        watch.hurry(&check(3), now);
        assert_eq!(watch.due.len(), 2);
        assert_eq!(watch.next_due(), Some(now + Duration::from_secs(1)));
        assert!(watch.due.iter().any(|due| after.contains(due)), "of the other check nothing was said");

        // A probe that runs is the one that is wanted.
        let (ticket, running) = watch.begin(now + Duration::from_secs(1)).unwrap();
        assert_eq!(running.address, check(1).address);
        watch.hurry(&check(1), now + Duration::from_secs(1));
        assert_eq!(watch.due.len(), 1);
        watch.end(ticket, outcome(true), now + Duration::from_secs(1));
        assert_eq!(watch.due.len(), 2);
    }

    #[test]
    fn a_reload_keeps_what_is_known_of_unchanged_checks() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1, 2]), BTreeSet::new(), Duration::ZERO);
        step(&mut watch, false);
        step(&mut watch, false);
        let later = Duration::from_secs(60);
        watch.set(wanted(&[2, 3]), BTreeSet::new(), later);
        let views = watch.describe(later);
        let stands: Vec<_> = views.iter().map(|view| (view.check.address, view.standing)).collect();
        assert_eq!(
            stands,
            [([10, 0, 0, 2].into(), Standing::Down), ([10, 0, 0, 3].into(), Standing::Untested)]
        );
    }

    #[test]
    fn the_result_of_a_check_that_is_gone_counts_for_nobody() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1]), BTreeSet::new(), Duration::ZERO);
        let now = Duration::from_secs(1);
        let (ticket, _) = watch.begin(now).unwrap();
        // Another check takes the place.
        watch.set(wanted(&[2]), BTreeSet::new(), now);
        assert_eq!(watch.end(ticket, outcome(false), now), Ended::default());
        assert_eq!(watch.describe(now)[0].standing, Standing::Untested);
        assert_eq!(watch.pace().running, 0);
        watch.set(BTreeMap::new(), BTreeSet::new(), now);
        assert_eq!((watch.next_due(), watch.describe(now).len()), (None, 0));
    }

    /// The agent's own trouble is nobody's verdict, and is told once.
    #[test]
    fn what_is_inconclusive_counts_for_nothing() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1]), BTreeSet::new(), Duration::ZERO);
        let mut blinds = Vec::new();
        let none = Outcome { finding: Finding::Inconclusive, ..outcome(false) };
        for (round, finding) in
            [Some(true), None, None, Some(false), None, Some(false)].into_iter().enumerate()
        {
            let now = watch.next_due().unwrap();
            let (ticket, _) = watch.begin(now).unwrap();
            let ended = watch.end(ticket, finding.map_or_else(|| none.clone(), outcome), now);
            assert_eq!(ended.change.is_some(), round == 0, "round {round}");
            blinds.extend(ended.is_blind_now.then_some(round));
        }
        assert_eq!(blinds, [1, 4]);
        // Two failures with nothing between them but silence: a third one decides.
        assert_eq!(step(&mut watch, false).1.unwrap().standing, Standing::Down);
    }

    #[test]
    fn lateness_is_counted_in_classes() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1, 2, 3]), BTreeSet::new(), Duration::ZERO);
        let due = watch.due.last().unwrap().0;
        while let Some((ticket, _)) = watch.begin(due) {
            watch.end(ticket, outcome(true), due);
        }
        let pace = watch.pace();
        assert_eq!((pace.probes, pace.most_running, pace.late.iter().sum::<u64>()), (3, 1, 3));
        assert!(pace.latest < Duration::from_secs(1));
    }

    /// A probe that takes longer than its interval is followed by the next at once, not by two.
    #[test]
    fn a_slow_probe_is_not_overtaken() {
        let mut watch = Watch::default();
        watch.set(wanted(&[1]), BTreeSet::new(), Duration::ZERO);
        let begun = watch.next_due().unwrap();
        let (ticket, _) = watch.begin(begun).unwrap();
        assert_eq!(watch.next_due(), None);
        let late = begun + Duration::from_secs(600);
        watch.end(ticket, outcome(true), late);
        assert_eq!(watch.next_due(), Some(late));
    }
}
