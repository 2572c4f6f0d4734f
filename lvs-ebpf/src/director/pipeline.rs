//! The way of a packet through the house: parse, look up, steer, forward.
//!
//! Nearly every packet is plain: no tag, no options, no fragment, TCP or UDP. It goes through the house in
//! registers, its headers compared with the frame's end once (a [`Window`](lvs_ebpf::packet::Window)). Any other goes the same way, through
//! the same functions, with its headers anywhere ([`Packet`]).

use lvs_common::cause::Cause;
use lvs_common::destination::forward::NAT;
use lvs_common::flow::FlowKey;
use lvs_common::service::protocol;
use lvs_common::settings::flags;
use lvs_ebpf::packet::{Bytes, Packet};
use lvs_ebpf::parse::{self, Fragment, Network, PLAIN_V4, PLAIN_V6, Transport, ether_type};
use network_types::eth::EthHdr;

use core::mem::offset_of;

use crate::next_hop::NextHop;
use crate::scratch::{Scratch, scratch};
use crate::steer::{self, Sign, Steered};
use crate::{answer, forward, fragment, icmp, lease, lookup, reply, stages};

/// Sends the packet on; answers the interface it leaves by.
#[inline(always)]
pub(crate) fn process(packet: &Packet) -> Result<u32, Cause> {
    if let Ok(window) = packet.window::<PLAIN_V4>() {
        match window.read(offset_of!(EthHdr, ether_type)) {
            Ok(ether_type::IPV4) => {
                if let Some((network, transport)) = parse::plain_v4(&window) {
                    return plain(&window, &network, &transport);
                }
            }
            Ok(ether_type::IPV6) => {
                if let Ok(window) = packet.window::<PLAIN_V6>()
                    && let Some((network, transport)) = parse::plain_v6(&window)
                {
                    return plain(&window, &network, &transport);
                }
            }
            _ => {}
        }
    }
    uncommon(packet)
}

/// A packet that is not plain, or has a mistake in it.
#[inline(always)]
fn uncommon(packet: &Packet) -> Result<u32, Cause> {
    let scratch = scratch()?;
    let is_ip = parse::network(packet, &mut scratch.network);
    if lease::is_needed()? {
        stages::fence(packet, is_ip as u32)?;
    }
    if !is_ip {
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
        return later_fragment(packet);
    }
    let first = network.fragment == Fragment::First;
    let fate = match network.protocol {
        protocol::TCP | protocol::UDP => {
            let Ok(transport) = parse::transport(packet, network) else {
                return Err(refuse_to_parse(network, Cause::Malformed));
            };
            uncommon_flow(packet, scratch, &transport)
        }
        protocol::ICMP | protocol::ICMPV6 => message(packet),
        _ => Err(Cause::NoService),
    };
    if first && fate == Err(Cause::NoService) {
        fragment::remember_passed(&scratch.network);
    }
    fate
}

/// A packet that cannot be parsed is the kernel's, unless it is for a service: there the kernel would
/// answer for the real server, and reset a live connection.
#[inline(always)]
fn refuse_to_parse(network: &Network, cause: Cause) -> Cause {
    if lookup::is_vip(&network.destination) { cause } else { Cause::NoService }
}

#[inline(always)]
fn key_of(network: &Network, transport: &Transport) -> FlowKey {
    FlowKey::new(
        network.source,
        transport.source_port,
        network.destination,
        transport.destination_port,
        network.protocol,
    )
}

/// A plain packet, in registers.
#[inline(always)]
fn plain<B: Bytes>(bytes: &B, network: &Network, transport: &Transport) -> Result<u32, Cause> {
    let fate = flow(bytes, network, transport);
    if let Err(cause) = fate
        && answer::is_due(cause)
    {
        // Its sender is to be told.
        scratch()?.network = *network;
    }
    fate
}

