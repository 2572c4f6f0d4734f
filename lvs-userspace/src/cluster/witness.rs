//! `lvsd witness`: a voter on a third host. It carries no traffic and has no configuration beside its key.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use tracing::{info, warn};

use super::election::{Received, Voter};
use super::identity::NodeId;
use super::keys::{Keyring, Kind};
use super::message;
use super::refusal::Refusals;
use super::transport::{self, Transport};
use crate::dataplane::monotonic_nanoseconds;

/// Vote for one of two directors that do not hear each other
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Its name, as `cluster.voter` of the directors has it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where it listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:694")]
    listen: SocketAddr,
    /// The directors' key file
    #[arg(long, value_name = "FILE", default_value = "/etc/lvs-xdp/cluster.key")]
    key_file: PathBuf,
    /// Seconds at its start in which it gives no vote, as it may have given one before: at least the directors'
    /// `hold` and `deadtime`
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    silence: f64,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Keys(#[from] super::keys::Error),
    #[error(transparent)]
    Transport(#[from] transport::Error),
    #[error("cannot listen at {address}: {fault}")]
    Listen { address: SocketAddr, fault: transport::Fault },
    #[error("cannot wait for messages: {0}")]
    Wait(#[source] io::Error),
    #[error("--silence {0}: expected a number of seconds from 0 to 86400")]
    Silence(f64),
}

/// Until the process ends. `life` is chosen anew at each start.
pub fn run(options: &Options, life: u64) -> Result<(), Error> {
    let silence = Some(options.silence).filter(|seconds| (0.0..=86_400.0).contains(seconds));
    let silence = Duration::from_secs_f64(silence.ok_or(Error::Silence(options.silence))?);
    let keys = Keyring::load(&options.key_file)?;
    let mut transport = Transport::listen(options.listen)?;
    if let Some(fault) = transport.paths().find_map(|path| path.fault) {
        return Err(Error::Listen { address: options.listen, fault });
    }
    let mut voter = Voter::new(NodeId::of(&options.name), life, silence, now());
    let mut refusals = Refusals::default();
    let mut told = Vec::new();
    info!(name = options.name, listen = %options.listen, "votes");
    loop {
        let mut heard = Vec::new();
        let polled = transport.poll(Duration::from_secs(1), |source, datagram| {
            match keys.open(Kind::Beat, datagram).and_then(message::decode) {
                Ok(beat) => heard.push((source, beat, now())),
                Err(refusal) => refusals.count(refusal),
            }
        });
        polled.map_err(Error::Wait)?;
        for (source, beat, time) in heard {
            let (received, answer) = voter.receive(&beat, time);
            if received == Received::Stranger {
                warn!(node = format!("{:016x}", beat.sender.0), "more directors than a cluster can have");
            }
            if let Some(answer) = answer
                && let Err(error) =
                    transport.send_to(source, &keys.seal(Kind::Beat, &message::encode(&answer)))
            {
                warn!(%error.fault, "cannot answer");
            }
        }
        let votes: Vec<_> =
            voter.ballots().filter_map(|(group, ballot)| Some((group, ballot.promise?))).collect();
        if votes != told {
            for (group, promise) in &votes {
                if !told.contains(&(*group, *promise)) {
                    let (group, node) = (format!("{:016x}", group.0), format!("{:016x}", promise.to.0));
                    info!(group, node, term = promise.epoch, "has the vote");
                }
            }
            told = votes;
        }
    }
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_nanoseconds())
}
