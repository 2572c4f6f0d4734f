//! Checks against the service and the real server they are for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{probe, raw};
use crate::config::model::{Check, Flaps, Forward, Health, Path, Probe, RealServer, Timing};
use crate::config::record::{Field, Located, Reader};
use crate::config::words::Via;
use crate::config::yaml::Place;

/// Of one service, whose fallback is read already.
pub(in crate::config) fn health(
    raw: &raw::Health,
    (fallback, page): (Option<RealServer>, Option<PathBuf>),
    reader: &mut Reader,
) -> Option<Health> {
    let quorum = raw.quorum.value()?.0;
    let quorum_recovery = match own(&raw.quorum_recovery, |number| number.0)? {
        None => quorum,
        Some(Located { value, place }) if value < quorum => {
            reader.in_key("quorum_recovery", |reader| {
                let what = format!("{value} real servers are less than the quorum of {quorum}");
                reader.mistake(place, what, format!("expected {quorum} or more"));
            });
            return None;
        }
        Some(Located { value, .. }) => value,
    };
    let flaps = match own(&raw.flaps, flaps)? {
        None => None,
        Some(Located { value, .. }) => Some(value?),
    };
    Some(Health {
        require: *raw.require.value()?,
        on_down: *raw.on_down.value()?,
        recovery_delay: raw.recovery_delay.value()?.0,
        slow_start: raw.slow_start.value()?.0,
        flaps,
        quorum,
        quorum_recovery,
        probes_the_path: false,
        fallback,
        page,
        panic_threshold: raw.panic_threshold.value()?.0,
    })
}

fn flaps(raw: &raw::Flaps) -> Option<Flaps> {
    Some(Flaps { limit: raw.limit.value()?.0, within: raw.within.value()?.0, hold: raw.hold.value()?.0 })
}

/// A check that fits no real server yet: address and port may be the real server's.
pub(in crate::config) struct Template {
    place: Place,
    address: Option<Located<IpAddr>>,
    port: Option<u16>,
    source: Option<Located<IpAddr>>,
    interface: Option<String>,
    /// Where the file says `via: path`.
    path: Option<Place>,
    timing: Timing,
    probe: Probe,
}

/// The checks of a list. `None` if one of them is wrong, which `reader` knows.
pub(in crate::config) fn templates(list: &raw::Checks, reader: &mut Reader) -> Option<Vec<Template>> {
    let templates: Vec<_> = list
        .iter()
        .map(|(index, located)| reader.in_item(index, |reader| template(located, reader)))
        .collect();
    // An item that could not be read leaves a gap.
    if templates.len() < list.items.len() {
        return None;
    }
    templates.into_iter().collect()
}

fn template(Located { value, place }: &Located<raw::Check>, reader: &mut Reader) -> Option<Template> {
    let common = value.common();
    let timing = timing(&common, reader);
    let probe = probe::probe(value, reader);
    let address = own(common.address, |address| address.0)?;
    let port = own(common.port, |port| u16::try_from(port.0).unwrap_or(u16::MAX))?;
    let source = own(common.source, |source| source.0)?;
    let interface = own(common.interface, |interface| interface.0.clone())?;
    let probe = probe?;
    let path = own(common.via, |via| *via)?.filter(|via| via.value == Via::Path).map(|via| via.place);
    if let Some(place) = path {
        check_path(&probe, address.as_ref(), place, reader)?;
    }
    Some(Template {
        place: *place,
        address,
        port: port.map(|port| port.value),
        source,
        interface: interface.map(|interface| interface.value),
        path,
        timing: timing?,
        probe,
    })
}

/// Whether this kind of probe can take the path at all.
fn check_path(
    probe: &Probe,
    address: Option<&Located<IpAddr>>,
    place: Place,
    reader: &mut Reader,
) -> Option<()> {
    let word = probe.word();
    let why = match probe {
        Probe::Icmp => "has no port by which its answer is known",
        Probe::External(_) => "has sockets of its own",
        _ => {
            let Some(Located { value, place }) = address else { return Some(()) };
            reader.in_key("address", |reader| {
                let what = format!("{value} is probed `via: path`, which leads to the real server");
                reader.mistake(*place, what, "expected no address, or `via: address`");
            });
            return None;
        }
    };
    reader.in_key("via", |reader| {
        let what = format!("a check of type `{word}` cannot take the path, since it {why}");
        reader.mistake(place, what, "expected `address`, or another type of check");
    });
    None
}

