//! What no single value can tell: values that contradict each other. Typed values in, [`Config`] out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::alerts::scalar::Path;
use super::alerts::validate::alerts;
use super::cluster::validate as cluster;
use super::health::raw::Fallback as FallbackKeys;
use super::health::validate as health;
use super::model::{self, Cluster, Config, Forward, Protocol};
use super::raw;
use super::record::{Field, Located, Reader};
use super::scalar::UnicastAddress;
use super::totals;
use super::vrrp::validate as vrrp;
use super::words::Track;
use super::yaml::Place;

/// The configuration. `None` only if `reader` knows of a mistake; it may know of one besides.
pub(super) fn config(file: &raw::File, reader: &mut Reader) -> Option<Config> {
    let interfaces = reader.in_key("interfaces", |reader| interfaces(file, reader));
    let services = reader.in_key("services", |reader| services(file, reader));
    let limits = file.limits.value().and_then(limits);
    if let (Field::Given(listed), Some(services), Some(limits)) = (&file.services, &services, limits) {
        totals::check(services, limits, listed.place, reader);
    }
    let alerts = reader.in_key("alerts", |reader| alerts(file.alerts.value()?, services.as_deref(), reader));
    let cluster = cluster(file, interfaces.as_deref(), reader);
    let vrrp = vrrp(file, interfaces.as_deref(), reader);
    let metrics = reader.in_key("metrics", |reader| metrics(&file.metrics, services.as_deref(), reader));
    file.version.value()?;
    Some(Config {
        interfaces: interfaces?,
        timeouts: file.timeouts.value().and_then(timeouts)?,
        limits: limits?,
        services: services?,
        alerts: alerts?,
        cluster: cluster?.map(Arc::new),
        vrrp: vrrp?,
        metrics: metrics?,
    })
}

/// Where metrics are served: not where packets are the balancer's.
fn metrics(
    field: &Field<raw::Metrics>,
    services: Option<&[model::Service]>,
    reader: &mut Reader,
) -> Option<Option<SocketAddr>> {
    let Located { value, place } = match field {
        Field::Absent => return Some(None),
        field => field.located()?.value.listen.located()?,
    };
    let listen = value.0;
    let is_taken = |service: &&model::Service| {
        let port = service.port == 0 || service.port == listen.port();
        service.vip == listen.ip() && port && service.protocol == Protocol::Tcp
    };
    if let Some(service) = services.into_iter().flatten().find(is_taken) {
        reader.in_key("listen", |reader| {
            let what = format!("{listen} is the address and port of the service {}", service.name);
            reader.mistake(*place, what, "expected one of the director's own");
        });
        return None;
    }
    Some(Some(listen))
}

/// The inner `None`: a director of its own.
fn cluster(file: &raw::File, interfaces: Option<&[String]>, reader: &mut Reader) -> Option<Option<Cluster>> {
    let Located { value: raw, place } = match &file.cluster {
        Field::Absent => return Some(None),
        field => field.located()?,
    };
    let cluster = reader.in_key("cluster", |reader| cluster::cluster(raw, *place, interfaces, reader))?;
    let vips = vips(file)?;
    reader.in_key("services", |reader| cluster::every_vip_moves(&vips, &cluster, reader));
    Some(Some(cluster))
}

/// All addresses of services, with the places of their items.
fn vips(file: &raw::File) -> Option<Vec<(usize, Located<UnicastAddress>)>> {
    let services = file.services.value()?.iter();
    Some(services.filter_map(|(index, service)| Some((index, *service.value.vip.located()?))).collect())
}

fn vrrp(
    file: &raw::File,
    interfaces: Option<&[String]>,
    reader: &mut Reader,
) -> Option<Vec<model::VrrpInstance>> {
    let Located { value: list, place } = file.vrrp.located()?;
    let instances = reader.in_key("vrrp", |reader| {
        if !list.items.is_empty() && !matches!(file.cluster, Field::Absent) {
            let what = "both a cluster and virtual routers would move addresses";
            reader.mistake(*place, what, "expected one of `cluster` and `vrrp`");
        }
        vrrp::instances(list, interfaces, reader)
    })?;
    if !instances.is_empty() {
        let vips = vips(file)?;
        reader.in_key("services", |reader| vrrp::every_vip_moves(&vips, &instances, reader));
    }
    Some(instances)
}

