//! A null modem cable: two pseudo terminals that socat joins, each under a name of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::process::Process;

const PATIENCE: Duration = Duration::from_secs(10);

/// Dropped, it is pulled: both ends hang up.
#[derive(Debug)]
pub struct Cable {
    _socat: Process,
}

impl Cable {
    /// Joins the two names, whatever they led to before.
    pub fn plug(ends: &[PathBuf; 2], directory: &Path) -> Result<Self> {
        let mut command = Command::new("socat");
        // Whoever opens and closes an end must not pull the cable.
        command.args(ends.iter().map(|end| format!("pty,rawer,link={},ignoreeof", end.display())));
        let mut socat = Process::start("cable", &mut command, directory)?;
        socat.wait_until("to make both ends", PATIENCE, || ends.iter().all(|end| end.exists()))?;
        Ok(Self { _socat: socat })
    }
}
