//! Which service, and which real server of it. Both across reloads and restarts: not by the service's name,
//! which an operator may change while connections go on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::config::model::{RealServer, Service};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceKey {
    pub vip: IpAddr,
    pub service_port: u16,
    /// IANA number.
    pub protocol: u8,
}

impl ServiceKey {
    pub(super) const fn new(service: &Service) -> Self {
        Self { vip: service.vip, service_port: service.port, protocol: service.protocol.number() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServerKey {
    pub vip: IpAddr,
    pub service_port: u16,
    /// IANA number.
    pub protocol: u8,
    pub address: IpAddr,
    pub port: u16,
}

impl ServerKey {
    pub(super) const fn new(service: &Service, real_server: &RealServer) -> Self {
        let ServiceKey { vip, service_port, protocol } = ServiceKey::new(service);
        Self { vip, service_port, protocol, address: real_server.address, port: real_server.port }
    }
}

/// `192.168.0.1:80`, `[2001:db8::1]:*`: the real server alone.
impl fmt::Display for ServerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (IpAddr::V4(address), 0) => write!(formatter, "{address}:*"),
            (IpAddr::V6(address), 0) => write!(formatter, "[{address}]:*"),
            (address, port) => SocketAddr::new(address, port).fmt(formatter),
        }
    }
}
