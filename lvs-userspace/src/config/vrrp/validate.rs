//! Virtual routers against each other, the cluster and the services.

use std::net::IpAddr;
use std::time::Duration;

use super::raw;
use super::scalar::LinkAddress;
use crate::config::cluster::validate::{complete, prefix, version};
use crate::config::model::{GroupAddress, VrrpInstance, VrrpVersion};
use crate::config::record::{Field, Located, Reader};
use crate::config::scalar::{InterfaceName, UnicastAddress};
use crate::config::validate::Seen;
use crate::config::yaml::Place;

/// What version 3 can say of an interval.
const LONGEST_V3: Duration = Duration::from_millis(40_950);

/// All virtual routers of the file; `interfaces`: those that lvsd works on, if that is known.
pub(in crate::config) fn instances(
    list: &raw::Instances,
    interfaces: Option<&[String]>,
    reader: &mut Reader,
) -> Option<Vec<VrrpInstance>> {
    let mut seen = Known::default();
    let each = list.iter().map(|(index, Located { value: raw, .. })| {
        reader.in_item(index, |reader| instance(raw, interfaces, &mut seen, reader))
    });
    complete(each.collect(), list)
}

/// What must be distinct.
#[derive(Default)]
struct Known {
    names: Seen<String>,
    /// Interface, router id, and whether it is of IPv6.
    routers: Seen<(String, u32, bool)>,
    /// Names of interfaces with a virtual MAC.
    devices: Seen<String>,
    addresses: Seen<IpAddr>,
}

fn instance(
    raw: &raw::Instance,
    interfaces: Option<&[String]>,
    seen: &mut Known,
    reader: &mut Reader,
) -> Option<VrrpInstance> {
    if let Some(Located { value, place }) = raw.name.located()
        && let Some(line) = seen.names.before(value.0.clone(), *place)
    {
        let what = format!("another virtual router is called {}, on line {line}", value.0);
        reader.in_key("name", |reader| {
            reader.mistake(*place, what, "expected a name of its own for each virtual router");
        });
    }
    let interface = reader.in_key("interface", |reader| interface(&raw.interface, interfaces, reader));
    let version = reader.in_key("version", |reader| version_of(raw, reader));
    let interval = reader.in_key("advert_interval", |reader| interval(raw, reader));
    let family = family(raw)?;
    one_family(raw, family, reader);
    let device = reader.in_key("virtual_mac", |reader| device(raw, family, &mut seen.devices, reader));
    let addresses =
        reader.in_key("addresses", |reader| addresses(raw, device.as_deref(), &mut seen.addresses, reader));
    if let (Some(interface), Some(Located { value, place })) = (&interface, raw.router_id.located())
        && let Some(line) = seen.routers.before((interface.clone(), value.0, family.is_ipv6()), *place)
    {
        let what = format!("router {} is on {interface} already, on line {line}", value.0);
        reader.in_key("router_id", |reader| {
            reader.mistake(*place, what, "expected each number once for an interface and a family");
        });
    }
    Some(VrrpInstance {
        name: raw.name.value()?.0.clone(),
        interface: interface?,
        router_id: u8::try_from(raw.router_id.value()?.0).ok()?,
        version: version?,
        priority: u8::try_from(raw.priority.value()?.0).ok()?,
        preempt: raw.preempt.value()?.0,
        preempt_delay: raw.preempt_delay.value()?.0,
        advert_interval: interval?,
        unicast_peers: raw.unicast_peers.value()?.iter().map(|(_, peer)| peer.value.0).collect(),
        source_address: raw.source_address.optional()?.map(|address| address.0),
        virtual_mac: raw.virtual_mac.value()?.0,
        addresses: addresses?,
    })
}

fn interface(raw: &Field<InterfaceName>, known: Option<&[String]>, reader: &mut Reader) -> Option<String> {
    let Located { value: InterfaceName(name), place } = raw.located()?;
    if known.is_some_and(|known| !known.contains(name)) {
        let what = format!("{name} is none of the interfaces that lvsd works on");
        reader.mistake(*place, what, "expected one of `interfaces`");
    }
    Some(name.clone())
}

/// That of the first address.
fn family(raw: &raw::Instance) -> Option<IpAddr> {
    let (_, first) = raw.addresses.value()?.iter().next()?;
    Some(first.value.address.value()?.0)
}

fn version_of(raw: &raw::Instance, reader: &mut Reader) -> Option<VrrpVersion> {
    let Located { value, place } = raw.version.located()?;
    let version = if value.0 == 2 { VrrpVersion::V2 } else { VrrpVersion::V3 };
    if version == VrrpVersion::V2 && family(raw).is_some_and(|address| address.is_ipv6()) {
        reader.mistake(*place, "version 2 of VRRP knows no IPv6", "expected 3");
    }
    Some(version)
}