fn timeouts(raw: &raw::Timeouts) -> Option<model::Timeouts> {
    Some(model::Timeouts {
        tcp: raw.tcp.value()?.0,
        tcp_fin: raw.tcp_fin.value()?.0,
        udp: raw.udp.value()?.0,
    })
}

fn limits(raw: &raw::Limits) -> Option<model::Limits> {
    Some(model::Limits {
        connections: raw.connections.value()?.0,
        embryonic: raw.embryonic.value()?.0,
        destinations: raw.destinations.value()?.0,
    })
}

fn interfaces(file: &raw::File, reader: &mut Reader) -> Option<Vec<String>> {
    let list = file.interfaces.value()?;
    let mut seen = Seen::default();
    let mut names = Vec::new();
    for (index, Located { value, place }) in list.iter() {
        if let Some(line) = seen.before(value.0.clone(), *place) {
            reader.in_item(index, |reader| {
                let what = format!("interface {} is here twice, first on line {line}", value.0);
                reader.mistake(*place, what, "expected each interface once");
            });
        }
        names.push(value.0.clone());
    }
    Some(names)
}

fn services(file: &raw::File, reader: &mut Reader) -> Option<Vec<model::Service>> {
    let list = file.services.value()?;
    let mut names = Seen::default();
    let mut keys = Seen::default();
    let mut services = Vec::new();
    for (index, Located { value: raw, place }) in list.iter() {
        let service = reader.in_item(index, |reader| {
            if let Some(Located { value, place }) = raw.name.located()
                && let Some(line) = names.before(value.0.clone(), *place)
            {
                let what = format!("another service is called {}, on line {line}", value.0);
                reader.in_key("name", |reader| {
                    reader.mistake(*place, what, "expected a name of its own for each service");
                });
            }
            if let (Some(vip), Some(port), Some(protocol)) =
                (raw.vip.value(), raw.port.value(), raw.protocol.value())
                && let Some(line) = keys.before((vip.0, port.0, *protocol), *place)
            {
                let what =
                    format!("{} {protocol} port {} has a service already, on line {line}", vip.0, port.0);
                reader.mistake(*place, what, "expected each address, port and protocol once");
            }
            service(raw, reader)
        });
        services.extend(service);
    }
    Some(services)
}

fn service(raw: &raw::Service, reader: &mut Reader) -> Option<model::Service> {
    let templates = reader.in_key("health", |reader| {
        let checks = raw.health.value()?.checks.value()?;
        reader.in_key("checks", |reader| health::templates(checks, reader))
    });
    let mut seen = Seen::default();
    let mut real_servers = Vec::new();
    for (index, located) in raw.real_servers.value()?.iter() {
        let real_server = reader.in_key("real_servers", |reader| {
            reader.in_item(index, |reader| real_server(located, raw, &mut seen, reader))
        });
        real_servers.extend(real_server);
    }
    if let Some(templates) = templates {
        share_checks(&templates, raw, &mut real_servers, reader);
    }
    let health = reader.in_key("health", |reader| {
        let health = raw.health.value()?;
        let fallback = match &health.fallback {
            Field::Absent => (None, None),
            field => {
                let located = field.located()?;
                let (server, page) =
                    reader.in_key("fallback", |reader| fallback(located, raw, &mut seen, reader))?;
                (Some(server), page)
            }
        };
        health::health(health, fallback, reader)
    });
    let mut health = health?;
    let mut checks = real_servers.iter().flat_map(|(real_server, _)| &real_server.checks);
    health.probes_the_path = checks.any(|check| check.path.is_some());
    Some(model::Service {
        name: raw.name.value()?.0.clone(),
        vip: raw.vip.value()?.0,
        port: port(raw)?,
        protocol: *raw.protocol.value()?,
        scheduler: *raw.scheduler.value()?,
        track_always: *raw.track.value()? == Track::Always,
        real_servers: real_servers.into_iter().map(|(real_server, _)| real_server).collect(),
        health,
    })
}

