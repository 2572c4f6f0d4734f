//! `via: path`: a probe's connections take the path of the clients' packets.
//!
//! A probe dials as any other; its sockets are marked here, and the programs do the rest. What they know of its
//! connections is forgotten when the probe has ended.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;

use super::Failure;
use super::dial::local;
use crate::config::model::{Check, Path};
use crate::dataplane::{MapError, Passage, Probes};

/// Bytes of a TCP segment in a tunnel: an outer header fits beside it on every link that carries IPv6 (RFC 8200
/// section 5: 1280 bytes).
const TUNNEL_SEGMENT: u32 = 1180;

tokio::task_local! {
    /// Of the probe that runs: a probe of a few kinds dials more than once, somewhere inside.
    static PASSAGES: Passages;
}

/// The connections of one probe.
struct Passages {
    probes: Option<Probes>,
    open: RefCell<Vec<Passage>>,
}

/// Does what a probe does, and forgets its connections. A result that was not found on the path says nothing.
pub(super) async fn take<T>(
    probes: Option<&Probes>,
    probe: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let passages = Passages { probes: probes.cloned(), open: RefCell::default() };
    let probe = async {
        let result = probe.await;
        match &result {
            Err(failure) if failure.is_own() => result,
            _ => PASSAGES.with(Passages::were_taken).and(result),
        }
    };
    PASSAGES.scope(passages, probe).await
}

impl Passages {
    fn were_taken(&self) -> Result<(), Failure> {
        for passage in self.open.borrow().iter() {
            if !passage.was_taken().map_err(unknown)? {
                let what = "its packets do not take the path: the route to the real server leads through \
                            none of the director's interfaces";
                return Err(Failure::Own(what.to_owned()));
            }
        }
        Ok(())
    }

    fn mark(&self, path: &Path) -> Result<u32, Failure> {
        let Some(probes) = &self.probes else {
            return Err(Failure::Own("no program is there to take the path".to_owned()));
        };
        let Some(passage) = probes.open(path).map_err(unknown)? else {
            return Err(Failure::Own("too many probes take the path at the same time".to_owned()));
        };
        let mark = passage.mark();
        self.open.borrow_mut().push(passage);
        Ok(mark)
    }
}

fn unknown(reason: MapError) -> Failure {
    Failure::Own(reason.to_string())
}

/// Sends a socket's packets on the check's path, if it has one; before it is connected.
pub(super) fn prepare(check: &Check, socket: &SockRef<'_>) -> Result<(), Failure> {
    let Some(path) = &check.path else { return Ok(()) };
    let mark = PASSAGES
        .try_with(|passages| passages.mark(path))
        .unwrap_or_else(|_| Err(Failure::Own("no program is there to take the path".to_owned())))?;
    socket.set_mark(mark).map_err(local("cannot mark the socket"))?;
    if socket.r#type().is_ok_and(|kind| kind == socket2::Type::STREAM) {
        if matches!(path, Path::Tunnel { .. }) {
            socket.set_tcp_mss(TUNNEL_SEGMENT).map_err(local("cannot make segments smaller"))?;
        }
        // Ports are few, since no two probes share one: none stays in TIME-WAIT.
        socket.set_linger(Some(std::time::Duration::ZERO)).map_err(local("no linger"))?;
    }
    Ok(())
}

/// The end a probe's socket is bound to. On the path it has a port that no other has: all real servers of a
/// service answer from one address.
pub(super) fn own_end(check: &Check) -> Option<SocketAddr> {
    let any = match check.address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let source = check.source.or_else(|| check.path.as_ref().map(|_| any))?;
    Some(SocketAddr::new(source, 0))
}