/// Where the server's answer goes by its default route: addresses for measurements in laboratories, which no
/// network routes (RFC 2544 appendix C.2.2, RFC 5180 section 8).
const OFF_LINK_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const OFF_LINK_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1));

fn path(server: &Server, source: Option<IpAddr>, place: Place, reader: &mut Reader) -> Option<Path> {
    let Server { vip, address, forward, .. } = *server;
    let objection = match forward {
        Forward::Dr => return Some(Path::Direct { vip }),
        Forward::Ipip if vip.is_ipv4() == address.is_ipv4() => return Some(Path::Tunnel { vip }),
        Forward::Nat => {
            let usual = if address.is_ipv4() { OFF_LINK_V4 } else { OFF_LINK_V6 };
            return Some(Path::Translated { client: source.unwrap_or(usual) });
        }
        Forward::Ipip => {
            format!("{address} is not of the same IP version as the VIP {vip}: probes cannot change theirs")
        }
        Forward::Local => "with `forward: local` the director itself serves: there is no path".to_owned(),
    };
    reader.in_key("via", |reader| reader.mistake(place, objection, "expected `via: address`"));
    None
}

/// What an optional key says; the outer `None` when it says something wrong.
pub(super) fn own<T, U>(field: &Field<T>, translate: impl Fn(&T) -> U) -> Option<Option<Located<U>>> {
    match field {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Given(Located { value, place }) => {
            Some(Some(Located { value: translate(value), place: *place }))
        }
    }
}

fn timing(common: &raw::Common<'_>, reader: &mut Reader) -> Option<Timing> {
    let interval = common.interval.value()?.0;
    let fast_interval = match own(common.fast_interval, |span| span.0)? {
        None => interval.min(Timing::default().fast_interval),
        Some(Located { value, place }) if value > interval => {
            reader.in_key("fast_interval", |reader| {
                let what = format!("{} is longer than the interval of {}", shown(value), shown(interval));
                reader.mistake(place, what, "expected a shorter time: it is for servers in doubt");
            });
            return None;
        }
        Some(Located { value, .. }) => value,
    };
    Some(Timing {
        interval,
        fast_interval,
        timeout: common.timeout.value()?.0,
        rise: common.rise.value()?.0,
        fall: common.fall.value()?.0,
        jitter: common.jitter.value()?.0,
    })
}

fn shown(span: Duration) -> String {
    format!("{} s", span.as_secs_f64())
}

/// The real server that checks are for, as its service reaches it.
#[derive(Clone, Copy)]
pub(in crate::config) struct Server {
    pub(in crate::config) vip: IpAddr,
    pub(in crate::config) address: IpAddr,
    /// 0: the service takes every port.
    pub(in crate::config) port: u16,
    pub(in crate::config) forward: Forward,
}

/// The checks of one real server: `index` is a template's number in the list where the reader stands.
pub(in crate::config) fn checks(
    templates: &[Template],
    server: &Server,
    reader: &mut Reader,
) -> Vec<Arc<Check>> {
    let checks = templates
        .iter()
        .enumerate()
        .filter_map(|(index, template)| reader.in_item(index, |reader| template.check(server, reader)));
    checks.map(Arc::new).collect()
}

impl Template {
    fn check(&self, server: &Server, reader: &mut Reader) -> Option<Check> {
        let port = self.port.unwrap_or(server.port);
        if port == 0 && self.probe.has_port() {
            let remedy = "expected the port to probe: the service takes every port";
            reader.mistake(self.place, "missing key `port`", remedy);
            return None;
        }
        let address = self.address.as_ref().map_or(server.address, |address| address.value);
        if let Some(Located { value: source, place }) = &self.source
            && source.is_ipv4() != address.is_ipv4()
        {
            reader.in_key("source", |reader| {
                let what = format!("{source} is not of the same IP version as {address}, which is probed");
                let version = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                reader.mistake(*place, what, format!("expected an {version} address"));
            });
            return None;
        }
        let source = self.source.as_ref().map(|source| source.value);
        let path = match self.path {
            None => None,
            Some(place) => Some(path(server, source, place, reader)?),
        };
        Some(Check {
            address,
            port,
            // Of nat the real server sees it, and no socket has it.
            source: source.filter(|_| !matches!(path, Some(Path::Translated { .. }))),
            interface: self.interface.clone(),
            path,
            timing: self.timing,
            probe: self.probe.clone(),
        })
    }
}
