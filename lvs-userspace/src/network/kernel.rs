//! The netlink socket: questions to the kernel, and the messages it sends of its own accord.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, CacheInfo,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use rtnetlink::sys::{AsyncSocket as _, SocketAddr};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use tokio::sync::Mutex;
use tracing::debug;

use super::resolution::{Event, Link, Neighbour, NeighbourKey, Route, resolve};
use super::{Error, NextHop, message};

/// What can change the way to a destination.
const WATCHED: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// Bytes of the kernel's messages that may wait: some five thousand.
const MESSAGE_BUFFER: usize = 4 << 20;

/// A connection to the network namespace of the thread that called [`Network::connect`].
#[derive(Clone, Debug)]
pub struct Network {
    handle: Handle,
    /// Held while a list is read.
    lists: Arc<Mutex<()>>,
}

/// The kernel's messages about links, addresses, routes, rules and neighbours, in order.
pub struct Events(Box<dyn Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)> + Send + Unpin>);

impl Events {
    /// `None` when the connection is gone.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            let (message, _) = self.0.next().await?;
            if let Some(event) = message::event(&message) {
                return Some(event);
            }
        }
    }

    /// Returns after something has changed where packets go, neighbours aside; `None` when the connection
    /// is gone. A burst counts as one change.
    pub(crate) async fn routing_changed(&mut self) -> Option<()> {
        while let Event::Neighbour(..) = self.next().await? {}
        while self.ready().is_some() {}
        Some(())
    }

    /// The next one if it has arrived already.
    pub(super) fn ready(&mut self) -> Option<Event> {
        self.next().now_or_never().flatten()
    }
}

/// Tells when interfaces or their addresses have changed.
pub(crate) struct Changes(Events);

impl Changes {
    /// Returns after a change, or several of them that came at once; `None` when the connection is gone.
    pub(crate) async fn next(&mut self) -> Option<()> {
        self.0.0.next().await?;
        while self.0.0.next().now_or_never().flatten().is_some() {}
        Some(())
    }
}

impl Network {
    /// Opens one socket for questions and one for the kernel's messages, and starts the tasks that drive
    /// them. Must be called within a tokio runtime.
    ///
    /// Two, since a burst of messages can fill a socket's buffer. The kernel then drops what follows and
    /// says so, which the resolver makes up for; an answer dropped like that would be waited for for ever.
    pub fn connect() -> Result<(Self, Events), Error> {
        let (questions, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        let (mut watch, _, messages) = rtnetlink::new_multicast_connection(&WATCHED).map_err(Error::Open)?;
        if let Err(errno) = setsockopt(watch.socket_mut().socket_mut(), RcvBufForce, &MESSAGE_BUFFER) {
            debug!(%errno, "the buffer for the kernel's messages stays small");
        }
        tokio::spawn(questions);
        tokio::spawn(watch);
        Ok((Self { handle, lists: Arc::default() }, Events(Box::new(messages))))
    }

    /// Watches interfaces and their addresses, in the namespace of the calling thread. Starts the task that drives
    /// the socket; must be called within a tokio runtime.
    pub(crate) fn watch_interfaces() -> Result<Changes, Error> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (watch, _, messages) = rtnetlink::new_multicast_connection(&groups).map_err(Error::Open)?;
        tokio::spawn(watch);
        Ok(Changes(Events(Box::new(messages))))
    }

    /// The way a packet to `destination` takes right now. Its MAC is `None` if the kernel has not resolved
    /// it; nothing is asked for (see [`super::Resolver`]).
    pub async fn next_hop(&self, destination: IpAddr) -> Result<NextHop, Error> {
        let route = self.route(destination).await?;
        let (mut link, mut mac) = (None, None);
        if let Route::Via { interface, gateway, .. } = &route {
            link = self.link(*interface).await?;
            let key = NeighbourKey { interface: *interface, address: gateway.unwrap_or(destination) };
            mac = self.neighbour(key).await?.and_then(|neighbour| neighbour.mac);
        }
        resolve(&route, link.as_ref(), mac).map_err(|reason| Error::Unreachable { destination, reason })
    }

    /// Has the kernel resolve `address`, or the gateway on the way to it: once, as if it had sent a packet
    /// there itself. `interface` 0 leaves the way to the routing table. An address that no route leads to
    /// by a neighbour is left alone.
    pub async fn resolve(&self, address: IpAddr, interface: u32) -> Result<(), Error> {
        if interface != 0 {
            return self.ask(NeighbourKey { interface, address }).await;
        }
        match self.route(address).await? {
            Route::Via { interface, gateway, .. } => {
                self.ask(NeighbourKey { interface, address: gateway.unwrap_or(address) }).await
            }
            Route::Local | Route::None => Ok(()),
        }
    }

