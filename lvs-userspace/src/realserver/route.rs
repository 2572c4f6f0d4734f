//! The segment size clients are told. A client sends segments as long as the real server's SYN/ACK allows;
//! through the tunnel they come with another header, and longer than the path takes. So the routes back
//! to clients announce less (`advmss`): the default route, and the connected ones for clients on the same
//! network. Other routes, whoever made them, are left to him.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHopFlags,
    RouteProtocol, RouteType,
};
use rtnetlink::RouteMessageBuilder;
use tracing::info;

use super::{Error, Options};
use crate::changes::journal::Journal;
use crate::changes::{Change, RouteKey, Target};
use crate::network::{self, Network, request_failed};

const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const TCP_HEADER: u32 = 20;

/// Limits every route that needs it and does not have it yet. Returns what the operator has to do himself.
pub(super) async fn limit_segments(
    network: &Network,
    journal: &mut Journal,
    options: &Options,
) -> Result<Vec<String>, Error> {
    let mut left = Vec::new();
    let mtus = network.interface_mtus().await?;
    let tunnel = tunnel_header(options);
    for family in families(options) {
        let routes = routes(network, family).await?;
        for route in &routes {
            let Some(key) = key(route).filter(|key| leads_to_clients(route, key)) else { continue };
            let Some(mtu) = mtu(route, &mtus) else { continue };
            let size = segment_size(mtu, tunnel, family);
            let target = Target::Route(key.clone());
            match advmss(route) {
                Some(now) if now <= size => {
                    journal.keep(&target);
                    continue;
                }
                before => {
                    if let Some(reason) = obstacle(route, &key, &routes) {
                        left.push(format!(
                            "segments of clients behind route {} may not fit through the tunnel: it needs \
                             `advmss {size}`, but {reason}",
                            describe(&key)
                        ));
                        continue;
                    }
                    journal.record(Change { target, before, after: Some(size) })?;
                    replace(network, route, &key, Some(size)).await?;
                    info!(route = %describe(&key), advmss = size, "clients are told a segment size that fits");
                }
            }
        }
    }
    Ok(left)
}

/// Puts the former size back where ours still stands.
pub(super) async fn undo(network: &Network, wanted: &RouteKey, change: &Change) -> Result<(), Error> {
    let family = if wanted.destination.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    for route in routes(network, family).await? {
        if key(&route).as_ref() == Some(wanted) && advmss(&route) == change.after {
            replace(network, &route, wanted, change.before).await?;
        }
    }
    Ok(())
}

/// What of `mtu` is left for data once both IP headers and TCP's are taken off, in bytes.
fn segment_size(mtu: u32, tunnel_header: u32, family: AddressFamily) -> u32 {
    let inner = if family == AddressFamily::Inet6 { IPV6_HEADER } else { IPV4_HEADER };
    mtu.saturating_sub(tunnel_header + inner + TCP_HEADER)
}

/// The longest header a director puts around a packet, in bytes.
fn tunnel_header(options: &Options) -> u32 {
    if options.director.iter().any(IpAddr::is_ipv6) { IPV6_HEADER } else { IPV4_HEADER }
}

fn families(options: &Options) -> impl Iterator<Item = AddressFamily> {
    let (v4, v6) = (options.vip.iter().any(IpAddr::is_ipv4), options.vip.iter().any(IpAddr::is_ipv6));
    [(v4, AddressFamily::Inet), (v6, AddressFamily::Inet6)]
        .into_iter()
        .filter_map(|(present, family)| present.then_some(family))
}

/// The unicast routes of the main table.
async fn routes(network: &Network, family: AddressFamily) -> Result<Vec<RouteMessage>, network::Error> {
    let request = match family {
        AddressFamily::Inet6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        _ => RouteMessageBuilder::<Ipv4Addr>::new().build(),
    };
    let answers = network.handle().route().get(request).execute();
    let all: Vec<_> = answers.try_collect().await.map_err(request_failed("read the routes"))?;
    Ok(all
        .into_iter()
        .filter(|route| {
            route.header.kind == RouteType::Unicast
                && table(route) == u32::from(RouteHeader::RT_TABLE_MAIN)
                && !route.header.flags.contains(RouteFlags::Cloned)
        })
        .collect())
}

