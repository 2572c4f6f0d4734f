//! The interfaces as the kernel has them, asked and watched without a runtime.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    /// Switched on, with a carrier.
    pub(super) is_up: bool,
    pub(super) addresses: Vec<IpAddr>,
}

impl Link {
    /// What advertisements are sent from, as one that no virtual router moves: `present`, as long as it is there, since
    /// Linux puts the newest IPv6 address first; else the first one for IPv4, which the kernel calls primary, and a
    /// link-local one for IPv6 (RFC 9568 section 5.1.2.1).
    pub(super) fn source(
        &self,
        family: IpAddr,
        present: Option<IpAddr>,
        is_virtual: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        let fits = |address: &IpAddr| match (address, family) {
            (IpAddr::V4(_), IpAddr::V4(_)) => !is_virtual(*address),
            (IpAddr::V6(v6), IpAddr::V6(_)) => v6.is_unicast_link_local() && !is_virtual(*address),
            _ => false,
        };
        let mut fitting = self.addresses.iter().copied().filter(fits);
        present
            .filter(|present| fitting.clone().any(|address| address == *present))
            .or_else(|| fitting.next())
    }
}

/// All interfaces of the thread's network namespace, by name.
pub(super) fn read() -> io::Result<BTreeMap<String, Link>> {
    let mut links: BTreeMap<String, Link> = BTreeMap::new();
    for entry in getifaddrs()? {
        // `eth0:label` is an address of eth0.
        let name = entry.interface_name.split(':').next().unwrap_or_default();
        let link = links.entry(name.to_owned()).or_default();
        let Some(address) = entry.address else { continue };
        if let Some(hardware) = address.as_link_addr() {
            link.index = u32::try_from(hardware.ifindex()).unwrap_or_default();
            link.is_up = entry.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
        } else if let Some(v4) = address.as_sockaddr_in() {
            link.addresses.push(v4.ip().into());
        } else if let Some(v6) = address.as_sockaddr_in6() {
            link.addresses.push(v6.ip().into());
        }
    }
    Ok(links)
}

/// Messages read before something else gets its turn.
const AT_ONCE: usize = 1_000;

/// Readable when an interface or an address has changed.
pub(super) struct Changes(Socket);

impl Changes {
    pub(super) fn watch() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let mask = groups.iter().fold(0, |mask, group| mask | 1 << (*group as u32 - 1));
        socket.bind(&SocketAddr::new(0, mask))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Takes those that were told of, and whether there was one.
    pub(super) fn take(&self) -> bool {
        (0..AT_ONCE).take_while(|_| self.take_one()).count() > 0
    }

    /// An overrun is an error once, and a change as well.
    fn take_one(&self) -> bool {
        match self.0.recv_from_full() {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_stays_and_is_never_an_address_that_moves() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let link = |addresses: &[&str]| Link {
            addresses: addresses.iter().map(|address| ip(address)).collect(),
            ..Link::default()
        };
        let is_virtual = |address| [ip("fe80::51"), ip("fe80::52"), ip("10.0.0.9")].contains(&address);
        let (v4, v6) = (ip("0.0.0.0"), ip("::"));
        // Two virtual routers have theirs on the link: neither sends from the other's.
        let now = link(&["fe80::52", "fe80::51", "2001:db8::1", "fe80::1", "10.0.0.9", "10.0.0.1"]);
        for present in [None, Some(ip("fe80::52")), Some(ip("fe80::77")), Some(ip("10.0.0.1"))] {
            assert_eq!(now.source(v6, present, is_virtual), Some(ip("fe80::1")), "{present:?}");
        }
        assert_eq!(now.source(v4, None, is_virtual), Some(ip("10.0.0.1")));
        // Somebody adds an address of his own, which the kernel puts first.
        let later = link(&["fe80::2", "fe80::1", "10.0.0.2", "10.0.0.1"]);
        assert_eq!(later.source(v6, Some(ip("fe80::1")), is_virtual), Some(ip("fe80::1")));
        assert_eq!(later.source(v6, None, is_virtual), Some(ip("fe80::2")));
        assert_eq!(later.source(v4, Some(ip("10.0.0.1")), is_virtual), Some(ip("10.0.0.1")));
        assert_eq!(link(&["fe80::51"]).source(v6, Some(ip("fe80::51")), is_virtual), None);
    }
}
