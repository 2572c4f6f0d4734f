//! The asked director.

use std::io;
use std::sync::Arc;

use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::cluster::keys::Keyring;

use super::wire::{self, LARGEST_HELLO, LARGEST_STATE, Nonce, Told};
use super::{
    AGAIN, Aged, BEAT, BETWEEN, Dated, GREETING, Keys, MOST, Peer, Refused, Settings, WRITE, Written,
    invalid, nonce, read,
};

type Own<T> = watch::Receiver<Option<Arc<Dated<T>>>>;

/// Answers the other directors, for as long as it is polled.
pub(super) async fn tell<T: Serialize + Send + Sync + 'static>(
    listener: TcpListener,
    settings: Settings,
    own: Own<T>,
    (written, refused): (watch::Sender<Vec<Written>>, Refused),
) {
    let mut connections = JoinSet::new();
    let mut open = vec![0; settings.peers.len()];
    loop {
        tokio::select! {
            Some(ended) = connections.join_next() => {
                if let Ok(peer) = ended {
                    open[peer] -= 1;
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let peer = settings.addresses.borrow().host(from).map(Peer::index);
                    match peer.and_then(|peer| Some((peer, open.get_mut(peer)?))) {
                        None => {
                            refused.stranger();
                            debug!(%from, "asks for the desired state and is no director");
                        }
                        // The next attempt comes soon.
                        Some((_, open)) if *open >= MOST => {
                            refused.crowd();
                            debug!(%from, "one connection too many");
                        }
                        Some((peer, open)) => {
                            *open += 1;
                            let (keys, own) = (Arc::clone(&settings.keys), own.clone());
                            let (written, refused) = (written.clone(), refused.clone());
                            connections.spawn(async move {
                                let wrote = |version| written.send_modify(|written| written[peer] = version);
                                let Err(reason) = attend(stream, &keys, own, (&wrote, &refused)).await;
                                wrote(None);
                                debug!(%from, %reason, "the desired state is told no more");
                                peer
                            });
                        }
                    }
                }
                Err(reason) => {
                    warn!(%reason, "nobody can ask for the desired state");
                    sleep(AGAIN).await;
                }
            }
        }
    }
}

/// Until something ends it. Says through `wrote` what the other one has been sent.
async fn attend<T: Serialize>(
    mut stream: TcpStream,
    keys: &Keys,
    mut own: Own<T>,
    (wrote, refused): (impl Fn(Written), &Refused),
) -> io::Result<std::convert::Infallible> {
    stream.set_nodelay(true)?;
    let asking = greet(&mut stream, keys).await.inspect_err(|error| refused.greeting(error))?;
    let (mut is_new, mut version) = (true, 0);
    for number in 1.. {
        let frame = if is_new {
            let own = own.borrow_and_update().clone();
            version = own.as_ref().map_or(0, |own| own.version);
            frame(&keys(), &asking, number, own.as_deref())?
        } else {
            wire::told(&keys(), &asking, number, Told::Unchanged)
        };
        timeout(WRITE, stream.write_all(&frame)).await??;
        wrote(Some(version));
        sleep(BETWEEN).await;
        is_new = match timeout(BEAT, own.changed()).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => return Err(io::Error::other("this director ends")),
            Err(_) => false,
        };
    }
    Err(io::Error::other("a connection has no more numbers"))
}

/// Hears who asks; with what its answers are to be marked.
async fn greet(stream: &mut TcpStream, keys: &Keys) -> io::Result<Nonce> {
    let asked = nonce()?;
    let hello = timeout(GREETING, async {
        stream.write_all(&asked).await?;
        read(stream, LARGEST_HELLO).await
    });
    wire::open_hello(&keys(), &hello.await??, &asked).map_err(invalid)
}

fn frame<T: Serialize>(
    keys: &Keyring,
    asking: &Nonce,
    number: u64,
    own: Option<&Dated<T>>,
) -> io::Result<Vec<u8>> {
    let Some(Dated { state, version, at }) = own else {
        return Ok(wire::told(keys, asking, number, Told::Nothing));
    };
    let milliseconds = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
    let json = serde_json::to_vec(&Aged { milliseconds, version: *version, state })?;
    if json.len() > LARGEST_STATE {
        let length = json.len();
        warn!(
            length,
            most = LARGEST_STATE,
            "the desired state has too many bytes to be told to other directors"
        );
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(wire::told(keys, asking, number, Told::State(&json)))
}