/// Gives the service's checks to the real servers that have none of their own. What is wrong with one of
/// them is told for the first real server that it does not fit.
fn share_checks(
    templates: &[health::Template],
    service: &raw::Service,
    real_servers: &mut [(model::RealServer, Checks)],
    reader: &mut Reader,
) {
    let Some(vip) = service.vip.value().map(|vip| vip.0) else { return };
    let inheriting = real_servers.iter_mut().filter(|(_, checks)| *checks == Checks::OfTheService);
    for (real_server, _) in inheriting {
        let before = reader.findings.len();
        real_server.checks = reader.in_key("health", |reader| {
            reader.in_key("checks", |reader| {
                let model::RealServer { address, port, forward, .. } = *real_server;
                health::checks(templates, &health::Server { vip, address, port, forward }, reader)
            })
        });
        if reader.findings.len() > before {
            break;
        }
    }
}

/// Whose checks a real server has.
#[derive(PartialEq, Eq)]
enum Checks {
    OfTheService,
    Own,
}

/// The port of a service; its reader let no number through that does not fit.
fn port(service: &raw::Service) -> Option<u16> {
    u16::try_from(service.port.value()?.0).ok()
}

fn real_server(
    Located { value: raw, place }: &Located<raw::RealServer>,
    service: &raw::Service,
    seen: &mut Seen<(IpAddr, u16)>,
    reader: &mut Reader,
) -> Option<(model::RealServer, Checks)> {
    let (forward, address, port) = reached(&raw.forward, &raw.address, &raw.port, *place, service, reader)?;
    if let Some(line) = seen.before((address, port), *place) {
        let what = format!("{address} is in this service already, on line {line}");
        reader.mistake(*place, what, "expected each real server once; `weight` gives it a larger share");
    }
    let (whose, checks) = match &raw.checks {
        Field::Absent => (Checks::OfTheService, Vec::new()),
        field => reader.in_key("checks", |reader| {
            let templates = health::templates(field.value()?, reader)?;
            let server = health::Server { vip: service.vip.value()?.0, address, port, forward };
            Some((Checks::Own, health::checks(&templates, &server, reader)))
        })?,
    };
    Some((
        model::RealServer { address, port, weight: raw.weight.value()?.0, forward, checks, resets: false },
        whose,
    ))
}

/// How and where a real server or the fallback is reached.
fn reached(
    forward: &Field<Forward>,
    own_address: &Field<UnicastAddress>,
    own_port: &Field<raw::RealServerPort>,
    place: Place,
    service: &raw::Service,
    reader: &mut Reader,
) -> Option<(Forward, IpAddr, u16)> {
    let forward = match forward {
        Field::Absent => *service.forward.value()?,
        own => *own.value()?,
    };
    // Both are judged before either gives up, so that both mistakes are told.
    let address = address(own_address, place, forward, service, reader);
    let port = real_server_port(own_port, forward, service, reader);
    Some((forward, address?, port?))
}

/// Who serves while there are not enough real servers: none of those itself. With the page, if it is the director.
fn fallback(
    Located { value: raw, place }: &Located<FallbackKeys>,
    service: &raw::Service,
    seen: &mut Seen<(IpAddr, u16)>,
    reader: &mut Reader,
) -> Option<(model::RealServer, Option<PathBuf>)> {
    let page = match &raw.page {
        Field::Absent => None,
        field => Some(page(field.located()?, raw, service, reader)?),
    };
    let (forward, address, port) = match page {
        Some(_) => (Forward::Local, service.vip.value()?.0, port(service)?),
        None => reached(&raw.forward, &raw.address, &raw.port, *place, service, reader)?,
    };
    if let Some(line) = seen.before((address, port), *place) {
        let what = format!("{address} is a real server of this service, on line {line}");
        reader.mistake(*place, what, "expected another one, which serves when those do not");
    }
    Some((model::RealServer { address, port, weight: 1, forward, checks: Vec::new(), resets: false }, page))
}

