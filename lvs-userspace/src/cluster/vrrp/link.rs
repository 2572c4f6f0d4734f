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
    /// What advertisements are sent from, as one that is none of the virtual addresses: the first one for IPv4, which
    /// the kernel calls primary; a link-local one for IPv6 (RFC 9568 section 5.1.2.1).
    pub(super) fn source(&self, family: IpAddr, is_virtual: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let fits = |address: &&IpAddr| match (**address, family) {
            (IpAddr::V4(_), IpAddr::V4(_)) => true,
            (IpAddr::V6(address), IpAddr::V6(_)) => address.is_unicast_link_local(),
            _ => false,
        };
        self.addresses.iter().filter(fits).find(|address| !is_virtual(**address)).copied()
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
