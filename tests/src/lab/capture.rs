//! Recording what passes an interface, to look at it afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::checksums::check_frame;
use super::namespace::Namespace;
use super::process::Process;
use super::wait::wait_until;

/// A running capture.
///
/// Look at the interfaces of machines, not at the switch's ports: a port may show several segments as one
/// packet whose checksum is not made yet.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Begins to record; no packet after the return is missed. `directory` is the lab's.
    pub fn start(namespace: &Namespace, interface: &str, directory: &Path) -> Result<Self> {
        let name = format!("tcpdump-{}-{interface}", namespace.name());
        let file = directory.join(format!("{name}.pcap"));
        let mut command = namespace.command("tcpdump");
        // In immediate mode a packet takes a slot as long as the longest one could be: 16 000 slots here.
        command
            .args([
                "-i",
                interface,
                "-n",
                "-U",
                "--immediate-mode",
                "-s",
                "4096",
                "-B",
                "65536",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file);
        let mut process = Process::start(&name, &mut command, directory)?;
        process.wait_for_words("listening on", Duration::from_secs(10))?;
        Ok(Self { process, file })
    }

    /// Ends the recording and returns its frames in order.
    pub fn finish(mut self) -> Result<Vec<Vec<u8>>> {
        wait_until("tcpdump to catch up", Duration::from_secs(30), || self.has_caught_up().unwrap_or(false))?;
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(Duration::from_secs(10))?;
        let bytes = fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        frames(&bytes).with_context(|| format!("in {}", self.file.display()))
    }
}

impl Capture {
    /// tcpdump forgets what it has not read when it ends. On SIGUSR1 it says how far it is: `5 packets
    /// captured, 7 packets received by filter, 0 packets dropped by kernel`.
    fn has_caught_up(&self) -> Result<bool> {
        self.process.signal(Signal::SIGUSR1)?;
        let log = self.process.log();
        let numbers: Vec<u64> = log
            .lines()
            .rfind(|line| line.contains("received by filter"))
            .map(|line| line.split(' ').filter_map(|word| word.parse().ok()).collect())
            .unwrap_or_default();
        Ok(matches!(numbers[..], [captured, received, ..] if captured >= received))
    }
}

/// # Errors
/// A frame has a bad checksum, or there is no frame at all; the message shows the first bad one.
pub fn expect_good_checksums(frames: &[Vec<u8>]) -> Result<()> {
    ensure!(!frames.is_empty(), "nothing was captured");
    for (index, frame) in frames.iter().enumerate() {
        check_frame(frame).with_context(|| {
            format!("captured frame {} of {}: {}", index + 1, frames.len(), hexadecimal(frame))
        })?;
    }
    Ok(())
}

/// Splits a file in the format of pcap-savefile(5), as this machine writes it.
fn frames(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    const FILE_HEADER: usize = 24;
    const FRAME_HEADER: usize = 16;
    ensure!(bytes.get(..4) == Some(&0xa1b2_c3d4_u32.to_ne_bytes()), "not a capture of this machine");
    let mut rest = bytes.get(FILE_HEADER..).context("the file header is cut short")?;
    let mut frames = Vec::new();
    while let Some(header) = rest.get(..FRAME_HEADER) {
        let field = |offset: usize| -> usize {
            u32::from_ne_bytes([header[offset], header[offset + 1], header[offset + 2], header[offset + 3]])
                as usize
        };
        let (captured, original) = (field(8), field(12));
        ensure!(captured == original, "a frame of {original} bytes was captured up to byte {captured}");
        frames.push(
            rest.get(FRAME_HEADER..FRAME_HEADER + captured).context("the last frame is cut short")?.to_vec(),
        );
        rest = &rest[FRAME_HEADER + captured..];
    }
    Ok(frames)
}

fn hexadecimal(frame: &[u8]) -> String {
    frame.iter().take(128).map(|byte| format!("{byte:02x}")).collect()
}
