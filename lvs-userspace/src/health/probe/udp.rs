//! `type: udp`: a datagram is answered, or at least not refused. And sockets for those who speak over UDP.

use regex::bytes::Regex;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{Failure, dial};
use crate::config::model::{Check, UdpProbe};

/// Largest datagram.
const LARGEST: usize = 65_535;

pub(super) async fn probe(check: &Check, probe: &UdpProbe) -> Result<String, Failure> {
    let socket = dial::udp(check).await?;
    socket.send(probe.send.as_bytes()).await.map_err(Failure::Connecting)?;
    let Some(expect) = &probe.expect else {
        // Who refuses does so at once.
        return match timeout(check.timing.timeout / 2, receive(&socket)).await {
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(_)) => Ok("answered".to_owned()),
            Err(_) => Ok("not refused".to_owned()),
        };
    };
    let regex = Regex::new(expect).map_err(|error| Failure::Unexpected(error.to_string()))?;
    let answer = receive(&socket).await?;
    match regex.is_match(&answer) {
        true => Ok("answered".to_owned()),
        false => {
            let begin = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
            Err(Failure::Unexpected(format!("answered {begin:?}, which does not match {expect:?}")))
        }
    }
}

/// The next datagram. An ICMP error about what was sent comes out as a refusal.
pub(super) async fn receive(socket: &UdpSocket) -> Result<Vec<u8>, Failure> {
    let mut buffer = vec![0; LARGEST];
    let length = socket.recv(&mut buffer).await.map_err(Failure::Connecting)?;
    buffer.truncate(length);
    Ok(buffer)
}
