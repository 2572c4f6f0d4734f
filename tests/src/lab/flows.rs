//! Connections that stay open: each is in use all the time, and a takeover must not break one of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::namespace::Namespace;

/// How long a connection may take to open, and a message to come back.
const PATIENCE: Duration = Duration::from_secs(20);
/// From one message of a connection to its next.
const INTERVAL: Duration = Duration::from_millis(250);
/// Connections that open at a time: fewer than a listener's queue holds (128 with Rust's listeners).
const OPENING: usize = 64;
const EXAMPLES: usize = 5;

/// Connections to the echo, in use. Dropped without [`Flows::stop`], they end by themselves: at once, or when
/// the message under way has come back or run out of patience (20 s).
#[derive(Debug)]
pub struct Flows {
    thread: JoinHandle<Result<()>>,
    report: Arc<Mutex<FlowsReport>>,
    /// The flows end when this is gone.
    stop: watch::Sender<()>,
}

#[derive(Clone, Debug, Default)]
pub struct FlowsReport {
    pub opened: usize,
    /// Connections that were reset or closed, brought wrong bytes, or brought nothing for 20 s.
    pub broken: usize,
    /// The first few of them: what happened, and how long after all were open.
    pub examples: Vec<String>,
    /// Messages that came back.
    pub exchanges: u64,
    /// The longest time from a message to its return, or to the end of the connection that broke.
    pub longest_stall: Duration,
}

impl FlowsReport {
    /// # Errors
    /// A connection broke, or not one message came back.
    pub fn expect_none_broken(&self) -> Result<()> {
        let Self { opened, broken, examples, .. } = self;
        ensure!(*broken == 0, "{broken} of {opened} connections broke: {examples:?}");
        ensure!(self.exchanges > 0, "not one message came back on {opened} connections");
        Ok(())
    }
}

impl Flows {
    /// Opens `count` connections, to the targets in turn, and puts them to use: a message each 250 ms, which
    /// must come back before the next one. One thread in the client's namespace serves them all.
    ///
    /// # Errors
    /// A connection does not open within 20 s.
    pub fn open(client: &Namespace, targets: &[SocketAddr], count: usize) -> Result<Self> {
        ensure!(!targets.is_empty(), "{count} connections, but no target");
        let report = Arc::new(Mutex::new(FlowsReport { opened: count, ..FlowsReport::default() }));
        let (stop, stopped) = watch::channel(());
        let (all_open, opening) = mpsc::channel();
        let thread = thread::spawn({
            let (client, targets, report) = (client.clone(), targets.to_vec(), Arc::clone(&report));
            move || {
                client.enter_thread()?;
                runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                    let flows = open_all(&targets, count).await?;
                    all_open.send(())?;
                    use_all(flows, &stopped, &report).await
                })
            }
        });
        if opening.recv().is_err() {
            // The thread has ended before it could say that all is well, so it has an error.
            join(thread)?;
            bail!("the thread of the connections ended early");
        }
        Ok(Self { thread, report, stop })
    }

    pub fn broken(&self) -> usize {
        lock(&self.report).broken
    }

    /// Of the first few that broke.
    pub fn examples(&self) -> Vec<String> {
        lock(&self.report).examples.clone()
    }

    /// Messages that have come back so far, over all connections.
    pub fn exchanges(&self) -> u64 {
        lock(&self.report).exchanges
    }

    /// Lets the messages under way come back, each within its patience, and closes the connections.
    pub fn stop(self) -> Result<FlowsReport> {
        drop(self.stop);
        join(self.thread)?;
        Ok(lock(&self.report).clone())
    }
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Nobody panics with the lock, and a report of a thread that did is still a report.
fn lock(report: &Mutex<FlowsReport>) -> MutexGuard<'_, FlowsReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn open_all(targets: &[SocketAddr], count: usize) -> Result<Vec<Flow>> {
    let mut flows = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for (number, target) in targets.iter().copied().cycle().take(count).enumerate() {
        if opening.len() == OPENING
            && let Some(flow) = opening.join_next().await
        {
            flows.push(flow??);
        }
        opening.spawn(Flow::open(number, target));
    }
    while let Some(flow) = opening.join_next().await {
        flows.push(flow??);
    }
    Ok(flows)
}

async fn use_all(
    flows: Vec<Flow>,
    stopped: &watch::Receiver<()>,
    report: &Arc<Mutex<FlowsReport>>,
) -> Result<()> {
    let start = Instant::now();
    let count = flows.len();
    let mut running = JoinSet::new();
    for (index, flow) in flows.into_iter().enumerate() {
        // Spread over the interval, so that they do not all send at once.
        let offset = INTERVAL.mul_f64(index as f64 / count as f64);
        running.spawn(flow.exchange(start, offset, stopped.clone(), Arc::clone(report)));
    }
    while let Some(ended) = running.join_next().await {
        ended?;
    }
    Ok(())
}

struct Flow {
    number: usize,
    target: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Flow {
    async fn open(number: usize, target: SocketAddr) -> Result<Self> {
        let open = async {
            let stream = TcpStream::connect(target).await.context("connecting")?;
            stream.set_nodelay(true)?;
            // A name and a message fit; there may be thousands of connections.
            let mut stream = BufReader::with_capacity(64, stream);
            let mut server = String::new();
            stream.read_line(&mut server).await.context("reading the server's name")?;
            ensure!(server.ends_with('\n'), "closed before the server's name was over: {server:?}");
            Ok(Self { number, target, stream })
        };
        timeout(PATIENCE, open)
            .await
            .unwrap_or_else(|_| bail!("did not open within {PATIENCE:?}"))
            .with_context(|| format!("connection {number} to {target}"))
    }

    /// A message each interval, until the flow breaks or is stopped.
    async fn exchange(
        mut self,
        start: Instant,
        offset: Duration,
        mut stopped: watch::Receiver<()>,
        report: Arc<Mutex<FlowsReport>>,
    ) {
        let mut ticks = interval_at(start + offset, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for sequence in 0.. {
            tokio::select! {
                _ = stopped.changed() => return,
                _ = ticks.tick() => {}
            }
            let begin = Instant::now();
            let echo = timeout(PATIENCE, self.echo(sequence))
                .await
                .unwrap_or_else(|_| bail!("no answer for {PATIENCE:?}"));
            let mut report = lock(&report);
            report.longest_stall = report.longest_stall.max(begin.elapsed());
            if let Err(error) = echo {
                report.broken += 1;
                if report.examples.len() < EXAMPLES {
                    let (after, Self { number, target, .. }) = (start.elapsed().as_secs_f64(), &self);
                    report.examples.push(format!(
                        "after {after:.1} s: connection {number} to {target}, message {sequence}: {error:#}"
                    ));
                }
                return;
            }
            report.exchanges += 1;
        }
    }

    async fn echo(&mut self, sequence: u64) -> Result<()> {
        // No other message of any connection is the same.
        let message = (self.number as u128) << 64 | u128::from(sequence);
        self.stream.get_mut().write_all(&message.to_be_bytes()).await.context("sending")?;
        let back = self.stream.read_u128().await.context("reading the echo")?;
        ensure!(back == message, "{back:032x} came back for {message:032x}");
        Ok(())
    }
}