fn interval(raw: &raw::Instance, reader: &mut Reader) -> Option<Duration> {
    let Located { value, place } = raw.advert_interval.located()?;
    let interval = value.0;
    let milliseconds = interval.as_millis();
    match raw.version.value()?.0 {
        2 if !milliseconds.is_multiple_of(1_000) => {
            let what = "version 2 of VRRP counts whole seconds";
            reader.mistake(*place, what, "expected 1s to 255s, or `version: 3`");
        }
        3 if !milliseconds.is_multiple_of(10) || interval > LONGEST_V3 => {
            let what = "version 3 of VRRP counts hundredths of a second, up to 4095 of them";
            reader.mistake(*place, what, "expected 10ms to 40950ms, in steps of 10ms");
        }
        _ => {}
    }
    Some(interval)
}

/// The interface with the virtual MAC, where one is wanted. Its name does not say on which other one it is.
fn device(
    raw: &raw::Instance,
    family: IpAddr,
    seen: &mut Seen<String>,
    reader: &mut Reader,
) -> Option<String> {
    let Located { place, .. } = raw.virtual_mac.located().filter(|wanted| wanted.value.0)?;
    if raw.unicast_peers.value().is_some_and(|peers| peers.iter().next().is_some()) {
        let what = "a virtual MAC is told by multicast, and `unicast_peers` has addresses";
        reader.mistake(*place, what, "expected one of `virtual_mac` and `unicast_peers`");
    }
    let id = u8::try_from(raw.router_id.value()?.0).ok()?;
    let name = VrrpInstance::virtual_interface(id, family.is_ipv6());
    if let Some(line) = seen.before(name.clone(), *place) {
        let what = format!("router {id} has a virtual MAC on another interface, on line {line}");
        reader.mistake(*place, what, "expected each `router_id` with a virtual MAC once for a family");
    }
    Some(name)
}

fn addresses(
    raw: &raw::Instance,
    device: Option<&str>,
    seen: &mut Seen<IpAddr>,
    reader: &mut Reader,
) -> Option<Vec<GroupAddress>> {
    let list = raw.addresses.value()?;
    let each = list.iter().map(|(index, Located { value: address, .. })| {
        reader.in_item(index, |reader| {
            let Located { value: LinkAddress(own), place } = address.address.located()?;
            if let Some(line) = seen.before(*own, *place) {
                let what = format!("{own} is in a virtual router already, on line {line}");
                reader.in_key("address", |reader| {
                    reader.mistake(*place, what, "expected each address once");
                });
            }
            let prefix = prefix(&address.prefix, *own, reader)?;
            let interface = device.unwrap_or(&raw.interface.value()?.0).to_owned();
            Some(GroupAddress { address: *own, prefix, interface, label: None })
        })
    });
    complete(each.collect(), list)
}

/// Advertisements of one family carry addresses of that family.
fn one_family(raw: &raw::Instance, first: IpAddr, reader: &mut Reader) {
    let check = |address: &LinkAddress, place: Place, reader: &mut Reader| {
        if address.0.is_ipv4() != first.is_ipv4() {
            let what = format!("{} is an {} address, and {first} is not", address.0, version(address.0));
            reader.mistake(place, what, "expected a virtual router for each family");
        }
    };
    for (index, Located { value, .. }) in raw.addresses.value().into_iter().flat_map(|list| list.iter()) {
        if let Some(Located { value, place }) = value.address.located() {
            reader.in_key("addresses", |reader| {
                reader.in_item(index, |reader| {
                    reader.in_key("address", |reader| check(value, *place, reader));
                });
            });
        }
    }
    for (index, Located { value, place }) in
        raw.unicast_peers.value().into_iter().flat_map(|list| list.iter())
    {
        reader.in_key("unicast_peers", |reader| {
            reader.in_item(index, |reader| check(value, *place, reader));
        });
    }
    if let Some(Located { value, place }) = raw.source_address.located() {
        reader.in_key("source_address", |reader| check(value, *place, reader));
    }
}

/// A VIP that VRRP does not move would be answered for by every director.
pub(in crate::config) fn every_vip_moves(
    vips: &[(usize, Located<UnicastAddress>)],
    instances: &[VrrpInstance],
    reader: &mut Reader,
) {
    let mut told = Seen::default();
    for (index, Located { value: UnicastAddress(vip), place }) in vips {
        let mut addresses = instances.iter().flat_map(|instance| &instance.addresses);
        if addresses.all(|own| own.address != *vip) && told.before(*vip, *place).is_none() {
            reader.in_item(*index, |reader| {
                reader.in_key("vip", |reader| {
                    let what =
                        format!("{vip} is in no virtual router: every director would answer for it at once");
                    reader.mistake(*place, what, "expected one of the `addresses` in `vrrp`");
                });
            });
        }
    }
}
