//! Checks against the service and the real server they are for.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{probe, raw};
use crate::config::model::{Check, Flaps, Health, Probe, RealServer, Timing};
use crate::config::record::{Field, Located, Reader};
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
    Some(Template {
        place: *place,
        address,
        port: port.map(|port| port.value),
        source,
        interface: interface.map(|interface| interface.value),
        timing: timing?,
        probe: probe?,
    })
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

/// The checks of one real server: `index` is a template's number in the list where the reader stands.
/// A `port` of 0 means that the service takes every port.
pub(in crate::config) fn checks(
    templates: &[Template],
    address: IpAddr,
    port: u16,
    reader: &mut Reader,
) -> Vec<Arc<Check>> {
    let checks = templates.iter().enumerate().filter_map(|(index, template)| {
        reader.in_item(index, |reader| template.check(address, port, reader))
    });
    checks.map(Arc::new).collect()
}

impl Template {
    fn check(&self, address: IpAddr, port: u16, reader: &mut Reader) -> Option<Check> {
        let port = self.port.unwrap_or(port);
        if port == 0 && self.probe.has_port() {
            let remedy = "expected the port to probe: the service takes every port";
            reader.mistake(self.place, "missing key `port`", remedy);
            return None;
        }
        let address = self.address.as_ref().map_or(address, |address| address.value);
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
        Some(Check {
            address,
            port,
            source: self.source.as_ref().map(|source| source.value),
            interface: self.interface.clone(),
            timing: self.timing,
            probe: self.probe.clone(),
        })
    }
}
