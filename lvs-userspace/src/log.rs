//! The log: to standard error, and in nobody's way. Who reads it may hang (a journal whose disk does not answer) or be
//! gone, and the threads that beat and vote write to it too: a line that is not taken at once is lost, and counted.

use std::io::{self, IsTerminal as _, Stderr, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// Says what is logged, as `info` or `lvs_userspace::network=debug`.
pub const VARIABLE: &str = "LVS_LOG";

/// What a pipe takes without waiting where it takes anything: one of its pages (pipe(7)). A socket that is ready takes
/// more.
const PIECE: usize = 4096;

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
        let mut time = String::new();
        // A clock that cannot be written leaves the line without its time.
        SystemTime.format_time(&mut Writer::new(&mut time)).ok();
        let words = "lines of the log were not taken, and are lost";
        match self {
            Self::Text => format!("{time}  WARN {lines} {words}\n"),
            Self::Json => {
                let target = module_path!();
                format!(
                    "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"fields\":{{\"message\":\"{words}\",\"lines\":{lines}}},\"target\":\"{target}\"}}\n"
                )
            }
        }
    }
}

/// From now on.
pub fn start(format: Format) {
    let filter = EnvFilter::builder()
        .with_env_var(VARIABLE)
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Unhindered::<Stderr> { out: io::stderr(), gaps: &GAPS, format })
        // They would be told on standard error, by what panics where it is gone.
        .log_internal_errors(false);
    match format {
        Format::Text => log.with_target(false).with_ansi(io::stderr().is_terminal()).init(),
        Format::Json => log.json().init(),
    }
}

/// Why a program ends, for people: on standard error, if that takes it.
pub fn say_at_last(words: &str) {
    let mut out = Unhindered::<Stderr> { out: io::stderr(), gaps: &GAPS, format: Format::Text };
    // It never fails: see below.
    out.write_all(format!("{words}\n").as_bytes()).ok();
}

static GAPS: Mutex<Gaps> = Mutex::new(Gaps { lost: 0, is_torn: false });

/// What is missing at the end of the log. One line at a time looks whether there is room, and is written.
#[derive(Debug)]
struct Gaps {
    lost: u64,
    /// The last line has no end.
    is_torn: bool,
}

/// Writes a line if it is taken at once.
struct Unhindered<'a, W> {
    out: W,
    gaps: &'a Mutex<Gaps>,
    format: Format,
}

impl<W: Write + AsFd> Unhindered<'_, W> {
    /// Whether all of it was taken.
    fn put(&mut self, gaps: &mut Gaps, bytes: &[u8]) -> bool {
        let taken = self.taken(bytes);
        if let Some(last) = bytes[..taken].last() {
            gaps.is_torn = *last != b'\n';
        }
        taken == bytes.len()
    }

    fn taken(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for piece in bytes.chunks(PIECE) {
            // What a signal has cut short is another piece.
            let mut left = piece;
            while !left.is_empty() {
                let count = if has_room(&self.out) { self.out.write(left) } else { Ok(0) };
                match count {
                    Ok(0) => return taken,
                    Ok(count) => {
                        taken += count;
                        left = &left[count..];
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // Nobody reads it any more, or there is no room on a disk.
                    Err(_) => return taken,
                }
            }
        }
        taken
    }
}

fn has_room(out: &impl AsFd) -> bool {
    let mut ready = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    loop {
        match poll(&mut ready, PollTimeout::ZERO) {
            Err(Errno::EINTR) => {}
            ready => return ready == Ok(1),
        }
    }
}

impl<W: Write + AsFd> Write for Unhindered<'_, W> {
    /// Takes a whole line, whatever becomes of it: an error would have to be told, and where?
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = if gaps.lost > 0 { self.format.gap(gaps.lost) } else { String::new() };
        let end = if gaps.is_torn { "\n" } else { "" };
        let is_told = self.put(&mut gaps, format!("{end}{gap}").as_bytes());
        if is_told {
            gaps.lost = 0;
        }
        if !is_told || !self.put(&mut gaps, line) {
            gaps.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use super::*;

    const NONE: Gaps = Gaps { lost: 0, is_torn: false };

    /// Lines of any length, on a pipe that nobody reads; then somebody does.
    #[test]
    fn a_log_that_nobody_reads_holds_up_nobody() {
        for format in [Format::Text, Format::Json] {
            for length in [99, 3000, 5000, 20_000] {
                let (mut reader, writer) = io::pipe().unwrap();
                let gaps = Mutex::new(NONE);
                let mut log = Unhindered { out: File::from(OwnedFd::from(writer)), gaps: &gaps, format };
                let line = format!("{}\n", "x".repeat(length));
                let mut written = 0;
                while gaps.lock().unwrap().lost < 3 {
                    log.write_all(line.as_bytes()).unwrap();
                    written += 1;
                    assert!(written < 100_000, "no pipe takes so much");
                }
                // As much as makes room for a line.
                let mut first = vec![0; (written - 3) * line.len()];
                reader.read_exact(&mut first).unwrap();
                let torn = usize::from(gaps.lock().unwrap().is_torn);
                log.write_all(b"again\n").unwrap();
                drop(log);
                let mut rest = String::new();
                reader.read_to_string(&mut rest).unwrap();
                let lines: Vec<_> = rest.trim_start_matches('x').lines().skip(torn).collect();
                assert_eq!(lines.len(), 2, "{rest:?}");
                assert_eq!(lines[1], "again");
                match format {
                    Format::Text => assert!(lines[0].contains("WARN 3 lines"), "{rest:?}"),
                    Format::Json => {
                        let gap: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
                        assert_eq!((&gap["level"], &gap["fields"]["lines"]), (&"WARN".into(), &3.into()));
                        assert!(gap["timestamp"].as_str().unwrap().starts_with("20"), "{gap}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_log_whose_reader_is_gone_or_whose_disk_is_full_is_no_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        for out in [File::from(OwnedFd::from(writer)), full] {
            let gaps = Mutex::new(NONE);
            let mut log = Unhindered { out, gaps: &gaps, format: Format::Text };
            for lost in 1..4 {
                log.write_all(b"a line\n").unwrap();
                assert_eq!(gaps.lock().unwrap().lost, lost);
            }
        }
    }
}
