//! What operators want of real servers: drain, disable, enable.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Pool;
use super::key::ServerKey;
use super::member::Mode;
use super::notice::{Notice, What};

/// Which real servers: by address, in every service or in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub address: IpAddr,
    /// Its own port; all of them without one.
    pub port: Option<u16>,
    /// The service's name; all of them without one.
    pub service: Option<String>,
}

impl Selection {
    /// `192.168.0.1`, `192.168.0.1:80`, `[2001:db8::1]:80`.
    pub fn parse(server: &str, service: Option<String>) -> Option<Self> {
        let (address, port) = match (server.parse::<IpAddr>(), server.parse::<SocketAddr>()) {
            (Ok(address), _) => (address, None),
            (_, Ok(socket)) => (socket.ip(), Some(socket.port())),
            _ => return None,
        };
        Some(Self { address, port, service })
    }
}

impl Pool {
    /// Sets the mode of all real servers of the selection; how many there are. It holds until another is
    /// set, over reloads and restarts, for as long as the file has the real server.
    pub fn maintain(&mut self, selection: &Selection, mode: Mode, now: Duration) -> usize {
        let mut found = 0;
        for number in 0..self.config.services.len() {
            let service = &self.config.services[number];
            if selection.service.as_ref().is_some_and(|name| *name != service.name) {
                continue;
            }
            let keys: Vec<_> = service
                .real_servers
                .iter()
                .filter(|real_server| real_server.address == selection.address)
                .filter(|real_server| selection.port.is_none_or(|port| port == real_server.port))
                .map(|real_server| ServerKey::new(service, real_server))
                .collect();
            found += keys.len();
            for key in &keys {
                self.set_mode(number, *key, mode, now);
            }
            if !keys.is_empty() {
                self.judge(number, now);
            }
        }
        found
    }

    fn set_mode(&mut self, number: usize, key: ServerKey, mode: Mode, now: Duration) {
        let service = &self.config.services[number];
        let Some(member) = self.members.get_mut(&key).filter(|member| member.mode != mode) else { return };
        member.mode = mode;
        // Who is down and serves all the same, since the checks are doubted, goes on to be doubted.
        if mode == Mode::Enabled && member.serves() && member.verdict.serves() {
            member.enter(&service.health, now);
        }
        self.notices.push(Notice {
            service: service.name.clone(),
            server: Some(key),
            what: What::Maintained(mode),
            reason: "by an operator".to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_address_or_socket() {
        let parsed = |text| Selection::parse(text, None).map(|selection| (selection.address, selection.port));
        let (v4, v6) = (IpAddr::from([192, 168, 0, 1]), "2001:db8::1".parse().unwrap());
        assert_eq!(parsed("192.168.0.1"), Some((v4, None)));
        assert_eq!(parsed("192.168.0.1:80"), Some((v4, Some(80))));
        assert_eq!(parsed("2001:db8::1"), Some((v6, None)));
        assert_eq!(parsed("[2001:db8::1]:80"), Some((v6, Some(80))));
        assert_eq!(parsed("www1"), None);
    }
}
