//! Load: exchange after exchange from many threads, every one counted, none tried twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::client::Exchange;
use super::namespace::Namespace;

/// What is asked, and when it is enough: whichever bound is met first.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub exchange: Exchange,
    pub target: SocketAddr,
    pub threads: u64,
    /// Exchanges, over all threads.
    pub exchanges: u64,
    pub duration: Duration,
    /// Pause of each thread between two exchanges.
    pub pause: Duration,
}

impl Plan {
    /// As many exchanges as asked for, as fast as two threads can.
    pub const fn count(exchange: Exchange, target: SocketAddr, exchanges: u64) -> Self {
        Self {
            exchange,
            target,
            threads: 2,
            exchanges,
            duration: Duration::from_secs(60),
            pause: Duration::ZERO,
        }
    }

    /// A steady background of a few hundred exchanges a second, until it is stopped.
    pub const fn background(exchange: Exchange, target: SocketAddr) -> Self {
        Self {
            exchange,
            target,
            threads: 2,
            exchanges: u64::MAX,
            duration: Duration::from_secs(60),
            pause: Duration::from_millis(4),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Answers by the name of the server.
    pub servers: BTreeMap<String, u64>,
    /// Exchanges that failed.
    pub failures: u64,
    /// The first few of them: what happened, and how long after the start.
    pub examples: Vec<String>,
    /// When the last of them began, after the start.
    pub last_failure: Option<Duration>,
    /// The longest exchange: a lost packet shows here as a second or more.
    pub slowest: Duration,
}

impl Report {
    pub fn answers(&self) -> u64 {
        self.servers.values().sum()
    }

    pub fn answers_of(&self, server: &str) -> u64 {
        self.servers.get(server).copied().unwrap_or(0)
    }

    /// Share of a server among the answers, from 0 to 1.
    pub fn share(&self, server: &str) -> f64 {
        self.answers_of(server) as f64 / self.answers().max(1) as f64
    }

    /// # Errors
    /// An exchange failed, or there was none.
    pub fn expect_no_failure(&self) -> Result<()> {
        ensure!(
            self.failures == 0,
            "{} of {} exchanges failed: {:?}",
            self.failures,
            self.answers() + self.failures,
            self.examples
        );
        ensure!(self.answers() > 0, "not one exchange took place");
        Ok(())
    }

    /// # Errors
    /// A server's share is off its weight's by more than `tolerance` (0.05: five points of a hundred).
    pub fn expect_shares(&self, weights: &[(&str, u32)], tolerance: f64) -> Result<()> {
        let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
        for (server, weight) in weights {
            let expected = f64::from(*weight) / f64::from(total);
            let share = self.share(server);
            ensure!(
                (share - expected).abs() <= tolerance,
                "{server} got {share:.3} of the exchanges instead of {expected:.3} ± {tolerance}: {:?}",
                self.servers
            );
        }
        Ok(())
    }

    pub fn add(&mut self, other: Self) {
        for (server, count) in other.servers {
            *self.servers.entry(server).or_default() += count;
        }
        self.failures += other.failures;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES);
        self.last_failure = self.last_failure.max(other.last_failure);
        self.slowest = self.slowest.max(other.slowest);
    }
}

const EXAMPLES: usize = 5;

/// Load under way. Dropped without [`Load::stop`], it ends by its bounds.
#[derive(Debug)]
pub struct Load {
    threads: Vec<JoinHandle<Result<Report>>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// Exchanges begun and ended.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Load {
    pub fn start(client: &Namespace, plan: Plan) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        });
        let threads = (0..plan.threads)
            .map(|_| {
                let (client, shared) = (client.clone(), Arc::clone(&shared));
                thread::spawn(move || {
                    client.enter_thread()?;
                    Ok(exchange(plan, &shared))
                })
            })
            .collect();
        Self { threads, shared }
    }

    /// Exchanges that have ended so far, well or badly.
    pub fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// Lets the exchanges under way end and adds up.
    pub fn stop(self) -> Result<Report> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits for the plan's bounds and adds up.
    pub fn finish(self) -> Result<Report> {
        let mut report = Report::default();
        for thread in self.threads {
            report.add(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(report)
    }
}

fn exchange(plan: Plan, shared: &Shared) -> Report {
    let start = Instant::now();
    let mut report = Report::default();
    while start.elapsed() < plan.duration
        && !shared.stop.load(Ordering::Relaxed)
        && shared.begun.fetch_add(1, Ordering::Relaxed) < plan.exchanges
    {
        let begin = Instant::now();
        match plan.exchange.once(plan.target) {
            Ok(server) => *report.servers.entry(server).or_default() += 1,
            Err(error) => {
                report.failures += 1;
                report.last_failure = Some(begin - start);
                if report.examples.len() < EXAMPLES {
                    report.examples.push(format!("after {:.1} s: {error:#}", start.elapsed().as_secs_f64()));
                }
            }
        }
        report.slowest = report.slowest.max(begin.elapsed());
        shared.ended.fetch_add(1, Ordering::Relaxed);
        if !plan.pause.is_zero() {
            thread::sleep(plan.pause);
        }
    }
    report
}
