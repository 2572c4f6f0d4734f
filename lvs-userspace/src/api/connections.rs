//! The connection table, decoded and written as JSON a batch at a time: a million entries are never held
//! at once.

use std::collections::HashMap;

use lvs_common::connection::ticks;
use lvs_common::service::protocol;
use lvs_common::settings::Settings;
use lvs_common::tcp_state::state;

use super::model::{Connection, Endpoint};
use super::overview::Overview;
use crate::dataplane::{ConnectionEntry, MapError, Readback, now_ticks};

/// Whose connections, and how many of them.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub(super) struct Filter {
    /// Name of a service.
    pub(super) service: Option<String>,
    pub(super) limit: Option<u64>,
}

/// What turns entries into answers.
pub(super) struct Decoder {
    settings: Settings,
    /// By index and generation: the real server, its port (0 = as dialled), the service.
    destinations: HashMap<(u32, u32), (Endpoint, String)>,
    filter: Filter,
}

impl Decoder {
    pub(super) fn new(overview: &Overview, filter: Filter) -> Self {
        let destinations = overview
            .view
            .services
            .iter()
            .flat_map(|service| {
                service.destinations.iter().map(|destination| {
                    let place = Endpoint { address: destination.address, port: destination.port };
                    ((destination.index, destination.generation), (place, service.name.clone()))
                })
            })
            .collect();
        Self { settings: overview.settings, destinations, filter }
    }

    /// Writes the whole answer to `write`, which says false when nobody reads on.
    pub(super) fn write(
        &self,
        readback: &Readback,
        mut write: impl FnMut(String) -> bool,
    ) -> Result<(), MapError> {
        let mut left = self.filter.limit.unwrap_or(u64::MAX);
        let mut separator = "";
        if !write("{\"connections\":[".to_owned()) {
            return Ok(());
        }
        for batch in readback.connections()? {
            let now = now_ticks();
            let mut text = String::new();
            for connection in batch?.iter().filter_map(|entry| self.decode(entry, now)) {
                let Some(rest) = left.checked_sub(1) else { break };
                left = rest;
                text.push_str(separator);
                text.push_str(&serde_json::to_string(&connection).unwrap_or_default());
                separator = ",\n";
            }
            if !text.is_empty() && !write(text) {
                return Ok(());
            }
            if left == 0 {
                break;
            }
        }
        write("]}".to_owned());
        Ok(())
    }

    /// `None`: not asked for.
    fn decode(&self, entry: &ConnectionEntry, now: u32) -> Option<Connection> {
        let ConnectionEntry { key, connection, embryonic } = entry;
        let found = self.destinations.get(&(connection.destination, connection.generation));
        if let Some(wanted) = &self.filter.service
            && found.is_none_or(|(_, service)| service != wanted)
        {
            return None;
        }
        let timeout = self.settings.timeouts[connection.state as usize & 15];
        let idle = now.wrapping_sub(connection.last_seen).cast_signed().max(0).cast_unsigned();
        let port = |port| if port == 0 { key.destination_port } else { port };
        Some(Connection {
            protocol: match key.protocol {
                protocol::TCP => "tcp",
                protocol::UDP => "udp",
                _ => "unknown",
            }
            .to_owned(),
            client: Endpoint { address: key.source.into(), port: key.source_port },
            dialled: Endpoint { address: key.destination.into(), port: key.destination_port },
            destination: found.map(|(place, _)| Endpoint { address: place.address, port: port(place.port) }),
            state: state::name(connection.state).to_owned(),
            expires: ticks::to_milliseconds(timeout.saturating_sub(idle)) / 1000,
            class: if *embryonic { "embryonic" } else { "established" }.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lvs_common::flow::FlowKey;
    use std::net::IpAddr;

    fn entry() -> ConnectionEntry {
        let address = |text: &str| text.parse::<IpAddr>().unwrap().into();
        let key = FlowKey::new(address("10.1.0.7"), 40_000, address("10.0.0.3"), 80, protocol::TCP);
        let connection = lvs_common::connection::Connection {
            destination: 4,
            generation: 2,
            last_seen: ticks::from_seconds(100),
            state: state::ESTABLISHED,
            flags: 0,
            sequence: 0,
        };
        ConnectionEntry { key, connection, embryonic: false }
    }

    fn decoder(service: Option<&str>) -> Decoder {
        let place = Endpoint { address: "192.168.0.1".parse().unwrap(), port: 0 };
        Decoder {
            settings: Settings::defaults(),
            destinations: HashMap::from([((4, 2), (place, "web".to_owned()))]),
            filter: Filter { service: service.map(str::to_owned), limit: None },
        }
    }

    #[test]
    fn an_entry_is_told_with_names_and_the_time_left() {
        let told = decoder(None).decode(&entry(), ticks::from_seconds(160)).unwrap();
        assert_eq!((told.state.as_str(), told.class.as_str()), ("ESTABLISHED", "established"));
        assert!((838..=840).contains(&told.expires), "{}", told.expires);
        assert_eq!(told.destination.unwrap().port, 80, "the port the client dialled");
    }

    #[test]
    fn a_stranger_at_a_reused_index_is_not_taken_for_the_destination() {
        let mut entry = entry();
        entry.connection.generation = 1;
        assert_eq!(decoder(None).decode(&entry, 0).unwrap().destination, None);
        assert_eq!(decoder(Some("web")).decode(&entry, 0), None);
    }

    #[test]
    fn only_the_service_asked_for() {
        assert!(decoder(Some("web")).decode(&entry(), 0).is_some());
        assert!(decoder(Some("other")).decode(&entry(), 0).is_none());
    }
}
