//! Sockets as a check wants them: from its source address, by its interface.

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::Failure;
use crate::config::model::Check;

/// A connection to the checked address.
pub(super) async fn tcp(check: &Check) -> Result<TcpStream, Failure> {
    let local = |what| move |error| Failure::Local { what, error };
    let socket = match check.address {
        address if address.is_ipv4() => TcpSocket::new_v4(),
        _ => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(local("no socket"))?;
    if let Some(interface) = &check.interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(local("cannot use the interface"))?;
    }
    if let Some(source) = check.source {
        socket.bind(SocketAddr::new(source, 0)).map_err(local("cannot use the source address"))?;
    }
    let connected = socket.connect(SocketAddr::new(check.address, check.port));
    match timeout(check.timing.timeout, connected).await {
        Ok(connected) => connected.map_err(Failure::Connecting),
        Err(_) => Err(Failure::NoConnection(check.timing.timeout)),
    }
}
