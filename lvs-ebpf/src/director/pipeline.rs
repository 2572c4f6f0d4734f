//! The way of a packet through the house: parse, look up, steer, forward.

use lvs_common::cause::Cause;
use lvs_common::flow::FlowKey;
use lvs_common::service::{Service, protocol, source_role};
use lvs_common::settings::flags;
use lvs_ebpf::packet::Packet;
use lvs_ebpf::parse::{self, Fragment, Network, Transport};

use crate::steer::{self, Sign};
use crate::{Action, answer, forward, fragment, icmp, lookup};

#[inline(always)]
pub(crate) fn process(packet: &Packet) -> Result<Action, Cause> {
    let network = parse::network(packet).ok_or(Cause::NotIp)?;
    if network.malformed {
        return Err(refuse_to_parse(&network, Cause::Malformed));
    }
    if network.too_many_headers {
        return Err(refuse_to_parse(&network, Cause::TooManyHeaders));
    }
    if network.fragment == Fragment::Later {
        return fragment::follow(packet, &network);
    }
    match network.protocol {
        protocol::TCP | protocol::UDP => flow(packet, &network),
        protocol::ICMP | protocol::ICMPV6 => icmp::process(packet, &network),
        _ => Err(Cause::NoService),
    }
}

/// A packet that cannot be parsed is the kernel's, unless it is for a service: there the kernel would
/// answer for the real server, and reset a live connection.
#[inline(always)]
fn refuse_to_parse(network: &Network, cause: Cause) -> Cause {
    if lookup::is_vip(&network.destination) { cause } else { Cause::NoService }
}

#[inline(never)]
fn flow(packet: &Packet, network: &Network) -> Result<Action, Cause> {
    let Ok(transport) = parse::transport(packet, network) else {
        return Err(refuse_to_parse(network, Cause::Malformed));
    };
    let key = FlowKey::new(
        network.source,
        transport.source_port,
        network.destination,
        transport.destination_port,
        network.protocol,
    );
    match lookup::service(&network.destination, transport.destination_port, network.protocol) {
        Some(service) => serve(packet, network, &transport, &key, service),
        None => reply(packet, network, &key),
    }
}

/// A client's packet to a service.
#[inline(always)]
fn serve(
    packet: &Packet,
    network: &Network,
    transport: &Transport,
    key: &FlowKey,
    service: &Service,
) -> Result<Action, Cause> {
    let sign = Sign::of(network.protocol, transport.tcp_flags);
    let steered = match steer::steer(key, service, sign) {
        Err(Cause::NoDestination) => return Err(answer::port_unreachable(packet, network)),
        other => other?,
    };
    if network.fragment == Fragment::First {
        fragment::remember(network, transport, steered.index, steered.destination.generation);
    }
    forward::inbound(packet, network, key.destination_port, &steered)
}

/// A packet for no service; it may be a real server's reply.
#[inline(never)]
fn reply(packet: &Packet, network: &Network, key: &FlowKey) -> Result<Action, Cause> {
    if lookup::settings()?.flags & flags::SOURCES == 0 {
        return Err(Cause::NoService);
    }
    match lookup::source(&key.source, key.source_port, key.protocol) {
        Some(source) if source.role == source_role::NAT_SERVER => {
            forward::nat::outbound(packet, network, key)
        }
        Some(_) => forward::route(packet, network),
        None => Err(Cause::NoService),
    }
}
