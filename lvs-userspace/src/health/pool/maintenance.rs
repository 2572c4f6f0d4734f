//! What operators want of real servers: drain, disable, enable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::key::ServerKey;
use super::member::Mode;
use super::notice::{Notice, What};
use super::{Pool, Saved};
use crate::config::model::{RealServer, Service};

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

    fn has(&self, service: &Service, real_server: &RealServer) -> bool {
        real_server.address == self.address
            && self.port.is_none_or(|port| port == real_server.port)
            && self.service.as_ref().is_none_or(|name| *name == service.name)
    }
}

/// Real servers of a selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many have the mode now.
    pub here: usize,
    /// The VIP of each that has not, since its service is served elsewhere.
    pub elsewhere: Vec<IpAddr>,
}

impl Pool {
    /// Sets the mode of all real servers of the selection, except of services at addresses that are served `elsewhere`. It
    /// holds until another is set, over reloads and restarts, for as long as the file has the real server.
    pub fn maintain(
        &mut self,
        selection: &Selection,
        elsewhere: &BTreeSet<IpAddr>,
        mode: Mode,
        now: Duration,
    ) -> Found {
        let mut found = Found::default();
        for number in 0..self.config.services.len() {
            let service = &self.config.services[number];
            let keys = keys(service, |real_server| selection.has(service, real_server));
            if elsewhere.contains(&service.vip) {
                found.elsewhere.extend(keys.iter().map(|key| key.vip));
                continue;
            }
            found.here += keys.len();
            let modes = keys.into_iter().map(|key| (key, mode));
            self.set_modes(number, modes, Some("by an operator"), now);
        }
        found
    }

    /// Has the modes that another pool has, in all services at these addresses. What the checks say goes on to count.
    /// `says`: with notices.
    pub fn follow_modes(&mut self, saved: &Saved, vips: &BTreeSet<IpAddr>, says: bool, now: Duration) {
        let reason = says.then_some("by an operator, at the director that serves");
        let told: BTreeMap<ServerKey, Mode> = saved.modes().collect();
        for number in 0..self.config.services.len() {
            let service = &self.config.services[number];
            if vips.contains(&service.vip) {
                let modes = keys(service, |_| true).into_iter();
                let modes = modes.map(|key| (key, told.get(&key).copied().unwrap_or_default()));
                self.set_modes(number, modes, reason, now);
            }
        }
    }

    fn set_modes(
        &mut self,
        number: usize,
        modes: impl Iterator<Item = (ServerKey, Mode)>,
        reason: Option<&str>,
        now: Duration,
    ) {
        let service = &self.config.services[number];
        let mut is_new = false;
        for (key, mode) in modes {
            let Some(member) = self.members.get_mut(&key).filter(|member| member.mode != mode) else {
                continue;
            };
            is_new = true;
            member.mode = mode;
            // Who is down and serves all the same, since the checks are doubted, goes on to be doubted.
            if mode == Mode::Enabled && member.serves() && member.verdict.serves() {
                member.enter(&service.health, now);
            }
            self.notices.extend(reason.map(|reason| Notice {
                service: service.name.clone(),
                server: Some(key),
                what: What::Maintained(mode),
                reason: reason.to_owned(),
            }));
        }
        if is_new {
            self.unsaved = true;
            self.judge(number, now);
        }
    }
}

fn keys(service: &Service, is_meant: impl Fn(&RealServer) -> bool) -> Vec<ServerKey> {
    let meant = service.real_servers.iter().filter(|real_server| is_meant(real_server));
    meant.map(|real_server| ServerKey::new(service, real_server)).collect()
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
