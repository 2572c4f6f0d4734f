//! What clients see of a fault: connections that are in use, new ones at a steady pace, and a probe that finds the gap.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::address::Family;
use super::arp::{self, ArpWatch};
use super::client::Exchange;
use super::configuration::dialled;
use super::echo::ECHO_PORT;
use super::fault::Fault;
use super::flows::Flows;
use super::gap::GapProbe;
use super::load::{Load, Plan};
use super::newcomers::Newcomers;
use super::pair::{NODES, gateway};
use super::realserver::HTTP_PORT;
use super::stage::Stage;
use super::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(30);
/// Between two datagrams of the probe, and so the error of a gap.
const PACE: Duration = Duration::from_millis(10);
/// Messages of each connection that have to come back after a takeover.
const ROUNDS: u64 = 4;
/// New connections by which it is seen that a real server gets none.
const SAMPLE: u64 = 60;
const DAY: f64 = 86_400.0;

/// The load that is under way while directors fail.
#[derive(Clone, Copy, Debug)]
pub struct Burden {
    /// Connections that stay open, half of them over each family; each sends a message each 250 ms.
    pub established: usize,
    /// New connections a second, half of them over each family.
    pub new_per_second: u32,
}

/// What was seen of one fault.
#[derive(Clone, Debug)]
pub struct Seen {
    pub fault: Fault,
    /// In the middle of a drain of one real server.
    pub in_drain: bool,
    /// The director that failed.
    pub node: &'static str,
    pub established: usize,
    pub broken: usize,
    /// The longest time without an answer to the probe.
    pub gap: Duration,
    pub new_answered: u64,
    pub new_failed: u64,
    pub new_slowest: Duration,
    /// What happened when, in ms after the fault: the agent's words, and the ends of the gap.
    pub course: BTreeMap<&'static str, i64>,
    /// Of connections that broke or were not made.
    pub examples: Vec<String>,
}

/// Connections to two directors, fault after fault.
#[derive(Debug)]
pub struct Trial<'stage> {
    stage: &'stage mut Stage,
    burden: Burden,
    flows: Flows,
    active: usize,
    /// The next fault comes as soon as the other director stands by, be there something left of the last.
    pub hurries: bool,
}

impl<'stage> Trial<'stage> {
    /// Opens the connections; the first director is active.
    pub fn begin(stage: &'stage mut Stage, burden: Burden) -> Result<Self> {
        allow_files(burden.established)?;
        let client = &stage.pair.network.client;
        let flows = Flows::open(client, &targets(ECHO_PORT), burden.established)?;
        Ok(Self { stage, burden, flows, active: 0, hurries: false })
    }

    /// The active director fails, is replaced, and comes back; in the middle of a drain if `in_drain`.
    ///
    /// # Errors
    /// It is not replaced, or does not come back, or takes back what it had. A connection that breaks is none.
    pub fn run(&mut self, fault: Fault, in_drain: bool) -> Result<Seen> {
        let (active, other) = (self.active, 1 - self.active);
        let client = self.stage.pair.network.client.clone();
        if !self.hurries {
            self.stage.pair.wait_until_settled(other).with_context(|| format!("before {fault}"))?;
        }
        let new = Newcomers::start(&client, &targets(HTTP_PORT), self.burden.new_per_second)?;
        let probe = GapProbe::start(&client, dialled(Family::V4, ECHO_PORT), PACE)?;
        let [vip, gateway] = [dialled(Family::V4, ECHO_PORT).ip(), gateway(Family::V4)];
        let watch = ArpWatch::start(&client, "eth0", &[vip, gateway])?;
        self.wait_for_use("before the fault", 1)?;
        wait_until("load to be under way", PATIENCE, || {
            new.ended() > u64::from(self.burden.new_per_second) / 4 && probe.answers() > 20
        })?;
        let ready = fault.prepare(&self.stage.pair, active)?;
        let drained = self.stage.pair.network.servers[0].clone();
        if in_drain {
            self.stage.set_drained(active, &drained, true)?;
        }

        let (begun, at) = (Instant::now(), SystemTime::now());
        ready.strike(&mut self.stage.pair)?;
        self.stage.pair.wait_for_active(other).with_context(|| format!("after {fault}"))?;
        self.wait_for_use("after the fault", ROUNDS)?;
        let (gap, new) = (probe.stop(), new.stop()?);
        let mut course = self.course(other, at)?;
        let (watching, successor) = (watch.begun(), arp::mac(&self.stage.pair.directors[other], "eth0")?);
        let claims = watch.stop()?;
        for (what, address) in [("VIP announced", vip), ("gateway announced", gateway)] {
            let first = claims.iter().find(|claim| claim.address == address && claim.mac == successor);
            course.extend(first.map(|claim| (what, milliseconds(watching + claim.time, begun))));
        }
        course.insert("last answer", milliseconds(gap.begins_at, begun));
        course.insert("answer", milliseconds(gap.begins_at + gap.longest_gap, begun));
        let seen = Seen {
            fault,
            in_drain,
            node: NODES[active],
            established: self.burden.established,
            broken: self.flows.broken(),
            gap: gap.longest_gap,
            new_answered: new.answers(),
            new_failed: new.failures,
            new_slowest: new.slowest,
            course,
            examples: [self.flows.examples(), new.examples].concat(),
        };
        if in_drain {
            let plan = Plan::count(Exchange::Http, dialled(Family::V4, HTTP_PORT), SAMPLE);
            let report = Load::start(&client, plan).finish()?;
            let late = report.answers_of(&drained.name);
            ensure!(
                late == 0,
                "{} got {late} new connections after its drain and {fault}\n{}",
                drained.name,
                self.stage.pair.explain()
            );
            // Of a director that is away nothing is expected.
            self.stage.set_drained_at(other, &drained, false)?;
        }
        fault.mend(&mut self.stage.pair, active).with_context(|| format!("after {fault}"))?;
        let role = self.stage.pair.role(other);
        ensure!(role == "active", "after {fault}: failback is off\n{}", self.stage.pair.explain());
        self.active = other;
        Ok(seen)
    }

