//! The other directors, and where they are reached with what is too much for beats.

use std::net::SocketAddr;

/// Another director, by its place among them: there are seven at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u8);

impl Peer {
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// So many of them.
    pub fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..u8::MAX).take(count).map(Self)
    }
}

/// By peer: the first of its addresses is sent to, and all of them are its. Without one it cannot be told anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(pub Vec<Vec<SocketAddr>>);

impl Addresses {
    /// Where to send to.
    pub fn to(&self, peer: Peer) -> Option<SocketAddr> {
        self.0.get(peer.index())?.first().copied()
    }

    /// Whose socket this is.
    pub fn of(&self, socket: SocketAddr) -> Option<Peer> {
        self.find(|own| own.port() == socket.port() && is_same_host(*own, socket))
    }

    /// Whose machine has this socket, whatever its port.
    pub fn host(&self, socket: SocketAddr) -> Option<Peer> {
        self.find(|own| is_same_host(*own, socket))
    }

    fn find(&self, is_it: impl Fn(&SocketAddr) -> bool) -> Option<Peer> {
        let mut peers = Peer::all(self.0.len()).zip(&self.0);
        peers.find(|(_, addresses)| addresses.iter().any(&is_it)).map(|(peer, _)| peer)
    }
}

/// Addresses of a link (fe80::/10) mean another machine on each interface.
fn is_same_host(one: SocketAddr, other: SocketAddr) -> bool {
    let scope = |address| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    one.ip() == other.ip() && scope(one) == scope(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_director_is_known_by_all_its_addresses() {
        let sockets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let addresses = Addresses(vec![
            sockets(&["10.0.0.1:695", "10.1.0.1:695"]),
            vec![],
            sockets(&["[fe80::1%3]:695"]),
        ]);
        let of = |text: &str| addresses.of(text.parse().unwrap());
        assert_eq!((of("10.1.0.1:695"), of("[fe80::1%3]:695")), (Some(Peer(0)), Some(Peer(2))));
        assert_eq!((of("10.1.0.1:694"), of("[fe80::1%4]:695"), of("10.0.0.9:695")), (None, None, None));
        assert_eq!(addresses.host("10.0.0.1:40000".parse().unwrap()), Some(Peer(0)));
        assert_eq!(addresses.to(Peer(0)), Some("10.0.0.1:695".parse().unwrap()));
        assert_eq!((addresses.to(Peer(1)), addresses.to(Peer(3))), (None, None));
    }
}
