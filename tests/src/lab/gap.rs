//! How long a service is away: datagrams at a steady pace, and the longest time in which none came back.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::namespace::Namespace;

/// A probe sends no longer than this; what it says of the time after is a gap.
const LIFETIME: Duration = Duration::from_secs(120);

/// A probe of the UDP echo, under way. Dropped without [`GapProbe::stop`], it ends by itself.
#[derive(Debug)]
pub struct GapProbe {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
pub struct GapReport {
    /// The longest time between two answers, from the start to the first, or from the last to the end.
    pub longest_gap: Duration,
    /// When that time begins, after the start.
    pub begins: Duration,
    /// The same as a moment.
    pub begins_at: Instant,
    /// Datagrams, with those that the kernel refused to send.
    pub sent: u64,
    /// Datagrams that came back; one that came back twice counts once.
    pub answered: u64,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    stop: AtomicBool,
    arrivals: Mutex<Arrivals>,
}

impl GapProbe {
    /// Begins to send a numbered datagram each `interval`, all from one source port.
    ///
    /// # Errors
    /// The client cannot open a socket, or has no route to the target.
    pub fn start(client: &Namespace, target: SocketAddr, interval: Duration) -> Result<Self> {
        // A socket stays in the namespace where it was opened, whoever uses it.
        let socket = client
            .enter(|| open(target))
            .with_context(|| format!("a probe of {target} from namespace {}", client.name()))?;
        let shared = Arc::new(Shared {
            start: Instant::now(),
            stop: AtomicBool::new(false),
            arrivals: Mutex::new(Arrivals::default()),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || probe(&socket, interval, &shared)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The longest time without an answer so far; the time since the last one counts as well.
    pub fn longest_gap(&self) -> Duration {
        self.shared.arrivals().longest_gap(self.shared.start.elapsed()).length
    }

    /// Datagrams that have come back so far.
    pub fn answers(&self) -> u64 {
        self.shared.arrivals().numbers.len() as u64
    }

    pub fn stop(mut self) -> GapReport {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let arrivals = self.shared.arrivals();
        let gap = arrivals.longest_gap(self.shared.start.elapsed());
        GapReport {
            longest_gap: gap.length,
            begins: gap.begins,
            begins_at: self.shared.start + gap.begins,
            sent: arrivals.sent,
            answered: arrivals.numbers.len() as u64,
        }
    }
}

impl Drop for GapProbe {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(target: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    Ok(socket)
}

fn probe(socket: &UdpSocket, interval: Duration, shared: &Shared) {
    let mut next = shared.start;
    while shared.start.elapsed() < LIFETIME && !shared.stop.load(Ordering::Relaxed) {
        send(socket, shared.arrivals().number_next());
        // One who comes late does not catch up.
        next = (next + interval).max(Instant::now());
        while let Some(number) = receive(socket, next) {
            shared.arrivals().note(number, shared.start.elapsed());
        }
    }
}

/// A datagram that cannot be sent is one more that does not come back.
fn send(socket: &UdpSocket, number: u64) {
    // An ICMP error about an earlier datagram comes out of the next call, which then sends nothing.
    if socket.send(&number.to_be_bytes()).is_err() {
        socket.send(&number.to_be_bytes()).ok();
    }
}

/// The number of the next datagram that comes back before `deadline`.
fn receive(socket: &UdpSocket, deadline: Instant) -> Option<u64> {
    let mut buffer = [0; 256];
    loop {
        let remaining = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        // Anything but the end of the time is an ICMP error about a datagram: no answer, but no end either.
        if let Ok(length) = receive_within(socket, remaining, &mut buffer)
            && let Some(number) = number(&buffer[..length])
        {
            return Some(number);
        }
    }
}

fn receive_within(socket: &UdpSocket, time: Duration, buffer: &mut [u8]) -> io::Result<usize> {
    socket.set_read_timeout(Some(time))?;
    socket.recv(buffer)
}

/// What the echo answers is its name, a space and the datagram.
fn number(answer: &[u8]) -> Option<u64> {
    let space = answer.iter().position(|byte| *byte == b' ')?;
    answer[space + 1..].try_into().ok().map(u64::from_be_bytes)
}

/// What came back when; times are counted from the start.
#[derive(Debug, Default)]
struct Arrivals {
    sent: u64,
    numbers: BTreeSet<u64>,
    last: Duration,
    longest: Gap,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gap {
    begins: Duration,
    length: Duration,
}

impl Arrivals {
    fn number_next(&mut self) -> u64 {
        self.sent += 1;
        self.sent - 1
    }

    fn note(&mut self, number: u64, now: Duration) {
        // A second copy says no more than the first that the service is there.
        if self.numbers.insert(number) {
            self.longest = self.longest_gap(now);
            self.last = now;
        }
    }

    fn longest_gap(&self, now: Duration) -> Gap {
        let running = Gap { begins: self.last, length: now.saturating_sub(self.last) };
        if running.length > self.longest.length { running } else { self.longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_gap_is_between_answers_before_the_first_or_after_the_last() {
        let mut arrivals = Arrivals::default();
        assert_eq!(
            arrivals.longest_gap(milliseconds(7)),
            Gap { begins: milliseconds(0), length: milliseconds(7) }
        );
        arrivals.note(0, milliseconds(10));
        arrivals.note(1, milliseconds(20));
        arrivals.note(9, milliseconds(100));
        // A copy of an answer does not end a gap.
        arrivals.note(9, milliseconds(150));
        let between = Gap { begins: milliseconds(20), length: milliseconds(80) };
        assert_eq!(arrivals.longest_gap(milliseconds(180)), between);
        let since = Gap { begins: milliseconds(100), length: milliseconds(81) };
        assert_eq!(arrivals.longest_gap(milliseconds(181)), since);
    }

    #[test]
    fn an_answer_gives_the_number_back() {
        let answer = [b"rs1 ".as_slice(), &0x20_u64.to_be_bytes()].concat();
        assert_eq!(number(&answer), Some(0x20));
        assert_eq!(number(b"rs1 short"), None);
        assert_eq!(number(b"no-space"), None);
    }
}
