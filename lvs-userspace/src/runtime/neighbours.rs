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
/// Between two looks at the requests: no packet waits longer to have its address asked for, and no flood of them has the
/// agent do nothing else.
const ROUND: Duration = Duration::from_millis(5);

/// An address, and the interface on which it is asked for.
type Request = (IpAddr, u32);

/// What was asked for lately.
struct Asked {
    since: Instant,
    requests: HashSet<Request>,
}

impl Asked {
    fn nothing(now: Instant) -> Self {
        Self { since: now, requests: HashSet::new() }
    }

    /// Whether it is to be asked for now.
    fn admits(&mut self, request: Request, now: Instant) -> bool {
        if now.duration_since(self.since) >= ONCE_IN {
            *self = Self::nothing(now);
        }
        self.requests.len() < AT_ONCE && self.requests.insert(request)
    }
}

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
    let mut asked = Asked::nothing(Instant::now());
    loop {
        let mut guard = events.readable_mut().await?;
        let until = Instant::now() + ROUND;
        while let Some(request) = guard.get_inner_mut().take() {
            let (address, interface) = (IpAddr::from(request.address()), request.interface);
            if asked.admits((address, interface), Instant::now())
                && let Err(error) = network.resolve(address, interface).await
            {
                debug!(%address, interface, %error, "not resolved");
            }
            if Instant::now() >= until {
                break;
            }
        }
        if Instant::now() < until {
            guard.clear_ready();
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_asked_for_at_once_and_then_for_a_while_not_again() {
        let start = Instant::now();
        let mut asked = Asked::nothing(start);
        let request = |last: u8, interface: u32| (IpAddr::from([10, 0, 0, last]), interface);
        assert!(asked.admits(request(1, 2), start));
        assert!(!asked.admits(request(1, 2), start + ONCE_IN / 2));
        // Who comes while another is waited for does not wait for that.
        assert!(asked.admits(request(2, 2), start + ONCE_IN / 2));
        assert!(asked.admits(request(1, 3), start + ONCE_IN / 2), "on another interface");
        assert!(asked.admits(request(1, 2), start + ONCE_IN));
    }

    #[test]
    fn a_scan_does_not_flood_the_link() {
        let start = Instant::now();
        let mut asked = Asked::nothing(start);
        let addresses = (0..2 * AT_ONCE).map(|number| IpAddr::from((number as u32).to_be_bytes()));
        let admitted = addresses.filter(|address| asked.admits((*address, 1), start)).count();
        assert_eq!(admitted, AT_ONCE);
        assert!(asked.admits((IpAddr::from([10, 0, 0, 1]), 1), start + ONCE_IN));
    }
}