fn leads_to_clients(route: &RouteMessage, key: &RouteKey) -> bool {
    let link_local = matches!(key.destination, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let connected = route.header.protocol == RouteProtocol::Kernel && !link_local;
    key.length == 0 || connected
}

/// Why a route must not be replaced.
fn obstacle(route: &RouteMessage, key: &RouteKey, all: &[RouteMessage]) -> Option<&'static str> {
    if route.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::NhId(_))) {
        return Some("it refers to a next hop object");
    }
    if route.header.protocol == RouteProtocol::Ra {
        return Some(
            "it was learnt from a router's advertisement, and would be learnt again beside the new one",
        );
    }
    // The kernel replaces the first route with the same destination and metric, whichever it is.
    let twins = all.iter().filter_map(self::key).filter(|other| {
        (other.destination, other.length, other.priority) == (key.destination, key.length, key.priority)
    });
    (twins.count() > 1).then_some("there is another one with the same destination and metric")
}

/// The same route with another advertised segment size.
async fn replace(
    network: &Network,
    route: &RouteMessage,
    key: &RouteKey,
    advmss: Option<u32>,
) -> Result<(), network::Error> {
    let request = network.handle().route().add(with_advmss(route, advmss)).replace();
    request.execute().await.map_err(request_failed(format!("set advmss of the route to {}", describe(key))))
}

fn with_advmss(route: &RouteMessage, advmss: Option<u32>) -> RouteMessage {
    let mut changed = RouteMessage::default();
    changed.header = route.header.clone();
    // The kernel reports more than it accepts: states of the link, ages, counters.
    changed.header.flags &= RouteFlags::Onlink | RouteFlags::Pervasive;
    let mut metrics = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Metrics(known) => metrics.clone_from(known),
            RouteAttribute::MultiPath(hops) => {
                let mut hops = hops.clone();
                for hop in &mut hops {
                    hop.flags &= RouteNextHopFlags::Onlink | RouteNextHopFlags::Pervasive;
                }
                changed.attributes.push(RouteAttribute::MultiPath(hops));
            }
            RouteAttribute::CacheInfo(_) | RouteAttribute::MfcStats(_) | RouteAttribute::Other(_) => {}
            other => changed.attributes.push(other.clone()),
        }
    }
    metrics.retain(|metric| !matches!(metric, RouteMetric::Advmss(_)));
    metrics.extend(advmss.map(RouteMetric::Advmss));
    if !metrics.is_empty() {
        changed.attributes.push(RouteAttribute::Metrics(metrics));
    }
    changed
}

fn table(route: &RouteMessage) -> u32 {
    let attribute = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    attribute.unwrap_or(route.header.table.into())
}

/// `None` for routes that leave by no interface.
fn key(route: &RouteMessage) -> Option<RouteKey> {
    let unspecified = match route.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let length = route.header.destination_prefix_length;
    let mut key = RouteKey { destination: unspecified, length, priority: 0, interface: 0 };
    let mut leaves = false;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => key.destination = IpAddr::V4(*v4),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => key.destination = IpAddr::V6(*v6),
            RouteAttribute::Priority(priority) => key.priority = *priority,
            RouteAttribute::Oif(index) => (key.interface, leaves) = (*index, true),
            RouteAttribute::MultiPath(_) => leaves = true,
            _ => {}
        }
    }
    leaves.then_some(key)
}

fn advmss(route: &RouteMessage) -> Option<u32> {
    metric(route, |metric| match metric {
        RouteMetric::Advmss(size) => Some(*size),
        _ => None,
    })
}

/// The smallest MTU of the route and its interfaces; `None` for lo, where no client is.
fn mtu(route: &RouteMessage, mtus: &BTreeMap<u32, u32>) -> Option<u32> {
    let own = metric(route, |metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    });
    let interfaces = route.attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    });
    let smallest = interfaces.filter_map(|index| mtus.get(&index).copied()).min()?;
    Some(own.map_or(smallest, |own| own.min(smallest)))
}

fn metric(route: &RouteMessage, pick: impl Fn(&RouteMetric) -> Option<u32>) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => metrics.iter().find_map(&pick),
        _ => None,
    })
}

fn describe(key: &RouteKey) -> String {
    if key.length == 0 { "default".to_owned() } else { format!("{}/{}", key.destination, key.length) }
}
