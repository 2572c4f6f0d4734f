//! What is served for a group, in a number, so that each director sees where another's differs.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::Cluster;
use crate::cluster::identity::GroupId;
use crate::cluster::pulse::Order;
use crate::config::model::Service;

impl Cluster {
    /// To be told with every change of the configuration.
    pub(in crate::runtime) fn tell_digests(&self, services: &[Service]) {
        for group in &self.plan.groups {
            let digest = digest(
                services
                    .iter()
                    .filter(|service| group.addresses.iter().any(|address| address.address == service.vip)),
            );
            self.pulse.order(Order::Digest { group: GroupId::of(&group.name), digest });
        }
    }
}

/// Never 0, which stands for "not known". The same in every process of one build.
fn digest<'a>(services: impl Iterator<Item = &'a Service>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut services: Vec<_> = services.collect();
    services.sort_by_key(|service| (service.vip, service.port, service.protocol));
    for service in services {
        (service.vip, service.port, service.protocol, service.scheduler, service.track_always)
            .hash(&mut hasher);
        let mut servers: Vec<_> = service.real_servers.iter().collect();
        servers.sort_by_key(|server| (server.address, server.port));
        for server in servers {
            (server.address, server.port, server.weight, server.forward).hash(&mut hasher);
        }
    }
    hasher.finish() | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_say_the_same_in_another_order_have_one_digest() {
        let service = |servers: &str| {
            let text = format!(
                "{{version: 1, interfaces: [eth0], services: [{{name: a, vip: 10.0.0.3, port: 80, protocol: tcp, real_servers: [{servers}]}}]}}"
            );
            let config = crate::config::parse(&text, "test").unwrap();
            digest(config.services.iter())
        };
        let [one, other] =
            ["{address: 10.0.0.4}, {address: 10.0.0.5}", "{address: 10.0.0.5}, {address: 10.0.0.4}"];
        assert_eq!(service(one), service(other));
        assert_ne!(service(one), service("{address: 10.0.0.4, weight: 2}, {address: 10.0.0.5}"));
    }
}
