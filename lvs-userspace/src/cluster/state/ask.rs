//! The director that asks: a task for each of the others.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::wire::{self, LARGEST_FRAME, Nonce, Told};
use super::{
    AGAIN, AGAIN_AT_LAST, Aged, Dated, GREETING, Heard, Peer, Refused, Settings, invalid, nonce, read,
};

/// By peer.
type All<T> = watch::Sender<Vec<Heard<T>>>;

/// Asks on one connection after the other, for as long as it is polled.
pub(super) async fn ask<T: DeserializeOwned>(
    settings: Settings,
    peer: Peer,
    (all, refused): (All<T>, Refused),
) -> Infallible {
    let heard = One { peer, all, refused };
    // As if it had been heard just now: it has that long for a first word.
    let mut last = Instant::now();
    // Since a frame has come.
    let mut told = BTreeSet::new();
    let mut pause = AGAIN;
    loop {
        let before = last;
        let Err(reason) = listen(&settings, &heard, &mut last).await;
        if last > before {
            told.clear();
        }
        heard.refused.frame(&reason);
        let is_nonsense = reason.kind() == io::ErrorKind::InvalidData;
        if last.elapsed() >= settings.patience {
            heard.forget();
        }
        let reason = reason.to_string();
        let director = settings.peers.get(heard.peer.index()).map_or("", String::as_str);
        let is_again = !told.insert(reason.clone());
        match (is_again, is_nonsense) {
            (true, _) => debug!(director, reason, "another director's desired state is not told"),
            (false, true) => warn!(director, reason, "another director's desired state makes no sense here"),
            (false, false) => info!(director, reason, "another director's desired state is not told"),
        }
        pause = next_pause(pause, is_again && is_nonsense);
        sleep(pause).await;
    }
}

/// Until something ends it. `last`: when it was heard last.
async fn listen<T: DeserializeOwned>(
    settings: &Settings,
    heard: &One<T>,
    last: &mut Instant,
) -> io::Result<Infallible> {
    let Settings { keys, patience, .. } = settings;
    let own = nonce()?;
    let greeting = timeout(GREETING.min(*patience), async {
        let mut stream = connect(settings, heard.peer).await?;
        let mut theirs = Nonce::default();
        stream.read_exact(&mut theirs).await?;
        stream.write_all(&wire::hello(&keys(), &theirs, &own)).await?;
        io::Result::Ok(stream)
    });
    let mut stream = greeting.await??;
    for number in 1.. {
        let sealed = timeout(*patience, read(&mut stream, LARGEST_FRAME)).await??;
        let now = match wire::open_told(&keys(), &sealed, &own, number).map_err(invalid)? {
            Told::Unchanged => None,
            Told::Nothing => Some(Heard::Nothing),
            Told::State(json) => Some(Heard::State(Arc::new(understood(json)?))),
        };
        *last = Instant::now();
        if let Some(now) = now {
            heard.learn(now);
        }
    }
    Err(io::Error::other("a connection has no more numbers"))
}

async fn connect(settings: &Settings, peer: Peer) -> io::Result<TcpStream> {
    let there = settings.addresses.borrow().to(peer);
    let there = there.ok_or_else(|| io::Error::other("its address is not known yet"))?;
    settings.socket(0)?.connect(there).await
}

/// Until it is asked again: longer and longer, while it tells the same nonsense.
fn next_pause(former: Duration, is_same_nonsense: bool) -> Duration {
    if is_same_nonsense { (former * 2).min(AGAIN_AT_LAST) } else { AGAIN }
}

pub(super) fn understood<T: DeserializeOwned>(json: &[u8]) -> io::Result<Dated<T>> {
    let Aged { milliseconds, version, state } = serde_json::from_slice(json).map_err(invalid)?;
    let now = Instant::now();
    Ok(Dated { state, version, at: now.checked_sub(Duration::from_millis(milliseconds)).unwrap_or(now) })
}

/// What is known of one of them.
struct One<T> {
    peer: Peer,
    all: All<T>,
    refused: Refused,
}

impl<T> One<T> {
    fn learn(&self, now: Heard<T>) {
        self.all.send_modify(|all| {
            if let Some(heard) = all.get_mut(self.peer.index()) {
                *heard = now;
            }
        });
    }

    fn forget(&self) {
        self.all.send_if_modified(|all| {
            let known = all.get_mut(self.peer.index()).filter(|heard| !matches!(heard, Heard::Unknown));
            known.map(|heard| *heard = Heard::Unknown).is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_nonsense_is_asked_for_less_and_less() {
        let mut pause = AGAIN;
        let pauses =
            [false, true, true, true, true, true, true, true, false, false].map(|is_same_nonsense| {
                pause = next_pause(pause, is_same_nonsense);
                pause.as_millis()
            });
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 100, 100]);
    }
}
