//! Large configuration files.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

pub(in crate::bench) const SERVERS: u32 = 10;

/// Services of [`SERVERS`] servers each.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Shape {
    pub(in crate::bench) services: u32,
    /// Services with the same servers share a ring; at the most as many as there are services.
    pub(in crate::bench) pools: u32,
}

impl Shape {
    /// The text of the file; `weight` is that of the very first server, 10 that of the others.
    pub(in crate::bench) fn text(self, weight: u32) -> String {
        let destinations = (self.services * SERVERS * 5 / 4).next_power_of_two().max(1024);
        let mut text = format!(
            "version: 1\ninterfaces: [eth0]\nlimits: {{ destinations: {destinations} }}\nservices:\n"
        );
        for service in 0..self.services {
            let vip = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + service + 1);
            add(
                &mut text,
                format_args!(
                    "  - name: service-{service}\n    vip: {vip}\n    port: 80\n    protocol: tcp\n    \
                     scheduler: mh\n    forward: dr\n    real_servers:\n"
                ),
            );
            for (host, address) in self.servers_of(service).enumerate() {
                let weight = if (service, host) == (0, 0) { weight } else { 10 };
                add(&mut text, format_args!("      - {{address: {address}, weight: {weight}}}\n"));
            }
        }
        text
    }

    fn servers_of(self, service: u32) -> impl Iterator<Item = Ipv4Addr> {
        let first = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + (service % self.pools) * SERVERS + 1;
        (first..first + SERVERS).map(Ipv4Addr::from_bits)
    }

    /// Every server once.
    pub(in crate::bench) fn servers(self) -> impl Iterator<Item = IpAddr> {
        (0..self.pools.min(self.services)).flat_map(move |pool| self.servers_of(pool)).map(IpAddr::V4)
    }
}

fn add(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A String takes everything.
    text.write_fmt(arguments).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::director::parse;

    #[test]
    fn the_file_is_valid_and_has_the_shape() {
        let shape = Shape { services: 20, pools: 5 };
        let config = parse(&shape.text(3)).unwrap();
        assert_eq!(config.services.len(), 20);
        assert!(config.services.iter().all(|service| service.real_servers.len() == SERVERS as usize));
        assert_eq!(config.services[0].real_servers[0].weight, 3);
        assert_eq!(config.services[0].real_servers[1].address, config.services[5].real_servers[1].address);
        assert_eq!(shape.servers().count(), 50);
    }
}
