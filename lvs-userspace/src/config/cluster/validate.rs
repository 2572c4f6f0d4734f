//! A cluster against itself and the rest of the file.

use std::net::{IpAddr, SocketAddr};

use super::groups;
pub(in crate::config) use super::groups::prefix;
use super::paths;
use super::raw;
use super::scalar::Name;
use super::timing::timing;
use crate::cluster::message;
use crate::config::alerts::raw::Command;
use crate::config::model::{Cluster, Node, Track, TrackScript, Voter};
use crate::config::record::{List, Located, Reader};
use crate::config::scalar::UnicastAddress;
use crate::config::validate::Seen;
use crate::config::yaml::Place;

/// The cluster that stands at `place`. `interfaces`: those of the file, if they are known.
pub(in crate::config) fn cluster(
    raw: &raw::Cluster,
    place: Place,
    interfaces: Option<&[String]>,
    reader: &mut Reader,
) -> Option<Cluster> {
    let nodes = reader.in_key("nodes", |reader| nodes(raw.nodes.value()?, reader));
    let paths = reader.in_key("paths", |reader| paths::paths(raw.paths.value()?, reader));
    if let (Some(nodes), Some(paths)) = (&nodes, &paths) {
        paths::all_meet(nodes, paths, place, reader);
    }
    if let (Some(nodes), Some(Located { value: Name(name), place })) = (&nodes, raw.node.located()) {
        reader.in_key("node", |reader| known_node(name, *place, nodes, reader));
    }
    let voter = reader.in_key("voter", |reader| voter(raw, nodes.as_deref(), reader));
    let timing = timing(raw, reader);
    let track = reader.in_key("track", |reader| track(raw.track.value()?, reader));
    let groups = reader.in_key("groups", |reader| {
        let voter = voter.as_ref().and_then(Option::as_ref);
        groups::groups(
            raw.groups.value()?,
            &groups::Surroundings { nodes: nodes.as_deref(), voter, interfaces },
            reader,
        )
    });
    if let (Some(nodes), Some(groups), Some(timing)) = (&nodes, &groups, timing) {
        let bytes = message::size(nodes.len(), groups.len());
        reader.in_key("paths", |reader| {
            paths::serial_lines_keep_up(raw.paths.value()?, bytes, timing.deadtime, reader)
        });
    }
    Some(Cluster {
        node: raw.node.optional()?.map(|name| name.0.clone()),
        nodes: nodes?,
        voter: voter?,
        paths: paths?,
        port: u16::try_from(raw.port.value()?.0).ok()?,
        key_file: raw.key_file.value()?.0.clone(),
        timing: timing?,
        auto_failback: raw.auto_failback.value()?.0,
        refresh: raw.refresh.optional()?.map(|span| span.0),
        track: track?,
        groups: groups?,
    })
}

fn nodes(list: &raw::Nodes, reader: &mut Reader) -> Option<Vec<Node>> {
    let mut names = Seen::default();
    let mut addresses = Seen::default();
    let mut first: Option<Node> = None;
    let mut nodes = Vec::new();
    for (index, Located { value: raw, .. }) in list.iter() {
        let node =
            reader.in_item(index, |reader| node(raw, &mut names, &mut addresses, first.as_ref(), reader));
        first = first.or_else(|| node.clone());
        nodes.push(node);
    }
    complete(nodes, list)
}

/// All items of a list, if each of them is right.
pub(in crate::config) fn complete<T, U, const L: usize, const M: usize>(
    items: Vec<Option<T>>,
    list: &List<U, L, M>,
) -> Option<Vec<T>> {
    let is_whole = items.len() == list.items.len() && (L..=M).contains(&items.len());
    items.into_iter().collect::<Option<Vec<T>>>().filter(|_| is_whole)
}

fn node(
    raw: &raw::Node,
    names: &mut Seen<String>,
    seen: &mut Seen<IpAddr>,
    first: Option<&Node>,
    reader: &mut Reader,
) -> Option<Node> {
    if let Some(Located { value: Name(name), place }) = raw.name.located()
        && let Some(line) = names.before(name.clone(), *place)
    {
        reader.in_key("name", |reader| {
            let what = format!("another node is called {name}, on line {line}");
            reader.mistake(*place, what, "expected a name of its own for each node");
        });
    }
    let Located { value: list, place } = raw.addresses.located()?;
    reader.in_key("addresses", |reader| {
        if let Some(first) = first
            && first.addresses.len() != list.items.len()
        {
            let what = format!("{} addresses, but {} has {}", list.items.len(), first.name, first.addresses.len());
            let remedy = "expected as many as the first node has: beats go from the first to the first, from the second to the second";
            reader.mistake(*place, what, remedy);
        }
        for (index, Located { value: address, place }) in list.iter() {
            let address = address.0;
            let peer = first.and_then(|first| Some((first, first.addresses.get(index)?)));
            reader.in_item(index, |reader| {
                if let Some(line) = seen.before(address, *place) {
                    let what = format!("{address} is a node's already, on line {line}");
                    reader.mistake(*place, what, "expected each address once");
                }
                if let Some((first, peer)) = peer
                    && peer.is_ipv4() != address.is_ipv4()
                {
                    let what = format!("{address} is not of the same IP version as {peer}, the address of {} at this place", first.name);
                    reader.mistake(*place, what, format!("expected an {} address", version(*peer)));
                }
            });
        }
    });
    let addresses: Vec<Option<IpAddr>> = list.iter().map(|(_, address)| Some(address.value.0)).collect();
    Some(Node { name: raw.name.value()?.0.clone(), addresses: complete(addresses, list)? })
}

