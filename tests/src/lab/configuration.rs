//! Configuration files for the agent, put together by tests.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::address::{self, Family};
use super::network::{Network, Server};

/// Written as YAML by [`fmt::Display`].
#[derive(Clone, Debug)]
pub struct Configuration {
    pub interfaces: Vec<String>,
    /// Room for connections of which only a SYN was seen, if not the default.
    pub embryonic: Option<u32>,
    pub services: Vec<Service>,
    /// The items of `alerts`, indented by two; empty for none.
    pub alerts: String,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub vip: IpAddr,
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// `rr`, `wrr`, `lc`, `wlc`, `sh`, `dh` or `mh`.
    pub scheduler: &'static str,
    /// `dr`, `nat`, `ipip` or `local`.
    pub forward: &'static str,
    pub real_servers: Vec<RealServer>,
    /// The value of `health`, on one line; empty for none.
    pub health: String,
}

#[derive(Clone, Debug)]
pub struct RealServer {
    /// Left out with `local`.
    pub address: Option<IpAddr>,
    /// With `nat` only.
    pub port: Option<u16>,
    pub weight: u32,
}

impl Configuration {
    /// For the director of this network.
    pub fn new(network: &Network, services: Vec<Service>) -> Self {
        let interfaces = network.director_interfaces().iter().map(|name| (*name).to_owned()).collect();
        Self { interfaces, embryonic: None, services, alerts: String::new() }
    }

    /// Gives every destination on the machine the weight, in every service.
    pub fn set_weight(&mut self, server: &Server, weight: u32) {
        let addresses = Family::BOTH.map(|family| Some(server.address(family)));
        for real_server in self.services.iter_mut().flat_map(|service| &mut service.real_servers) {
            if addresses.contains(&real_server.address) {
                real_server.weight = weight;
            }
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "version: 1\ninterfaces: [{}]", self.interfaces.join(", "))?;
        if let Some(embryonic) = self.embryonic {
            writeln!(out, "limits: {{ embryonic: {embryonic} }}")?;
        }
        if !self.alerts.is_empty() {
            writeln!(out, "alerts:\n{}", self.alerts)?;
        }
        if self.services.is_empty() {
            return writeln!(out, "services: []");
        }
        writeln!(out, "services:")?;
        for service in &self.services {
            let Service { name, vip, port, protocol, scheduler, forward, real_servers, health } = service;
            writeln!(
                out,
                "  - name: {name}\n    vip: \"{vip}\"\n    port: {port}\n    protocol: {protocol}"
            )?;
            writeln!(out, "    scheduler: {scheduler}\n    forward: {forward}")?;
            if !health.is_empty() {
                writeln!(out, "    health: {health}")?;
            }
            if real_servers.is_empty() {
                writeln!(out, "    real_servers: []")?;
                continue;
            }
            writeln!(out, "    real_servers:")?;
            for real_server in real_servers {
                write!(out, "      - {{ weight: {}", real_server.weight)?;
                if let Some(address) = real_server.address {
                    write!(out, ", address: \"{address}\"")?;
                }
                if let Some(port) = real_server.port {
                    write!(out, ", port: {port}")?;
                }
                writeln!(out, " }}")?;
            }
        }
        Ok(())
    }
}

/// The first VIP of a family with a port of the lab's servers.
pub fn dialled(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(address::vip(family, 0), port)
}

/// All servers of the network, with weight 1 and their addresses of a family.
pub fn real_servers(network: &Network, family: Family) -> Vec<RealServer> {
    network
        .servers
        .iter()
        .map(|server| RealServer { address: Some(server.address(family)), port: None, weight: 1 })
        .collect()
}

/// One service on the first VIP of the family.
pub fn service(
    vip: Family,
    port: u16,
    protocol: &'static str,
    scheduler: &'static str,
    forward: &'static str,
    real_servers: Vec<RealServer>,
) -> Service {
    Service {
        name: format!("{protocol}-{port}-{}", if vip == Family::V4 { "v4" } else { "v6" }),
        vip: address::vip(vip, 0),
        port,
        protocol,
        scheduler,
        forward,
        real_servers,
        health: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_reads_as_an_operator_would_write_it() {
        let server = |weight, port| RealServer { address: Some([10, 0, 0, 11].into()), port, weight };
        let service = |name: &str, real_servers| Service {
            name: name.to_owned(),
            vip: [10, 1, 0, 100].into(),
            port: 80,
            protocol: "tcp",
            scheduler: "wrr",
            forward: "nat",
            real_servers,
            health: String::new(),
        };
        let configuration = Configuration {
            interfaces: vec!["eth0".into(), "eth1".into()],
            embryonic: Some(1000),
            services: vec![service("web", vec![server(3, Some(8080))]), service("empty", vec![])],
            alerts: String::new(),
        };
        let expected = r#"version: 1
interfaces: [eth0, eth1]
limits: { embryonic: 1000 }
services:
  - name: web
    vip: "10.1.0.100"
    port: 80
    protocol: tcp
    scheduler: wrr
    forward: nat
    real_servers:
      - { weight: 3, address: "10.0.0.11", port: 8080 }
  - name: empty
    vip: "10.1.0.100"
    port: 80
    protocol: tcp
    scheduler: wrr
    forward: nat
    real_servers: []
"#;
        assert_eq!(configuration.to_string(), expected);
    }
}
