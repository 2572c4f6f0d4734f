//! Network address translation, in both directions.

use lvs_common::cause::Cause;
use lvs_common::destination::Destination;
use lvs_common::flow::FlowKey;
use lvs_common::service::protocol;
use lvs_common::tcp_state::{self, Seen, state};
use lvs_ebpf::packet::Bytes;
use lvs_ebpf::parse::{Fragment, Network};

use crate::connection::Found;
use crate::next_hop::NextHop;
use crate::rewrite::{self, Side};
use crate::{fragment, helpers, lease, lookup, stats};

/// Client -> real server: the destination becomes the real server.
#[inline(always)]
pub(super) fn inbound(
    packet: &impl Bytes,
    network: &Network,
    port: u16,
    destination: &Destination,
    next_hop: &NextHop,
) -> Result<u32, Cause> {
    super::check_size(packet, network, next_hop.mtu)?;
    super::check_hops(packet, network)?;
    check_checksum(packet, network)?;
    let port = if destination.port == port { 0 } else { destination.port };
    rewrite::endpoint(packet, network, Side::Destination, &destination.address, port)?;
    rewrite::decrement_hops(packet, network).map_err(|_| Cause::Malformed)?;
    next_hop.send(packet)
}

/// Real server -> client: the source becomes what the client dialled. `key` is the packet's own
/// direction.
#[inline(always)]
pub(crate) fn outbound(
    packet: &impl Bytes,
    network: &Network,
    key: &FlowKey,
    found: &Found,
) -> Result<u32, Cause> {
    let destination = lookup::destination(found.destination).ok_or(Cause::Inconsistent)?;
    lease::check(destination.lease)?;
    let next_hop = super::to_client(packet, network)?;
    check_checksum(packet, network)?;
    if network.fragment != Fragment::Later {
        let new = if network.protocol == protocol::TCP {
            let [_, flags]: [u8; 2] = packet.read(network.l4 + 12).map_err(|_| Cause::Malformed)?;
            tcp_state::next(found.state(), flags, Seen::FromServer)
        } else {
            state::UDP
        };
        found.touch(new, helpers::now());
    }
    if network.fragment == Fragment::First {
        fragment::remember_reply(network, key);
    }
    let port = if found.virtual_port() == key.source_port { 0 } else { found.virtual_port() };
    rewrite::endpoint(packet, network, Side::Source, &destination.source_address, port)?;
    rewrite::decrement_hops(packet, network).map_err(|_| Cause::Malformed)?;
    stats::outbound(found.destination, network.length);
    next_hop.send(packet)
}

#[inline(always)]
fn check_checksum(packet: &impl Bytes, network: &Network) -> Result<(), Cause> {
    match rewrite::has_checksum(packet, network) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Cause::ZeroChecksum),
        Err(_) => Err(Cause::Malformed),
    }
}