pub(in crate::config) fn version(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn known_node(name: &str, place: Place, nodes: &[Node], reader: &mut Reader) {
    if !nodes.iter().any(|node| node.name == name) {
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        reader.mistake(
            place,
            format!("there is no node {name}"),
            format!("expected one of {}", names.join(", ")),
        );
    }
}

/// The inner `None`: there is none.
fn voter(raw: &raw::Cluster, nodes: Option<&[Node]>, reader: &mut Reader) -> Option<Option<Voter>> {
    let Some(voter) = raw.voter.optional()? else { return Some(None) };
    let nodes = nodes.unwrap_or_default();
    if let Some(Located { value: Name(name), place }) = voter.name.located()
        && nodes.iter().any(|node| node.name == *name)
    {
        let remedy = "expected a third party: a director cannot break its own ties";
        reader.in_key("name", |reader| {
            reader.mistake(*place, format!("{name} is a node of the cluster"), remedy)
        });
    }
    if let Some(Located { value: address, place }) = voter.address.located()
        && let Some(node) = nodes.iter().find(|node| node.addresses.contains(&address.0))
    {
        let what = format!("{} is an address of {}", address.0, node.name);
        let remedy = "expected the address of a third party: a director cannot break its own ties";
        reader.in_key("address", |reader| reader.mistake(*place, what, remedy));
    }
    let port = voter.port.optional()?.or(raw.port.value())?;
    Some(Some(Voter {
        name: voter.name.value()?.0.clone(),
        address: SocketAddr::new(voter.address.value()?.0, u16::try_from(port.0).ok()?),
    }))
}

fn track(raw: &raw::Track, reader: &mut Reader) -> Option<Track> {
    let interfaces = distinct("interfaces", raw.interfaces.value()?, |name| name.0.clone(), reader);
    let gateways = distinct("gateways", raw.gateways.value()?, |address| address.0, reader);
    let files = distinct("files", raw.files.value()?, |path| path.0.clone(), reader);
    let scripts = raw.scripts.value()?;
    let each = scripts.iter().map(|(_, Located { value: raw, .. })| {
        Some(TrackScript {
            command: command(raw.command.value()?)?,
            interval: raw.interval.value()?.0,
            timeout: raw.timeout.value()?.0,
        })
    });
    Some(Track { interfaces, gateways, scripts: complete(each.collect(), scripts)?, files })
}

fn distinct<T, U: Clone + Eq + std::hash::Hash, const L: usize, const M: usize>(
    key: &str,
    list: &List<T, L, M>,
    plain: impl Fn(&T) -> U,
    reader: &mut Reader,
) -> Vec<U> {
    let mut seen = Seen::default();
    let mut values = Vec::new();
    for (index, Located { value, place }) in list.iter() {
        let value = plain(value);
        if let Some(line) = seen.before(value.clone(), *place) {
            reader.in_key(key, |reader| {
                reader.in_item(index, |reader| {
                    reader.mistake(*place, format!("the same as on line {line}"), "expected each one once");
                });
            });
        }
        values.push(value);
    }
    values
}

pub(super) fn command(words: &Command) -> Option<Vec<String>> {
    complete(words.iter().map(|(_, word)| Some(word.value.0.clone())).collect(), words)
}

/// Every VIP must be in a group, also of the director itself (`local`): every director would answer for
/// another at once. `vips` are those of the services by number; a VIP of several is told of once.
pub(in crate::config) fn every_vip_moves(
    vips: &[(usize, Located<UnicastAddress>)],
    cluster: &Cluster,
    reader: &mut Reader,
) {
    let mut told = Seen::default();
    for (index, Located { value: UnicastAddress(vip), place }) in vips {
        let moves = cluster.groups.iter().flat_map(|group| &group.addresses).any(|own| own.address == *vip);
        if !moves && told.before(*vip, *place).is_none() {
            reader.in_item(*index, |reader| {
                reader.in_key("vip", |reader| {
                    let what = format!(
                        "{vip} is in no group of the cluster: every director would answer for it at once"
                    );
                    reader.mistake(*place, what, "expected one of the addresses in `cluster.groups`");
                });
            });
        }
    }
}