    /// Ends the connections.
    pub fn end(self) -> Result<super::flows::FlowsReport> {
        self.flows.stop()
    }

    /// Waits until every connection has been used so many times more, or one has broken.
    fn wait_for_use(&self, when: &str, rounds: u64) -> Result<()> {
        let goal = self.flows.exchanges() + rounds * self.burden.established as u64;
        wait_until(&format!("every connection to be used {when}"), PATIENCE, || {
            self.flows.exchanges() > goal || self.flows.broken() > 0
        })
        .with_context(|| self.stage.pair.explain())
    }

    /// What the director that took over has said since, and how long after.
    fn course(&self, director: usize, since: SystemTime) -> Result<BTreeMap<&'static str, i64>> {
        let log = self.stage.pair.agent(director)?.log();
        let since = since.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64() % DAY;
        let words = [
            ("silent", "is silent on all paths"),
            ("handed over", "has handed it over"),
            ("asks", "asks for group"),
            ("holds", "holds group"),
        ];
        Ok(words.into_iter().filter_map(|(name, words)| Some((name, last(&log, words, since)?))).collect())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fault, node, established, broken, gap, new_answered, new_failed, new_slowest, course, ..
        } = self;
        let drain = if self.in_drain { " in a drain" } else { "" };
        let mut course: Vec<_> = course.iter().map(|(what, when)| (when, what)).collect();
        course.sort_unstable();
        let course: Vec<_> = course.into_iter().map(|(when, what)| format!("{what} {when}")).collect();
        write!(
            formatter,
            "{fault} of {node}{drain}: {broken} of {established} broken; {} ms without service ({}); \
             new: {new_answered} answered, {new_failed} failed, the slowest took {} ms",
            gap.as_millis(),
            course.join(", "),
            new_slowest.as_millis()
        )?;
        self.examples.iter().try_for_each(|example| write!(formatter, "\n    {example}"))
    }
}

/// How many ms after `since`, a second of the day, the log last had the words; `None` if they are older.
fn last(log: &str, words: &str, since: f64) -> Option<i64> {
    let line = log.lines().rfind(|line| line.contains(words))?;
    let after = (second_of_day(line)? - since).rem_euclid(DAY);
    // Half a day later is half a day before.
    (after < DAY / 2.0).then_some((after * 1e3) as i64)
}

/// Of a line that begins with a time such as 2026-01-31T12:59:59.123456Z.
fn second_of_day(line: &str) -> Option<f64> {
    let time = line.split_once('T')?.1.split_once('Z')?.0;
    time.split(':').try_fold(0.0, |seconds, part| Some(seconds * 60.0 + part.parse::<f64>().ok()?))
}

/// From `begun` to a moment that may be before it.
fn milliseconds(moment: Instant, begun: Instant) -> i64 {
    let count = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    count(moment.saturating_duration_since(begun)) - count(begun.saturating_duration_since(moment))
}

fn targets(port: u16) -> [SocketAddr; 2] {
    Family::BOTH.map(|family| dialled(family, port))
}

/// Each connection is an open file of this program and of an echo that it starts; 1024 is usual.
pub fn allow_files(connections: usize) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(hard as usize > 2 * connections, "no more than {hard} files may be open");
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_found_in_a_log() {
        let log = "2026-01-31T12:00:01.500000Z  INFO lvsd: holds group www for term 1\n\
                   2026-01-31T12:00:03.250000Z  INFO lvsd: holds group www for term 3\n";
        let noon = DAY / 2.0;
        assert_eq!(last(log, "holds group", noon + 3.0), Some(250));
        assert_eq!(last(log, "holds group", noon + 4.0), None, "it is of before");
        assert_eq!(last(log, "asks", noon), None);
    }

    #[test]
    fn a_moment_may_be_before_another() {
        let begun = Instant::now() + Duration::from_secs(1);
        assert_eq!(milliseconds(begun + Duration::from_millis(7), begun), 7);
        assert_eq!(milliseconds(begun - Duration::from_millis(7), begun), -7);
    }
}