    /// The index of an interface.
    pub async fn interface_index(&self, name: &str) -> Result<u32, Error> {
        let mut answer = Box::pin(self.handle.link().get().match_name(name).execute());
        match answer.try_next().await {
            Ok(Some(message)) => Ok(message.header.index),
            Ok(None) => Err(Error::NoInterface { name: name.to_owned() }),
            // A name longer than the kernel's limit is an invalid attribute to it.
            Err(error) => match io_error(error) {
                error if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ERANGE | libc::EINVAL)) => {
                    Err(Error::NoInterface { name: name.to_owned() })
                }
                source => Err(Error::Request { action: format!("find interface {name}"), source }),
            },
        }
    }

    /// The name of an interface.
    pub(crate) async fn interface_name(&self, index: u32) -> Result<String, Error> {
        let link = self.link(index).await?;
        link.map(|link| link.name).ok_or_else(|| Error::NoInterface { name: format!("with index {index}") })
    }

    /// MTUs in bytes of the interfaces that have a MAC, by index.
    pub(crate) async fn interface_mtus(&self) -> Result<BTreeMap<u32, u32>, Error> {
        let links = self.links().await?;
        Ok(links.iter().filter(|link| link.mac.is_some()).map(|link| (link.index, link.mtu)).collect())
    }

    /// For requests of other modules of the agent.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) async fn route(&self, destination: IpAddr) -> Result<Route, Error> {
        let request = match destination {
            IpAddr::V4(v4) => {
                RouteMessageBuilder::<std::net::Ipv4Addr>::new().destination_prefix(v4, 32).build()
            }
            IpAddr::V6(v6) => {
                RouteMessageBuilder::<std::net::Ipv6Addr>::new().destination_prefix(v6, 128).build()
            }
        };
        let mut answer = Box::pin(self.handle.route().get(request).execute());
        match answer.try_next().await {
            Ok(Some(message)) => Ok(message::route(&message)),
            // "Network is unreachable" and its like: an answer, not a failure.
            Ok(None) | Err(rtnetlink::Error::NetlinkError(_)) => Ok(Route::None),
            Err(error) => Err(request_failed(format!("look up the route to {destination}"))(error)),
        }
    }

    async fn link(&self, index: u32) -> Result<Option<Link>, Error> {
        let mut answer = Box::pin(self.handle.link().get().match_index(index).execute());
        match answer.try_next().await {
            Ok(message) => Ok(message.as_ref().map(message::link)),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
            Err(error) => Err(request_failed(format!("read interface {index}"))(error)),
        }
    }

    async fn neighbour(&self, key: NeighbourKey) -> Result<Option<Neighbour>, Error> {
        let request = RouteNetlinkMessage::GetNeighbour(neighbour_message(key));
        match self.request(request, NLM_F_REQUEST).await {
            Ok(Some(RouteNetlinkMessage::NewNeighbour(answer))) => {
                Ok(message::neighbour(&answer).map(|(_, neighbour)| neighbour))
            }
            Ok(_) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(Error::Request { action: format!("read neighbour {}", key.address), source }),
        }
    }

    /// All of a list, which the kernel tells in pieces. One list at a time: while it tells one, it refuses another
    /// to the same socket as busy.
    pub(crate) async fn list<T, S: Stream<Item = Result<T, rtnetlink::Error>>>(
        &self,
        ask: impl FnOnce() -> S,
        action: &str,
    ) -> Result<Vec<T>, Error> {
        let _alone = self.lists.lock().await;
        ask().try_collect().await.map_err(request_failed(action))
    }

    pub(crate) async fn links(&self) -> Result<Vec<Link>, Error> {
        let messages = self.list(|| self.handle.link().get().execute(), "read the interfaces").await?;
        Ok(messages.iter().map(message::link).collect())
    }

    pub(super) async fn neighbours(&self) -> Result<Vec<(NeighbourKey, Neighbour)>, Error> {
        let messages = self.list(|| self.handle.neighbours().get().execute(), "read the neighbours").await?;
        Ok(messages.iter().filter_map(message::neighbour).collect())
    }

    /// Has the kernel resolve or confirm a neighbour, as if it had sent a packet there itself (NTF_USE).
    ///
    /// Not NTF_EXT_MANAGED, with which Linux 5.16 and later would do so for ever without being asked: such
    /// an entry outlives the agent, and older kernels ignore the flag, so the question would be needed all
    /// the same.
    pub(super) async fn ask(&self, key: NeighbourKey) -> Result<(), Error> {
        let mut message = neighbour_message(key);
        message.header.state = NeighbourState::None;
        message.header.flags = NeighbourFlags::Use;
        let request = RouteNetlinkMessage::NewNeighbour(message);
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        match self.request(request, flags).await {
            Ok(_) => Ok(()),
            Err(source) => {
                Err(Error::Request { action: format!("resolve neighbour {}", key.address), source })
            }
        }
    }

    /// Sends one request and takes the first answer, if there is one beside the acknowledgement.
    async fn request(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Option<RouteNetlinkMessage>, io::Error> {
        let mut request = NetlinkMessage::from(request);
        request.header.flags = flags;
        let mut answers = self.handle.clone().request(request).map_err(io_error)?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => return Ok(Some(inner)),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => {}
            }
        }
        Ok(None)
    }
}

fn neighbour_message(key: NeighbourKey) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    let (family, address) = match key.address {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    message.header.family = family;
    message.header.ifindex = key.interface;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}

/// Of an IPv6 address that several machines have.
pub(crate) fn make_virtual(address: &mut AddressMessage) {
    // No duplicate address detection: it would find the others.
    address.header.flags |= AddressHeaderFlags::Nodad;
    address.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    // Deprecated at once: taken by services that answer from it, never for connections of the machine's own.
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_preferred = 0;
    lifetimes.ifa_valid = u32::MAX;
    address.attributes.push(AddressAttribute::CacheInfo(lifetimes));
}

/// The errno behind rtnetlink's error, where there is one.
fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io(),
        error => io::Error::other(error),
    }
}

/// Names what was asked for in the error.
pub(crate) fn request_failed(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Error {
    let action = action.into();
    move |error| Error::Request { action, source: io_error(error) }
}