#[inline(always)]
fn flow<B: Bytes>(bytes: &B, network: &Network, transport: &Transport) -> Result<u32, Cause> {
    let key = key_of(network, transport);
    let Some(service) =
        lookup::service(network.destination.halves(), transport.destination_port, network.protocol)
    else {
        return no_service(bytes, network, &key);
    };
    let sign = Sign::of(network.protocol, transport.tcp_flags);
    let steered = match steer::at_once(&key, service, sign) {
        Some(steered) => steered,
        None => {
            spill(network, &key)?.service = *service;
            steer_any(bytes.packet(), sign)?
        }
    };
    let port = transport.destination_port;
    let destination = lookup::destination(steered.index).ok_or(Cause::Inconsistent)?;
    let Some(next_hop) = NextHop::prepared(bytes.packet(), destination) else {
        spill(network, &key)?;
        return stages::inbound(bytes.packet(), steered.to_bits(), port as u32);
    };
    let sent = forward::by_method(bytes, network, port, destination, &next_hop);
    forward::account(sent, network, steered)
}

/// What the stages want to know of the packet.
#[inline(always)]
fn spill(network: &Network, key: &FlowKey) -> Result<&'static mut Scratch, Cause> {
    let scratch = scratch()?;
    scratch.network = *network;
    scratch.key = *key;
    Ok(scratch)
}

#[inline(always)]
fn no_service<B: Bytes>(bytes: &B, network: &Network, key: &FlowKey) -> Result<u32, Cause> {
    if lookup::settings()?.flags & (reply::POSSIBLE | flags::LEASES) == 0 {
        return Err(Cause::NoService);
    }
    spill(network, key)?;
    if lease::is_needed()? {
        stages::fence(bytes.packet(), 1)?;
    }
    stages::reply(bytes.packet())
}

#[inline(always)]
fn uncommon_flow(packet: &Packet, scratch: &mut Scratch, transport: &Transport) -> Result<u32, Cause> {
    let network = &scratch.network;
    scratch.key = key_of(network, transport);
    match lookup::service(network.destination.halves(), transport.destination_port, network.protocol) {
        Some(service) => {
            scratch.service = *service;
            serve(packet, network, transport)
        }
        None => stages::reply(packet),
    }
}

/// A client's packet to a service.
#[inline(always)]
fn serve(packet: &Packet, network: &Network, transport: &Transport) -> Result<u32, Cause> {
    let sign = Sign::of(network.protocol, transport.tcp_flags);
    let steered = steer_any(packet, sign)?;
    if network.fragment == Fragment::First {
        fragment::remember_request(network, transport, steered.index)?;
    }
    stages::inbound(packet, steered.to_bits(), transport.destination_port as u32)
}

/// The destination of the flow in the scratch value, which is remembered where it has to be.
#[inline(always)]
fn steer_any(packet: &Packet, sign: Sign) -> Result<Steered, Cause> {
    let steered = Steered::from_bits(stages::steer(packet, sign.to_bits())?);
    if steered.admit {
        stages::admit(packet)?;
    }
    Ok(steered)
}

/// A fragment that follows its first.
#[inline(always)]
fn later_fragment(packet: &Packet) -> Result<u32, Cause> {
    match stages::fragment(packet)? {
        fragment::REPLY => stages::reply(packet),
        // The stage has filled the key in.
        steered => stages::inbound(packet, steered, scratch()?.key.destination_port as u32),
    }
}

/// An ICMP message; an error goes where the packets of its flow go.
#[inline(always)]
fn message(packet: &Packet) -> Result<u32, Cause> {
    if stages::icmp(packet)? == icmp::about::REPLY {
        return stages::error_to_client(packet);
    }
    let steered = stages::steer(packet, Sign::RELATED.to_bits()).map_err(|_| Cause::IcmpUnrelated)?;
    let index = Steered::from_bits(steered).index;
    let destination = lookup::destination(index).ok_or(Cause::Inconsistent)?;
    if destination.forward == NAT {
        return stages::error_to_real_server(packet, index);
    }
    stages::inbound(packet, steered, 0)
}
