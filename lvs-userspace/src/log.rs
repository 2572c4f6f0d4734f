//! The log: to standard error, and in nobody's way. Who reads it may hang (a journal whose disk does not answer, a
//! terminal), and the threads that beat and vote write to it too. So a thread of its own writes; what comes while too
//! much waits for it is lost, and counted.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::ValueEnum;
use tokio::time::interval;
use tracing::{error, warn};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Says what is logged, as `info` or `lvs_userspace::network=debug`.
pub const VARIABLE: &str = "LVS_LOG";

/// Lines that may wait to be written.
const LINES: usize = 8192;
/// Between two looks at what is lost.
const ROUND: Duration = Duration::from_secs(1);

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// What a program logs to. Dropped, it waits for what is still to be written, for a second at the most.
#[derive(Debug)]
pub struct Log {
    writer: NonBlocking,
    _guard: WorkerGuard,
}

impl Log {
    /// From now on. Starts a thread.
    pub fn start(format: Format) -> Self {
        let filter = EnvFilter::builder()
            .with_env_var(VARIABLE)
            .with_default_directive(tracing::Level::INFO.into())
            .from_env_lossy();
        let (writer, guard) = writing(io::stderr(), LINES);
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer.clone());
        match format {
            Format::Text => log.with_target(false).with_ansi(io::stderr().is_terminal()).init(),
            Format::Json => log.json().init(),
        }
        // The usual one writes to standard error itself: a thread that panics would never end where that hangs.
        std::panic::set_hook(Box::new(|panic| {
            let backtrace = Backtrace::capture();
            match backtrace.status() {
                BacktraceStatus::Captured => error!("{panic}\n{backtrace}"),
                _ => error!("{panic}"),
            }
        }));
        Self { writer, _guard: guard }
    }

    /// Writes why the program ends, for people.
    pub fn say(&mut self, words: &str) {
        // Lost with all the rest where nobody takes it.
        self.writer.write_all(format!("{words}\n").as_bytes()).ok();
    }

    /// What has been lost since the program's start.
    pub fn losses(&self) -> Losses {
        Losses { counter: self.writer.error_counter(), told: 0 }
    }
}

/// Writes to `out`; so many lines may wait for it.
fn writing(out: impl io::Write + Send + 'static, lines: usize) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(lines).thread_name("log").finish(out)
}

/// Lines that nobody will read.
#[derive(Debug)]
pub struct Losses {
    counter: ErrorCounter,
    told: usize,
}

impl Losses {
    /// Logs now and then how many there are more than last time; for ever.
    pub async fn tell(mut self) {
        let mut round = interval(ROUND);
        loop {
            round.tick().await;
            let lines = self.since_last();
            if lines > 0 {
                warn!(lines, "the log is not taken fast enough: lines of it are lost");
            }
        }
    }

    fn since_last(&mut self) -> usize {
        let lost = self.counter.dropped_lines();
        lost - std::mem::replace(&mut self.told, lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_which_there_is_no_room_are_counted_once() {
        // Nobody reads what this end of a pipe takes.
        let (reader, writer) = io::pipe().unwrap();
        let (mut writer, guard) = writing(writer, 2);
        let mut losses = Losses { counter: writer.error_counter(), told: 0 };
        let line = [b'x'; 1 << 16];
        let mut written = 0;
        while losses.counter.dropped_lines() < 3 {
            writer.write_all(&line).unwrap();
            written += 1;
            assert!(written < 100, "neither a pipe nor a queue takes so much");
        }
        assert_eq!((losses.since_last(), losses.since_last()), (3, 0));
        writer.write_all(&line).unwrap();
        assert_eq!(losses.since_last(), 1);
        // Then the writer has an end, too.
        drop(reader);
        drop(guard);
    }
}
