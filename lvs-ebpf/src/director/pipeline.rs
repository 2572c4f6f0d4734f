//! The way of a packet through the house: parse, look up, steer, forward.

use lvs_common::cause::Cause;
use lvs_common::destination::forward;
use lvs_common::flow::FlowKey;
use lvs_common::service::protocol;
use lvs_ebpf::packet::Packet;
use lvs_ebpf::parse::{self, Fragment, Network, Transport};

use crate::scratch::{Scratch, scratch};
use crate::steer::{Sign, Steered};
use crate::{fragment, icmp, lookup, stages};

/// Sends the packet on; answers the interface it leaves by.
#[inline(always)]
pub(crate) fn process(packet: &Packet) -> Result<u32, Cause> {
    let scratch = scratch()?;
    if !parse::network(packet, &mut scratch.network) {
        return Err(Cause::NotIp);
    }
    let network = &scratch.network;
    if network.malformed {
        return Err(refuse_to_parse(network, Cause::Malformed));
    }
    if network.too_many_headers {
        return Err(refuse_to_parse(network, Cause::TooManyHeaders));
    }
    if network.fragment == Fragment::Later {
        return later_fragment(packet, scratch);
    }
    match network.protocol {
        protocol::TCP | protocol::UDP => flow(packet, scratch),
        protocol::ICMP | protocol::ICMPV6 => message(packet),
        _ => Err(Cause::NoService),
    }
}

/// A packet that cannot be parsed is the kernel's, unless it is for a service: there the kernel would
/// answer for the real server, and reset a live connection.
#[inline(always)]
fn refuse_to_parse(network: &Network, cause: Cause) -> Cause {
    if lookup::is_vip(&network.destination) { cause } else { Cause::NoService }
}

#[inline(always)]
fn flow(packet: &Packet, scratch: &mut Scratch) -> Result<u32, Cause> {
    let network = &scratch.network;
    let Ok(transport) = parse::transport(packet, network) else {
        return Err(refuse_to_parse(network, Cause::Malformed));
    };
    scratch.key = FlowKey::new(
        network.source,
        transport.source_port,
        network.destination,
        transport.destination_port,
        network.protocol,
    );
    match lookup::service(
        &mut scratch.endpoint,
        &network.destination,
        transport.destination_port,
        network.protocol,
    ) {
        Some(service) => {
            scratch.service = *service;
            serve(packet, network, &transport)
        }
        None => stages::reply(packet),
    }
}

/// A client's packet to a service.
#[inline(always)]
fn serve(packet: &Packet, network: &Network, transport: &Transport) -> Result<u32, Cause> {
    let sign = Sign::of(network.protocol, transport.tcp_flags);
    let steered = stages::steer(packet, sign.to_bits())?;
    if network.fragment == Fragment::First {
        fragment::remember_request(network, transport, Steered::from_bits(steered).index)?;
    }
    stages::inbound(packet, steered, transport.destination_port as u32)
}

/// A fragment that follows its first.
#[inline(always)]
fn later_fragment(packet: &Packet, scratch: &Scratch) -> Result<u32, Cause> {
    match stages::fragment(packet)? {
        fragment::REPLY => stages::reply(packet),
        steered => stages::inbound(packet, steered, scratch.key.destination_port as u32),
    }
}

/// An ICMP message; an error goes where the packets of its flow go.
#[inline(always)]
fn message(packet: &Packet) -> Result<u32, Cause> {
    if stages::icmp(packet)? == icmp::about::REPLY {
        return stages::error_to_client(packet);
    }
    let steered = stages::steer(packet, Sign::Related.to_bits()).map_err(|_| Cause::IcmpUnrelated)?;
    let index = Steered::from_bits(steered).index;
    let destination = lookup::destination(index).ok_or(Cause::Inconsistent)?;
    if destination.forward == forward::NAT {
        return stages::error_to_real_server(packet, index);
    }
    stages::inbound(packet, steered, 0)
}
