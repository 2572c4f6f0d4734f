//! Sockets as a check wants them: from its source address, by its interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Failure, path};
use crate::config::model::Check;

/// A connection to the checked address.
pub(super) async fn tcp(check: &Check) -> Result<TcpStream, Failure> {
    let socket = match check.address {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(local("no socket"))?;
    if let Some(interface) = &check.interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(local("cannot use the interface"))?;
    }
    path::prepare(check, &SockRef::from(&socket))?;
    if let Some(own) = path::own_end(check) {
        socket.bind(own).map_err(local("cannot use the source address"))?;
    }
    let connected = socket.connect(SocketAddr::new(check.address, check.port));
    match timeout(check.timing.timeout, connected).await {
        Ok(connected) => connected.map_err(Failure::Connecting),
        Err(_) => Err(Failure::NoConnection(check.timing.timeout)),
    }
}

/// A socket that sends to the checked address and hears from nobody else.
pub(super) async fn udp(check: &Check) -> Result<UdpSocket, Failure> {
    let any = match check.address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let own = SocketAddr::new(check.source.unwrap_or(any), 0);
    let socket = UdpSocket::bind(own).await.map_err(local("cannot use the source address"))?;
    if let Some(interface) = &check.interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(local("cannot use the interface"))?;
    }
    path::prepare(check, &SockRef::from(&socket))?;
    socket.connect(SocketAddr::new(check.address, check.port)).await.map_err(Failure::Connecting)?;
    Ok(socket)
}

pub(super) fn local(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::Local { what, error }
}
