//! Does somebody else have an address? Asked on the wire before it is taken.
//!
//! This takes the place of the kernel's duplicate address detection, which for IPv6 takes a second and for IPv4
//! does not exist. Whoever answers for others (proxy ARP) answers here too, and is told of by its MAC.

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::announce::frame::{self, Claim};
use super::driver::Heard;
use super::{Failure, Shared};
use crate::config::model::Group;

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// Questions about each address.
    pub count: u32,
    /// Between two of them.
    pub spacing: Duration,
    /// How long an answer to the last one is waited for.
    pub wait: Duration,
}

impl Default for Probing {
    fn default() -> Self {
        Self { count: 3, spacing: Duration::from_millis(10), wait: Duration::from_millis(40) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody has any of the addresses, as far as a link without loss can tell.
    Silent,
    /// The first one who said so.
    Answered(Claim),
}

/// About all addresses of the group at once. `heard` has been open since before.
pub(super) async fn probe(
    shared: &Shared,
    group: &Group,
    probing: Probing,
    mut heard: Receiver<Heard>,
) -> Result<Answer, Failure> {
    for question in 1..=probing.count.max(1) {
        for address in &group.addresses {
            let wire = shared.wire(&address.interface)?;
            if !shared.hears(&address.interface) {
                return Err(Failure::Deaf { interface: address.interface.clone() });
            }
            let question = frame::probe(address.address, wire.mac);
            shared.send(&address.interface, wire.index, &question)?;
        }
        let pause = if question < probing.count { probing.spacing } else { probing.wait };
        let until = Instant::now() + pause;
        while let Ok(heard) = timeout_at(until, heard.recv()).await {
            match heard {
                Ok(heard) => {
                    if group.addresses.iter().any(|address| heard.is_about(address)) {
                        return Ok(Answer::Answered(heard.claim));
                    }
                }
                // Answers may be among those lost: the next question brings them again.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(Failure::Ended),
            }
        }
    }
    Ok(Answer::Silent)
}
