//! Network address translation, in both directions.

use lvs_common::cause::Cause;
use lvs_common::destination::Destination;
use lvs_common::flow::FlowKey;
use lvs_common::service::protocol;
use lvs_common::tcp_state::{self, Seen, state};
use lvs_ebpf::packet::Packet;
use lvs_ebpf::parse::{Fragment, Network};

use crate::rewrite::{self, Side};
use crate::{connection, fragment, helpers, next_hop, stats};

/// Client -> real server: the destination becomes the real server.
#[inline(always)]
pub(super) fn inbound(
    packet: &Packet,
    network: &Network,
    port: u16,
    destination: &Destination,
) -> Result<u32, Cause> {
    let next_hop = next_hop::to_destination(packet, &network.source, destination)?;
    super::check_size(packet, network, next_hop.mtu)?;
    super::check_hops(packet, network)?;
    check_checksum(packet, network)?;
    let port = if destination.port == port { 0 } else { destination.port };
    rewrite::endpoint(packet, network, Side::Destination, &destination.address, port)?;
    rewrite::decrement_hops(packet, network).map_err(|_| Cause::Malformed)?;
    next_hop.send(packet)
}

/// Real server -> client: the source becomes what the client dialled. `key` is the packet's own
/// direction. A packet of no connection is the server's own business, and the kernel's.
#[inline(always)]
pub(crate) fn outbound(packet: &Packet, network: &Network, key: &FlowKey) -> Result<u32, Cause> {
    let value = connection::find_return(key).ok_or(Cause::NoService)?;
    let client_key = connection::client_key(key, &value);
    let entry = connection::find(&client_key).ok_or(Cause::NoConnection)?;
    let next_hop = super::to_client(packet, network)?;
    check_checksum(packet, network)?;
    if network.fragment != Fragment::Later {
        let new = if network.protocol == protocol::TCP {
            let [_, flags]: [u8; 2] = packet.read(network.l4 + 12).map_err(|_| Cause::Malformed)?;
            tcp_state::next(entry.state(), flags, Seen::FromServer)
        } else {
            state::UDP
        };
        entry.touch(&client_key, new, helpers::now());
    }
    if network.fragment == Fragment::First {
        fragment::remember_reply(network, key);
    }
    let port = if value.virtual_port == key.source_port { 0 } else { value.virtual_port };
    rewrite::endpoint(packet, network, Side::Source, &value.virtual_address, port)?;
    rewrite::decrement_hops(packet, network).map_err(|_| Cause::Malformed)?;
    stats::outbound(entry.destination_index(), network.length);
    next_hop.send(packet)
}

#[inline(always)]
fn check_checksum(packet: &Packet, network: &Network) -> Result<(), Cause> {
    match rewrite::has_checksum(packet, network) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Cause::ZeroChecksum),
        Err(_) => Err(Cause::Malformed),
    }
}
