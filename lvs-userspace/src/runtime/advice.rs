//! What the operator should know about the machine: it works, but not as the configuration means it.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::config::Config;
use crate::config::model::{Forward, Service};
use crate::dataplane::{AttachMode, Attachment};

/// Warnings about the machine under this configuration.
pub(super) fn of(config: &Config, attachments: &[Attachment]) -> Vec<String> {
    generic(attachments)
        .chain(missing(config, attachments))
        .chain(forwarding(config, |path| fs::read_to_string(path).ok()))
        .collect()
}

fn generic(attachments: &[Attachment]) -> impl Iterator<Item = String> {
    attachments.iter().filter(|attachment| attachment.mode == AttachMode::Generic).map(|attachment| {
        format!(
            "interface {}: XDP runs in generic mode, several times slower than in the driver",
            attachment.interface
        )
    })
}

fn missing(config: &Config, attachments: &[Attachment]) -> impl Iterator<Item = String> {
    let lacks_program = |name: &&String| !attachments.iter().any(|attachment| attachment.interface == **name);
    config
        .interfaces
        .iter()
        .filter(lacks_program)
        .map(|name| format!("interface {name}: it has no program, so its packets pass unbalanced"))
}

/// The kernel answers route lookups of XDP only where the interface may forward; answers of nat servers
/// take one for every packet.
fn forwarding(config: &Config, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (family, is_family) in [("ipv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("ipv6", IpAddr::is_ipv6)] {
        let needed = config.services.iter().find(|service| {
            let nat = service.real_servers.iter().any(|server| server.forward == Forward::Nat);
            is_family(&service.vip) && nat
        });
        let Some(service) = needed else { continue };
        for interface in &config.interfaces {
            let path = format!("/proc/sys/net/{family}/conf/{interface}/forwarding");
            if read(&path).is_some_and(|value| value.trim() == "0") {
                let switch =
                    if family == "ipv4" { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" };
                warnings.push(format!(
                    "interface {interface} does not forward {family}, so answers of nat servers (service {}) \
                     are dropped as no_route: `sysctl -w {switch}=1`",
                    service.name
                ));
            }
        }
    }
    warnings
}

/// A fallback page is there when it is needed, and packets to it are this machine's. `addresses`: its own.
pub(super) fn pages(
    config: &Config,
    addresses: &BTreeSet<IpAddr>,
    read: impl Fn(&Path) -> Result<(), String>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for service in &config.services {
        let Some(page) = &service.health.page else { continue };
        if let Err(reason) = read(page) {
            let (name, page) = (&service.name, page.display());
            warnings.push(format!(
                "service {name}: the fallback page {page} cannot be read ({reason}); one sentence would be served instead"
            ));
        }
        // Of a cluster, another director may have it for now.
        if config.cluster.is_none() && !addresses.contains(&service.vip) {
            let Service { name, vip, .. } = service;
            warnings.push(format!(
                "service {name}: this machine does not have the VIP {vip}, so its fallback page would not be reached"
            ));
        }
    }
    warnings
}

/// Real servers take tunnelled packets from the director's own address. `source_of` is the one the kernel
/// chooses towards a real server.
pub(super) fn tunnel_sources(config: &Config, source_of: impl Fn(&IpAddr) -> Option<IpAddr>) -> Vec<String> {
    let is_vip = |address: &IpAddr| config.services.iter().any(|service| service.vip == *address);
    let tunnelled: BTreeSet<IpAddr> = config
        .services
        .iter()
        .flat_map(|service| &service.real_servers)
        .filter(|server| server.forward == Forward::Ipip)
        .map(|server| server.address)
        .collect();
    tunnelled
        .into_iter()
        .filter_map(|address| {
            let source = source_of(&address).filter(is_vip)?;
            Some(format!(
                "real server {address}: tunnelled packets leave from the VIP {source}, which the kernel chooses as \
                 its own address; add the VIP with `preferred_lft 0` (IPv6) or give the route a `src` (IPv4)"
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(forward: &str) -> Config {
        let text = format!(
            "version: 1\ninterfaces: [eth0, eth1]\nservices:\n  - {{name: web, vip: 192.0.2.1, port: 80, \
             protocol: tcp, forward: {forward}, real_servers: [{{address: 10.0.0.1}}]}}\n"
        );
        crate::config::parse(&text, "lvs.yaml").unwrap()
    }

    #[test]
    fn nat_needs_forwarding_on_every_interface() {
        let off_on_eth1 = |path: &str| Some(if path.contains("eth1") { "0\n" } else { "1\n" }.to_owned());
        let warnings = forwarding(&config("nat"), off_on_eth1);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("eth1") && warnings[0].contains("net.ipv4.ip_forward=1"));
        assert!(forwarding(&config("nat"), |_| Some("1\n".to_owned())).is_empty());
        assert!(forwarding(&config("dr"), off_on_eth1).is_empty());
    }

    #[test]
    fn a_vip_is_no_source_of_a_tunnel() {
        let source = |text: &'static str| move |_: &IpAddr| text.parse().ok();
        let warnings = tunnel_sources(&config("ipip"), source("192.0.2.1"));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("real server 10.0.0.1: ") && warnings[0].contains("192.0.2.1"));
        assert!(tunnel_sources(&config("ipip"), source("10.0.0.2")).is_empty());
        assert!(tunnel_sources(&config("dr"), source("192.0.2.1")).is_empty());
    }

    #[test]
    fn a_page_must_be_there_and_reached() {
        let mut config = config("dr");
        config.services[0].health.page = Some("/sorry.html".into());
        let own = BTreeSet::from([config.services[0].vip]);
        assert_eq!(pages(&config, &own, |_| Ok(())), [""; 0]);
        let warnings = pages(&config, &BTreeSet::new(), |_| Err("no".to_owned()));
        assert!(warnings[0].starts_with("service web: the fallback page /sorry.html cannot be read (no)"));
        assert!(warnings[1].starts_with("service web: this machine does not have the VIP 192.0.2.1"));
    }

    #[test]
    fn generic_mode_is_told() {
        let attachment = |mode| Attachment { interface: "eth0".to_owned(), index: 2, mode };
        assert_eq!(generic(&[attachment(AttachMode::Generic)]).count(), 1);
        assert_eq!(generic(&[attachment(AttachMode::Native)]).count(), 0);
    }
}
