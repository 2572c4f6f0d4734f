//! Alerts against each other and the services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::raw;
use crate::config::alerts::scalar::Path;
use crate::config::model::{
    Alert, AlertChannel, MailAlert, ProgramAlert, Service, SyslogAlert, TlsMode, WebhookAlert,
};
use crate::config::record::{Field, List, Located, Reader};
use crate::config::scalar::{ServiceName, Switch, UnicastAddress};
use crate::config::validate::Seen;
use crate::tls::Trust;

/// All alerts of the file. `services`: what they may name, if that is known.
pub(in crate::config) fn alerts(
    list: &raw::Alerts,
    services: Option<&[Service]>,
    reader: &mut Reader,
) -> Option<Vec<Alert>> {
    let mut names = Seen::default();
    let mut alerts = Vec::new();
    for (index, Located { value, .. }) in list.iter() {
        reader.in_item(index, |reader| {
            let common = value.common();
            if let Some(Located { value, place }) = common.name.located()
                && let Some(line) = names.before(value.0.clone(), *place)
            {
                let what = format!("another alert is called {}, on line {line}", value.0);
                reader.in_key("name", |reader| {
                    reader.mistake(*place, what, "expected a name of its own for each alert");
                });
            }
            if let Some(services) = services {
                known_services(common.services, services, reader);
                known_servers(common.real_servers, services, reader);
            }
            alerts.push(alert(value, reader));
        });
    }
    if alerts.len() < list.items.len() {
        return None;
    }
    alerts.into_iter().collect()
}

fn known_services<const L: usize, const M: usize>(
    names: &Field<List<ServiceName, L, M>>,
    services: &[Service],
    reader: &mut Reader,
) {
    let known: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
    reader.in_key("services", |reader| {
        for (index, Located { value, place }) in names.value().into_iter().flat_map(List::iter) {
            if !known.contains(value.0.as_str()) {
                let what = format!("there is no service {}", value.0);
                reader.in_item(index, |reader| {
                    reader.mistake(*place, what, "expected one of the file's services")
                });
            }
        }
    });
}

fn known_servers<const L: usize, const M: usize>(
    addresses: &Field<List<UnicastAddress, L, M>>,
    services: &[Service],
    reader: &mut Reader,
) {
    let servers = services.iter().flat_map(|service| &service.real_servers);
    let known: BTreeSet<IpAddr> = servers.map(|server| server.address).collect();
    reader.in_key("real_servers", |reader| {
        for (index, Located { value, place }) in addresses.value().into_iter().flat_map(List::iter) {
            if !known.contains(&value.0) {
                let what = format!("{} is no real server of any service", value.0);
                reader.in_item(index, |reader| {
                    reader.mistake(*place, what, "expected one of the file's real servers")
                });
            }
        }
    });
}

fn alert(raw: &raw::Alert, reader: &mut Reader) -> Option<Alert> {
    let common = raw.common();
    let channel = channel(raw, reader);
    let services: Vec<_> = common.services.value()?.iter().map(|(_, name)| name.value.0.clone()).collect();
    let real_servers: Vec<_> =
        common.real_servers.value()?.iter().map(|(_, address)| address.value.0).collect();
    let is_about_all = services.is_empty() && real_servers.is_empty();
    Some(Alert {
        name: common.name.value()?.0.clone(),
        cluster: common.cluster.optional()?.map_or(is_about_all, |switch| switch.0),
        services,
        real_servers,
        period: common.period.value()?.0.clone(),
        after: common.after.value()?.0,
        failures: common.failures.value()?.0,
        every: common.every.optional()?.map(|span| span.0),
        up: common.up.value()?.0,
        group: common.group.value()?.0,
        channel: channel?,
    })
}

fn channel(raw: &raw::Alert, reader: &mut Reader) -> Option<AlertChannel> {
    Some(match raw {
        raw::Alert::Program(raw) => {
            let command = raw.command.value()?.iter().map(|(_, word)| word.value.0.clone());
            let command: Vec<String> = command.collect();
            if command.is_empty() {
                return None;
            }
            AlertChannel::Program(ProgramAlert { command })
        }
        raw::Alert::Mail(raw) => AlertChannel::Mail(mail(raw, reader)?),
        raw::Alert::Webhook(raw) => {
            let url = &raw.url.value()?.0;
            let is_https = url.scheme_str() == Some("https");
            AlertChannel::Webhook(WebhookAlert {
                is_https,
                host: url.host()?.trim_matches(['[', ']']).to_owned(),
                port: url.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
                authority: url.authority()?.to_string(),
                path: url.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
                trust: trust(&raw.ca, &raw.verify)?,
                secret_file: raw.secret_file.optional()?.map(|path| path.0.clone()),
            })
        }
        raw::Alert::Syslog(raw) => AlertChannel::Syslog(SyslogAlert {
            facility: raw.facility.value()?.0,
            socket: raw.socket.value()?.0.clone(),
        }),
    })
}

fn mail(raw: &raw::MailAlert, reader: &mut Reader) -> Option<MailAlert> {
    let tls = *raw.tls.value()?;
    if let (Some(Located { place, .. }), TlsMode::None) = (raw.user.located(), tls) {
        reader.in_key("user", |reader| {
            let what = "a login on a connection that is not encrypted";
            reader.mistake(*place, what, "expected `tls: starttls` or `tls: tls` with it");
        });
        return None;
    }
    Some(MailAlert {
        to: raw.to.value()?.iter().map(|(_, address)| address.value.0.clone()).collect(),
        from: raw.from.value()?.0.clone(),
        server: raw.server.value()?.0.clone(),
        port: u16::try_from(raw.port.value()?.0).ok()?,
        tls,
        trust: trust(&raw.ca, &raw.verify)?,
        user: raw.user.optional()?.map(|user| user.0.clone()),
        password_file: raw.password_file.optional()?.map(|path| path.0.clone()),
    })
}

fn trust(ca: &Field<Path>, verify: &Field<Switch>) -> Option<Trust> {
    Some(Trust {
        ca: ca.optional()?.map(|path| path.0.clone()),
        insecure: !verify.value()?.0,
        certificate: None,
    })
}
