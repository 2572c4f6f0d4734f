//! Groups of addresses against each other, the nodes and the machine's interfaces.

use std::net::IpAddr;

use super::raw;
use super::scalar::{Label, Name};
use super::validate::{command, complete, version};
use crate::config::model::{Fence, Group, GroupAddress, Node, Resource, Voter};
use crate::config::record::{Field, Located, Reader};
use crate::config::validate::Seen;

/// What groups are held against, as far as it is known.
pub(super) struct Surroundings<'a> {
    pub(super) nodes: Option<&'a [Node]>,
    pub(super) voter: Option<&'a Voter>,
    pub(super) interfaces: Option<&'a [String]>,
}

pub(super) fn groups(
    list: &raw::Groups,
    around: &Surroundings<'_>,
    reader: &mut Reader,
) -> Option<Vec<Group>> {
    let mut names = Seen::default();
    let mut addresses = Seen::default();
    let mut groups = Vec::new();
    for (index, Located { value: raw, .. }) in list.iter() {
        groups.push(reader.in_item(index, |reader| {
            if let Some(Located { value: Name(name), place }) = raw.name.located()
                && let Some(line) = names.before(name.clone(), *place)
            {
                reader.in_key("name", |reader| {
                    let what = format!("another group is called {name}, on line {line}");
                    reader.mistake(*place, what, "expected a name of its own for each group");
                });
            }
            group(raw, around, &mut addresses, reader)
        }));
    }
    complete(groups, list)
}

fn group(
    raw: &raw::Group,
    around: &Surroundings<'_>,
    seen: &mut Seen<IpAddr>,
    reader: &mut Reader,
) -> Option<Group> {
    let order = reader.in_key("order", |reader| order(&raw.order, around.nodes, reader));
    let list = raw.addresses.value();
    let addresses = reader.in_key("addresses", |reader| {
        let list = list?;
        let each = list.iter().map(|(index, Located { value: raw, .. })| {
            reader.in_item(index, |reader| address(raw, around, seen, reader))
        });
        complete(each.collect(), list)
    });
    let resources = raw.resources.value()?;
    let each = resources.iter().map(|(_, Located { value: raw, .. })| {
        Some(Resource { command: command(raw.command.value()?)?, timeout: raw.timeout.value()?.0 })
    });
    let fence = match raw.fence.optional()? {
        None => None,
        Some(raw) => Some(Fence {
            command: command(raw.command.value()?)?,
            timeout: raw.timeout.value()?.0,
            take_on_failure: raw.take_on_failure.value()?.0,
        }),
    };
    Some(Group {
        name: raw.name.value()?.0.clone(),
        order: order?,
        addresses: addresses?,
        resources: complete(each.collect(), resources)?,
        fence,
    })
}

fn order(raw: &Field<raw::Order>, nodes: Option<&[Node]>, reader: &mut Reader) -> Option<Vec<String>> {
    let Located { value: list, place } = match raw {
        Field::Absent => return Some(nodes?.iter().map(|node| node.name.clone()).collect()),
        field => field.located()?,
    };
    let mut seen = Seen::default();
    for (index, Located { value: Name(name), place }) in list.iter() {
        reader.in_item(index, |reader| {
            if let Some(line) = seen.before(name.clone(), *place) {
                let what = format!("{name} is here twice, first on line {line}");
                reader.mistake(*place, what, "expected each node once");
            }
            if nodes.is_some_and(|nodes| !nodes.iter().any(|node| node.name == *name)) {
                reader.mistake(
                    *place,
                    format!("there is no node {name}"),
                    "expected one of the cluster's nodes",
                );
            }
        });
    }
    let names = complete(list.iter().map(|(_, name)| Some(name.value.0.clone())).collect(), list)?;
    let missing: Vec<&str> = nodes?
        .iter()
        .map(|node| node.name.as_str())
        .filter(|name| !names.iter().any(|own| own == name))
        .collect();
    if !missing.is_empty() {
        let what = format!("{} missing", missing.join(", "));
        reader.mistake(*place, what, "expected every node, so that each knows who is next");
    }
    Some(names)
}

fn address(
    raw: &raw::GroupAddress,
    around: &Surroundings<'_>,
    seen: &mut Seen<IpAddr>,
    reader: &mut Reader,
) -> Option<GroupAddress> {
    if let Some(Located { value: interface, place }) = raw.interface.located()
        && around.interfaces.is_some_and(|known| !known.contains(&interface.0))
    {
        reader.in_key("interface", |reader| {
            let what = format!("{} is none of the interfaces that lvsd works on", interface.0);
            reader.mistake(*place, what, "expected one of `interfaces`");
        });
    }
    let Located { value: address, place } = raw.address.located()?;
    let address = address.0;
    reader.in_key("address", |reader| {
        if let Some(line) = seen.before(address, *place) {
            let what = format!("{address} is in a group already, on line {line}");
            reader.mistake(*place, what, "expected each address once");
        }
        let owner = around.nodes.unwrap_or_default().iter().find(|node| node.addresses.contains(&address));
        if let Some(node) = owner {
            let what = format!("{address} is an address of {}, which keeps it", node.name);
            reader.mistake(*place, what, "expected an address that may move");
        }
        if around.voter.is_some_and(|voter| voter.address.ip() == address) {
            reader.mistake(
                *place,
                format!("{address} is the voter's address"),
                "expected an address that may move",
            );
        }
    });
    Some(GroupAddress {
        address,
        prefix: prefix(&raw.prefix, address, reader)?,
        interface: raw.interface.value()?.0.clone(),
        label: label(raw, address, reader)?,
    })
}

pub(in crate::config) fn prefix(
    raw: &Field<raw::Prefix>,
    address: IpAddr,
    reader: &mut Reader,
) -> Option<u8> {
    let all = if address.is_ipv4() { 32 } else { 128 };
    let Located { value: prefix, place } = match raw {
        Field::Absent => return Some(all),
        field => field.located()?,
    };
    let prefix = u8::try_from(prefix.0).ok().filter(|prefix| *prefix <= all);
    if prefix.is_none() {
        reader.in_key("prefix", |reader| {
            let what = format!("an {} address has {all} bits", version(address));
            reader.mistake(*place, what, format!("expected {all} or less"));
        });
    }
    prefix
}

/// The inner `None`: there is none.
fn label(raw: &raw::GroupAddress, address: IpAddr, reader: &mut Reader) -> Option<Option<String>> {
    let Located { value: Label(label), place } = match &raw.label {
        Field::Absent => return Some(None),
        field => field.located()?,
    };
    let interface = &raw.interface.value()?.0;
    let objection = if !address.is_ipv4() {
        Some(("the kernel has labels for IPv4 addresses only".to_owned(), "expected no label".to_owned()))
    } else if !label.starts_with(interface.as_str()) {
        Some((
            format!("{label} does not begin with the interface's name"),
            format!("expected {interface}, or {interface}:0 for example"),
        ))
    } else {
        None
    };
    if let Some((what, remedy)) = objection {
        reader.in_key("label", |reader| reader.mistake(*place, what, remedy));
        return None;
    }
    Some(Some(label.clone()))
}