/// A page of the director's own, which needs a port to listen on and says itself where it is.
fn page(
    Located { value: page, place }: &Located<Path>,
    raw: &FallbackKeys,
    service: &raw::Service,
    reader: &mut Reader,
) -> Option<PathBuf> {
    let before = reader.findings.len();
    let others = [
        ("address", raw.address.located().map(|given| given.place)),
        ("port", raw.port.located().map(|given| given.place)),
        ("forward", raw.forward.located().map(|given| given.place)),
    ];
    for (key, place) in others {
        if let Some(place) = place {
            reader.in_key(key, |reader| {
                let what = "a fallback with a `page` is the director itself";
                reader.mistake(place, what, "expected `page` alone");
            });
        }
    }
    if *service.protocol.value()? == Protocol::Udp {
        reader.in_key("page", |reader| {
            reader.mistake(
                *place,
                "a page of a service of UDP",
                "expected a fallback that speaks its protocol",
            );
        });
    }
    if port(service)? == 0 {
        reader.in_key("page", |reader| {
            let what = "a page of a service that takes every port";
            reader.mistake(*place, what, "expected a service with a port of its own");
        });
    }
    (reader.findings.len() == before).then(|| page.0.clone())
}

/// The address, also where it is wrong beside the service's.
fn address(
    raw: &Field<UnicastAddress>,
    place: Place,
    forward: Forward,
    service: &raw::Service,
    reader: &mut Reader,
) -> Option<IpAddr> {
    let vip = service.vip.value().map(|vip| vip.0);
    let Located { value: given, place } = match (raw, forward) {
        (Field::Absent, Forward::Local) => return vip,
        (Field::Absent, _) => {
            let remedy = "expected an IPv4 or IPv6 address";
            reader.mistake(place, "missing key `address`", remedy);
            return None;
        }
        (field, _) => field.located()?,
    };
    let (given, vip) = (given.0, vip?);
    let objection = match forward {
        Forward::Local if given != vip => Some((
            format!("{given} is not the VIP, and `local` means the director itself"),
            format!("expected no address, or {vip}"),
        )),
        Forward::Local => None,
        _ if given == vip => Some((
            format!("{given} is the VIP"),
            "expected the real server's own address, or `forward: local` for the director itself".to_owned(),
        )),
        Forward::Dr | Forward::Nat if given.is_ipv4() != vip.is_ipv4() => Some((
            format!(
                "{given} is not of the same IP version as the VIP {vip}, which `{forward}` cannot bridge"
            ),
            format!(
                "expected an {} address, or `forward: ipip`",
                if vip.is_ipv4() { "IPv4" } else { "IPv6" }
            ),
        )),
        Forward::Dr | Forward::Nat | Forward::Ipip => None,
    };
    if let Some((what, remedy)) = objection {
        reader.in_key("address", |reader| reader.mistake(*place, what, remedy));
    }
    Some(given)
}

/// The port on the real server: the service's own unless nat translates it, also where another is given.
fn real_server_port(
    raw: &Field<raw::RealServerPort>,
    forward: Forward,
    service: &raw::Service,
    reader: &mut Reader,
) -> Option<u16> {
    let dialled = port(service);
    let Located { value: given, place } = match raw {
        Field::Absent => return dialled,
        field => field.located()?,
    };
    let objection = match (forward, dialled) {
        (Forward::Nat, Some(0)) => "a port of its own, but the service takes every port".to_owned(),
        (Forward::Nat, _) => return u16::try_from(given.0).ok(),
        _ => format!("a port of its own with `forward: {forward}`, which leaves the port as it is"),
    };
    reader.in_key("port", |reader| {
        reader.mistake(
            *place,
            objection,
            "expected no port here; only nat can translate one port to another",
        );
    });
    dialled
}

/// What there was before, and on which line.
pub(super) struct Seen<K>(HashMap<K, u32>);

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Seen<K> {
    /// The line on which `key` was seen first, if it was seen.
    pub(super) fn before(&mut self, key: K, place: Place) -> Option<u32> {
        use std::collections::hash_map::Entry;
        match self.0.entry(key) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(place.line);
                None
            }
        }
    }
}
