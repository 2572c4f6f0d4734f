//! New connections at a steady pace, whether the earlier ones were served or not: as many clients who do not know of
//! each other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::load::Report;
use super::namespace::Namespace;

/// How long one may take: more than two retransmitted SYNs (1 s, then 2 s).
const PATIENCE: Duration = Duration::from_secs(5);
const EXAMPLES: usize = 5;

/// Connections under way. Dropped without [`Newcomers::stop`], they end by themselves.
#[derive(Debug)]
pub struct Newcomers {
    thread: JoinHandle<Result<()>>,
    shared: Arc<Shared>,
    /// No more begin when this is gone.
    stop: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicU64,
    report: Mutex<Report>,
}

impl Newcomers {
    /// Asks for a page on a connection of its own, so many times a second, of the targets in turn. None is tried twice.
    pub fn start(client: &Namespace, targets: &[SocketAddr], per_second: u32) -> Result<Self> {
        ensure!(!targets.is_empty() && per_second > 0, "{per_second} connections a second to {targets:?}");
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = watch::channel(());
        let thread = thread::spawn({
            let (client, targets, shared) = (client.clone(), targets.to_vec(), Arc::clone(&shared));
            move || {
                client.enter_thread()?;
                runtime::Builder::new_current_thread().enable_all().build()?.block_on(arrive(
                    &targets,
                    Duration::from_secs(1) / per_second,
                    stopped,
                    &shared,
                ))
            }
        });
        Ok(Self { thread, shared, stop })
    }

    /// Those that were served or have failed so far.
    pub fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// Lets those under way end, and adds up.
    pub fn stop(self) -> Result<Report> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(self.shared.report().clone())
    }
}

impl Shared {
    /// Nobody panics with the lock, and a report of a thread that did is still a report.
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, begun: Duration, took: Duration, served: Result<String>) {
        let mut report = self.report();
        match served {
            Ok(server) => *report.servers.entry(server).or_default() += 1,
            Err(error) => {
                report.failures += 1;
                report.last_failure = report.last_failure.max(Some(begun));
                if report.examples.len() < EXAMPLES {
                    report.examples.push(format!("begun after {:.3} s: {error:#}", begun.as_secs_f64()));
                }
            }
        }
        report.slowest = report.slowest.max(took);
        drop(report);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn arrive(
    targets: &[SocketAddr],
    pace: Duration,
    mut stopped: watch::Receiver<()>,
    shared: &Arc<Shared>,
) -> Result<()> {
    let start = Instant::now();
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = JoinSet::new();
    for target in targets.iter().copied().cycle() {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = ticks.tick() => {}
        }
        let shared = Arc::clone(shared);
        running.spawn(async move {
            let begin = Instant::now();
            let served = timeout(PATIENCE, ask(target)).await;
            let served = served.unwrap_or_else(|_| bail!("not served within {PATIENCE:?}"));
            shared.note(begin - start, begin.elapsed(), served.with_context(|| target.to_string()));
        });
        while let Some(ended) = running.try_join_next() {
            ended?;
        }
    }
    while let Some(ended) = running.join_next().await {
        ended?;
    }
    Ok(())
}

/// The name of the server, which is its page.
async fn ask(target: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(target).await.context("connecting")?;
    let request = format!("GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("asking")?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await.context("reading the response")?;
    let (head, body) = response.split_once("\r\n\r\n").context("the response has no end of headers")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "status {:?}", head.lines().next().unwrap_or_default());
    Ok(body.trim().to_owned())
}
