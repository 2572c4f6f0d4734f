//! A group's addresses on this host, by netlink.
//!
//! IPv6 addresses come without the kernel's duplicate address detection: ours has run (see [`super::probe`]), and
//! a tentative address does not serve for a second. They come deprecated: who answers from one does so, while
//! connections of the host's own never choose it (RFC 6724 section 5, rule 3). IPv4 knows no such mark. There an
//! address of prefix 32 brings no route, so the host has no reason to choose it; with a shorter prefix it is like
//! any other of the interface: second to one of the host's own in that network, or the only one, where the host has
//! none. Which of them is first must not matter to those behind it, hence `promote_secondaries` (see
//! [`super::settings`]).

use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use crate::config::model::GroupAddress;
use crate::network::{self, Error, Network, request_failed};

/// The addresses of the host at one moment.
pub(super) struct Present(Vec<AddressMessage>);

/// What [`add`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// It was not on the interface.
    Absent,
    /// It was there as it should be: left alone.
    Same,
    /// It was there with other bits of the network, or another label: replaced if it was the agent's own.
    Other { prefix: u8, label: Option<String> },
}

impl Present {
    pub(super) async fn read(network: &Network) -> Result<Self, Error> {
        let list = || network.handle().address().get().execute();
        Ok(Self(network.list(list, "read the addresses").await?))
    }

    /// Those entries of an address that stand on the interface; more than one only if their prefixes differ.
    fn on(&self, index: u32, address: IpAddr) -> impl Iterator<Item = &AddressMessage> {
        self.0.iter().filter(move |entry| entry.header.index == index && local(entry) == Some(address))
    }

    pub(super) fn has(&self, index: u32, address: IpAddr) -> bool {
        self.on(index, address).next().is_some()
    }
}

/// Puts the address on the interface of that index. What stands there otherwise is replaced if it `is_own`: the
/// network of somebody else's may be the way to others.
pub(super) async fn add(
    network: &Network,
    present: &Present,
    index: u32,
    wanted: &GroupAddress,
    is_own: bool,
) -> Result<Before, Error> {
    let mut before = Before::Absent;
    for entry in present.on(index, wanted.address) {
        let label = label(entry).filter(|label| *label != wanted.interface);
        if entry.header.prefix_len == wanted.prefix && label == wanted_label(wanted) {
            return Ok(Before::Same);
        }
        before = Before::Other { prefix: entry.header.prefix_len, label: label.map(str::to_owned) };
    }
    if before != Before::Absent {
        if !is_own {
            return Ok(before);
        }
        remove(network, present, index, wanted).await?;
    }
    let mut request = network.handle().address().add(index, wanted.address, wanted.prefix);
    let message = request.message_mut();
    if wanted.address.is_ipv6() {
        network::make_virtual(message);
    } else if let Some(label) = wanted_label(wanted) {
        message.attributes.push(AddressAttribute::Label(label.to_owned()));
    }
    match request.execute().await {
        // Somebody was faster than our reading.
        Err(error) if is(&error, libc::EEXIST) => Ok(Before::Same),
        outcome => {
            outcome.map_err(request_failed(format!("add {} to {}", wanted.address, wanted.interface)))?;
            Ok(before)
        }
    }
}

/// Takes the address off the interface of that index, with whatever prefix it stands there. Whether it did.
pub(super) async fn remove(
    network: &Network,
    present: &Present,
    index: u32,
    unwanted: &GroupAddress,
) -> Result<bool, Error> {
    let mut was_there = false;
    for entry in present.on(index, unwanted.address) {
        match network.handle().address().del(entry.clone()).execute().await {
            Err(error) if is(&error, libc::EADDRNOTAVAIL) || is(&error, libc::ENODEV) => {}
            outcome => {
                let what = format!("remove {} from {}", unwanted.address, unwanted.interface);
                outcome.map_err(request_failed(what))?;
                was_there = true;
            }
        }
    }
    Ok(was_there)
}

fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(error) if error.raw_code() == -errno)
}

/// The host's end: on a point-to-point link the other attribute is the far end's.
fn local(entry: &AddressMessage) -> Option<IpAddr> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| entry.attributes.iter().find_map(pick);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// The interface's name is what the kernel uses by itself; IPv6 has no labels.
fn wanted_label(wanted: &GroupAddress) -> Option<&str> {
    wanted.label.as_deref().filter(|label| wanted.address.is_ipv4() && *label != wanted.interface)
}

fn label(entry: &AddressMessage) -> Option<&str> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Label(label) => Some(label.as_str()),
        _ => None,
    })
}
