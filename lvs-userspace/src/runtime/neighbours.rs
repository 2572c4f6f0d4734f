//! Resolves what the data plane could not: it cannot ask for a MAC itself, only the kernel can.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::dataplane::Events;
use crate::network::Network;

/// Time in which an address is asked for once, however many packets wait for it.
const ONCE_IN: Duration = Duration::from_millis(500);
/// Addresses asked for in that time; clients that scan must not make the agent flood the link.
const AT_ONCE: usize = 1024;

/// Reads the data plane's requests until the agent ends.
pub(super) async fn resolve(events: Events, network: Network) {
    if let Err(error) = resolve_until_failure(events, network).await {
        warn!(%error, "neighbours are no longer resolved for the data plane");
    }
}

#[allow(unsafe_code, reason = "tokio leaves it to the caller that the descriptor stays open")]
fn registered(events: Events) -> io::Result<AsyncFd<Events>> {
    // SAFETY: `Events` owns its descriptor, always names the same one, and is owned by the `AsyncFd`.
    Ok(unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }?)
}

async fn resolve_until_failure(events: Events, network: Network) -> io::Result<()> {
    let mut events = registered(events)?;
    let mut asked: HashSet<(IpAddr, u32)> = HashSet::new();
    loop {
        let mut guard = events.readable_mut().await?;
        let until = Instant::now() + ONCE_IN;
        while let Some(request) = guard.get_inner_mut().take() {
            let request = (IpAddr::from(request.address()), request.interface);
            if asked.len() < AT_ONCE && asked.insert(request) {
                let (address, interface) = request;
                if let Err(error) = network.resolve(address, interface).await {
                    debug!(%address, interface, %error, "not resolved");
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
        if Instant::now() < until {
            guard.clear_ready();
            sleep_until(until).await;
        }
        asked.clear();
    }
}
