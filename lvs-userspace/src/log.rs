//! The log: to standard error, and in nobody's way. Who reads it may hang (a journal whose disk does not answer), and the
//! threads that beat and vote write to it too: a line that is not taken at once is lost, and counted.

use std::io::{self, IsTerminal as _, Stderr, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::EnvFilter;

/// Says what is logged, as `info` or `lvs_userspace::network=debug`.
pub const VARIABLE: &str = "LVS_LOG";

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

impl Format {
    /// What stands where lines are missing.
    fn gap(self, lines: u64) -> String {
        match self {
            Self::Text => format!("{lines} lines of the log were not taken, and are lost\n"),
            Self::Json => format!("{{\"level\":\"WARN\",\"fields\":{{\"lost_lines\":{lines}}}}}\n"),
        }
    }
}

/// From now on.
pub fn start(format: Format) {
    static LOST: AtomicU64 = AtomicU64::new(0);
    let filter = EnvFilter::builder()
        .with_env_var(VARIABLE)
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let writer = move || Unhindered::<Stderr> { out: io::stderr(), lost: &LOST, format };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        Format::Text => log.with_target(false).with_ansi(io::stderr().is_terminal()).init(),
        Format::Json => log.json().init(),
    }
}

/// Writes a line if it is taken at once. A pipe or socket that is ready takes more than a line.
struct Unhindered<'a, W> {
    out: W,
    /// Lines, since one was last taken.
    lost: &'a AtomicU64,
    format: Format,
}

impl<W: Write + AsFd> Write for Unhindered<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut ready = [PollFd::new(self.out.as_fd(), PollFlags::POLLOUT)];
        // One that nobody will read any more is an error, for the write to find.
        if poll(&mut ready, PollTimeout::ZERO) == Ok(0) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.out.write_all(self.format.gap(lost).as_bytes())?;
        }
        self.out.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_log_that_nobody_reads_holds_up_nobody() {
        for format in [Format::Text, Format::Json] {
            let (mut reader, writer) = io::pipe().unwrap();
            let out = File::from(OwnedFd::from(writer));
            let lost = AtomicU64::new(0);
            let mut log = Unhindered { out, lost: &lost, format };
            let line = format!("{}\n", "x".repeat(99));
            let mut written = 0;
            while lost.load(Ordering::Relaxed) < 3 {
                log.write_all(line.as_bytes()).unwrap();
                written += 1;
                assert!(written < 100_000, "no pipe takes so much");
            }
            let taken = (written - 3) * line.len();
            let mut read = vec![0; taken];
            reader.read_exact(&mut read).unwrap();
            log.write_all(b"again\n").unwrap();
            drop(log);
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, format!("{}again\n", format.gap(3)));
            assert!(rest.contains('3'));
        }
    }
}
