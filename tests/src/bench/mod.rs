//! The benchmark: what a packet, a connection and a change of the configuration cost.
//!
//! Each section measures one thing and gives [`figure::Figure`]s, samples included. Figures that depend on
//! the machine are read as ratios to a floor that was measured in the same run; [`report`] prints them,
//! writes them down and compares them with a recorded run. Nothing here passes or fails.

pub mod baseline;
mod clock;
pub mod control;
mod director;
pub mod figure;
pub mod machine;
pub mod markdown;
pub mod memory;
pub mod object;
pub mod plot;
mod processor;
pub mod program;
pub mod report;
pub mod sync;
pub mod traffic;

use std::fmt;

use anyhow::Result;

use figure::Figure;

/// How a section is to be measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Fewer rounds and cases: to see whether something broke, not for the record.
    pub quick: bool,
    /// Even less, in seconds, with `quick`: a test that the benchmark still runs. Its figures mean nothing.
    pub smoke: bool,
}

impl Options {
    /// One value for each effort.
    const fn pick<T: Copy>(&self, smoke: T, quick: T, full: T) -> T {
        match self {
            Self { smoke: true, .. } => smoke,
            Self { quick: true, .. } => quick,
            _ => full,
        }
    }
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Section {
    /// The program alone: nanoseconds a packet.
    Program,
    /// End to end in namespaces: processor time a packet, requests a second.
    Traffic,
    /// What a change of the configuration takes: milliseconds.
    Control,
    /// Memory of the kernel: at rest, with many services, of each connection.
    Memory,
    /// What it takes to keep a second director's connections in step: time, bytes, processor.
    Sync,
}

impl Section {
    pub const ALL: [Self; 5] = [Self::Program, Self::Traffic, Self::Control, Self::Memory, Self::Sync];

    /// The name in [`Figure::section`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Traffic => "traffic",
            Self::Control => "control",
            Self::Memory => "memory",
            Self::Sync => "sync",
        }
    }

    pub fn measure(self, options: &Options) -> Result<Vec<Figure>> {
        match self {
            Self::Program => program::figures(options),
            Self::Traffic => traffic::figures(options),
            Self::Control => control::figures(options),
            Self::Memory => memory::figures(options),
            Self::Sync => sync::figures(options),
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
