//! Servers that do everything but what they should.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::lab::namespace::Namespace;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Accepts, and says nothing.
    Silent,
    /// Accepts, and closes at once.
    HalfOpen,
    /// Says something that is no protocol's, and closes.
    Garbage,
    /// Says something without an end, line after line.
    Endless,
    /// The same without an end of line.
    EndlessLine,
    /// A byte every tenth of a second.
    Slow,
}

impl Manner {
    pub const ALL: [Self; 6] =
        [Self::Silent, Self::HalfOpen, Self::Garbage, Self::Endless, Self::EndlessLine, Self::Slow];
}

/// Bytes that no protocol begins with.
const GARBAGE: [u8; 64] = [0x9f; 64];

/// One of them, at work.
#[derive(Clone, Debug)]
pub struct Misbehaving {
    pub address: SocketAddr,
    /// Bytes that clients have taken from it by TCP, those in the kernel's buffers included.
    said: Arc<AtomicU64>,
}

impl Misbehaving {
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }
}

/// Listens on a port of its own in the namespace, for TCP and UDP, until the process ends.
pub fn start(namespace: &Namespace, manner: Manner) -> Result<Misbehaving> {
    let (listener, datagrams) = namespace.enter(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let datagrams = UdpSocket::bind(listener.local_addr()?)?;
        Ok((listener, datagrams))
    })?;
    let address = listener.local_addr()?;
    let said = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&said);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counter = Arc::clone(&counter);
            thread::spawn(move || misbehave(stream, manner, &counter));
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((_, client)) = datagrams.recv_from(&mut buffer) {
            if manner != Manner::Silent {
                // A client that is gone is no concern.
                datagrams.send_to(&GARBAGE, client).ok();
            }
        }
    });
    Ok(Misbehaving { address, said })
}

fn misbehave(mut stream: TcpStream, manner: Manner, said: &AtomicU64) {
    // It ends when the client closes: then writing fails.
    let mut say = |bytes: &[u8]| {
        said.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        stream.write_all(bytes).is_ok()
    };
    match manner {
        Manner::Silent => {
            let mut sink = std::io::sink();
            std::io::copy(&mut stream, &mut sink).ok();
        }
        Manner::HalfOpen => {}
        Manner::Garbage => {
            say(&GARBAGE);
        }
        Manner::Endless => while say(b"and another line\r\n") {},
        Manner::EndlessLine => while say(&[b'x'; 4096]) {},
        Manner::Slow => {
            while say(b"2") {
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
