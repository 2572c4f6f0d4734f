//! The director that asks.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::wire::{self, LARGEST_FRAME, Nonce, Told};
use super::{AGAIN, Aged, Dated, GREETING, Heard, Settings, invalid, nonce, read};

type Own<T> = watch::Receiver<Option<Arc<Dated<T>>>>;

/// Asks whenever this director is active for nothing; for as long as it is polled and somebody wants to know.
pub(super) async fn ask<T: DeserializeOwned + Send + Sync>(
    settings: Settings,
    mut own: Own<T>,
    heard: watch::Sender<Heard<T>>,
) {
    loop {
        let active = async { own.wait_for(Option::is_some).await.is_ok() };
        tokio::select! {
            is_active = active => if !is_active { return },
            never = follow(&settings, &heard) => match never {},
        }
        forget(&heard);
        if own.wait_for(Option::is_none).await.is_err() {
            return;
        }
    }
}

/// One connection after the other.
async fn follow<T: DeserializeOwned>(settings: &Settings, heard: &watch::Sender<Heard<T>>) -> Infallible {
    // As if it had been heard just now: it has that long for a first word.
    let mut last = Instant::now();
    let mut told = String::new();
    loop {
        let Err(reason) = listen(settings, heard, &mut last).await;
        if last.elapsed() >= settings.patience {
            forget(heard);
        }
        let reason = reason.to_string();
        match told == reason {
            true => debug!(reason, "the other director's desired state is not told"),
            false => info!(there = %settings.there, reason, "the other director's desired state is not told"),
        }
        told = reason;
        sleep(AGAIN).await;
    }
}

/// Until something ends it. `last`: when it was heard last.
async fn listen<T: DeserializeOwned>(
    settings: &Settings,
    heard: &watch::Sender<Heard<T>>,
    last: &mut Instant,
) -> io::Result<Infallible> {
    let Settings { here, there, keys, patience } = settings;
    let own = nonce()?;
    let greeting = timeout(GREETING.min(*patience), async {
        let mut stream = connect(*here, *there).await?;
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
            Told::State(json) => {
                let dated = understood(json).inspect_err(|reason| {
                    warn!(%reason, "the other director's desired state makes no sense here");
                })?;
                Some(Heard::State(Arc::new(dated)))
            }
        };
        *last = Instant::now();
        if let Some(now) = now {
            heard.send_replace(now);
        }
    }
    Err(io::Error::other("a connection has no more numbers"))
}

/// From the own address, by which the other one knows this director.
async fn connect(here: SocketAddr, there: SocketAddr) -> io::Result<TcpStream> {
    let socket = if here.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(here.ip(), 0))?;
    socket.connect(there).await
}

fn understood<T: DeserializeOwned>(json: &[u8]) -> io::Result<Dated<T>> {
    let Aged { milliseconds, state } = serde_json::from_slice(json)?;
    let now = Instant::now();
    Ok(Dated { state, at: now.checked_sub(Duration::from_millis(milliseconds)).unwrap_or(now) })
}

fn forget<T>(heard: &watch::Sender<Heard<T>>) {
    heard.send_if_modified(|heard| {
        let was_known = !matches!(heard, Heard::Unknown);
        *heard = Heard::Unknown;
        was_known
    });
}
