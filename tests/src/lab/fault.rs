//! How a director stops serving, and how it is brought back.

use std::fmt;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::hang::Part;
use super::namespace::Prepared;
use super::pair::{NODES, Pair};
use super::wait::wait_until;

/// The thread of the agent that beats.
const BEATS: &str = "pulse";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// `kill -9` of the agent.
    Kill,
    /// `kill -STOP` of the agent, and `kill -CONT` when it has been replaced.
    Stop,
    /// The agent's main task hangs, and all its other threads go on; it goes on when it has been replaced.
    Hang,
    /// All threads of the agent hang but the one that beats.
    HangAll,
    /// The cable to clients and real servers is pulled.
    Pull,
    /// The same, just after the other director was resumed: it listens for a dead time before it takes anything.
    PullEarly,
    /// The machine is gone: its agent, and all its links.
    Crash,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Hang => "hang",
            Self::HangAll => "hang-all",
            Self::Pull => "pull",
            Self::PullEarly => "pull-early",
            Self::Crash => "crash",
        })
    }
}

/// A fault that is made ready, since programs take their time to start.
#[derive(Debug)]
pub struct Ready {
    fault: Fault,
    index: usize,
    cables: Option<[Prepared; 2]>,
}

impl Fault {
    /// What comes before the fault of a director.
    pub fn prepare(self, pair: &Pair, index: usize) -> Result<Ready> {
        let cables = match self {
            Self::Crash => Some(pair.prepare_isolation(index)?),
            Self::PullEarly => {
                resume_late(pair, 1 - index)?;
                None
            }
            Self::Kill | Self::Stop | Self::Hang | Self::HangAll | Self::Pull => None,
        };
        Ok(Ready { fault: self, index, cables })
    }

    /// Brings the director back, and waits until it stands by.
    pub fn mend(self, pair: &mut Pair, index: usize) -> Result<()> {
        let start_again =
            |pair: &mut Pair| pair.agents[index].as_mut().context("it was there")?.start_again();
        match self {
            Self::Kill => start_again(pair)?,
            Self::Stop => pair.agent(index)?.signal(Signal::SIGCONT)?,
            Self::Hang | Self::HangAll => pair.agents[index].as_mut().context("it runs")?.go_on(),
            Self::Pull | Self::PullEarly => pair.set_service_link(index, true)?,
            Self::Crash => {
                pair.set_service_link(index, true)?;
                pair.set_heartbeat_links(true)?;
                start_again(pair)?;
            }
        }
        pair.wait_for_standby(index)
    }
}

impl Ready {
    pub fn strike(self, pair: &mut Pair) -> Result<()> {
        let Self { fault, index, cables } = self;
        if let Some(cables) = cables {
            Prepared::go_together(cables)?;
        }
        match fault {
            Fault::Kill | Fault::Crash => pair.agents[index].as_mut().context("it runs")?.kill(),
            Fault::Stop => pair.agent(index)?.signal(Signal::SIGSTOP),
            Fault::Hang => pair.agents[index].as_mut().context("it runs")?.hang(Part::Main),
            Fault::HangAll => pair.agents[index].as_mut().context("it runs")?.hang(Part::AllBut(BEATS)),
            Fault::Pull | Fault::PullEarly => pair.set_service_link(index, false),
        }
    }
}

/// Stops a director until the other one misses it, and lets it go on.
fn resume_late(pair: &Pair, index: usize) -> Result<()> {
    let is_missed = || {
        let status = pair.status(1 - index).ok();
        status
            .is_some_and(|status| status.peers.iter().any(|peer| peer.name == NODES[index] && !peer.is_alive))
    };
    pair.agent(index)?.signal(Signal::SIGSTOP)?;
    let missed = wait_until(&format!("{} to be missed", NODES[index]), super::pair::PATIENCE, is_missed);
    pair.agent(index)?.signal(Signal::SIGCONT)?;
    missed?;
    pair.wait_for_standby(index)
}
