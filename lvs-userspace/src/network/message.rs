//! Netlink messages into the few facts the resolution works with. No IO.

use std::net::IpAddr;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Mac;
use super::resolution::{Event, Link, Neighbour, NeighbourKey, NeighbourStatus, Route};

/// What a multicast message says; `None` if nothing of interest.
pub(super) fn event(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<Event> {
    let inner = match &message.payload {
        NetlinkPayload::InnerMessage(inner) => inner,
        NetlinkPayload::Overrun(_) => return Some(Event::Lost),
        _ => return None,
    };
    match inner {
        // Bridges report their ports' membership as link messages of their own family, too.
        RouteNetlinkMessage::NewLink(message) if message.header.interface_family == AddressFamily::Unspec => {
            Some(Event::Link(link(message)))
        }
        RouteNetlinkMessage::DelLink(message) if message.header.interface_family == AddressFamily::Unspec => {
            Some(Event::LinkGone(message.header.index))
        }
        RouteNetlinkMessage::NewNeighbour(message) => {
            neighbour(message).map(|(key, neighbour)| Event::Neighbour(key, Some(neighbour)))
        }
        RouteNetlinkMessage::DelNeighbour(message) => {
            neighbour(message).map(|(key, _)| Event::Neighbour(key, None))
        }
        RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
            Some(route_changed(message))
        }
        // A rule can send any destination elsewhere; an address brings or takes routes, and for some of
        // them (those that vanish with an IPv4 address) the kernel sends no message.
        RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::NewRule(_)
        | RouteNetlinkMessage::DelRule(_) => Some(Event::Routing),
        _ => None,
    }
}

pub(super) fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::LowerUp),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) if message.header.link_layer_type == LinkLayerType::Ether => {
                link.mac = mac(bytes);
            }
            _ => {}
        }
    }
    link
}

/// `None` for entries that are no IP neighbours (bridge forwarding entries come by the same group).
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    let mut address = None;
    let mut link_address = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => link_address = mac(bytes),
            _ => {}
        }
    }
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let status = match message.header.state {
        NeighbourState::Permanent | NeighbourState::Noarp => NeighbourStatus::Fixed,
        NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe => NeighbourStatus::Kept,
        NeighbourState::Stale => NeighbourStatus::Stale,
        NeighbourState::Failed => NeighbourStatus::Failed,
        NeighbourState::Incomplete => NeighbourStatus::Asked,
        _ => NeighbourStatus::Unknown,
    };
    // Entries another program learnt (EVPN) are its own to keep.
    let status = match status {
        NeighbourStatus::Stale if message.header.flags.contains(NeighbourFlags::ExtLearned) => {
            NeighbourStatus::Fixed
        }
        status => status,
    };
    let key = NeighbourKey { interface: message.header.ifindex, address: address? };
    Some((key, Neighbour { mac: link_address, status }))
}

/// The answer to a route lookup.
pub(super) fn route(message: &RouteMessage) -> Route {
    match message.header.kind {
        RouteType::Local => return Route::Local,
        RouteType::Unicast => {}
        _ => return Route::None,
    }
    let (mut interface, mut gateway, mut source, mut mtu) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(v4)) => gateway = Some(IpAddr::V4(*v4)),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => gateway = Some(IpAddr::V6(*v6)),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(bytes) if *bytes > 0 => Some(*bytes),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    match interface {
        Some(interface) => {
            Route::Via { interface, gateway, source: source.filter(|address| !address.is_unspecified()), mtu }
        }
        None => Route::None,
    }
}

fn route_changed(message: &RouteMessage) -> Event {
    let prefix = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    match prefix {
        Some(prefix) => Event::RouteChanged { prefix, length: message.header.destination_prefix_length },
        None => Event::Routing,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok()
}
