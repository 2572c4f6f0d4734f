//! A health probe leaves on the path of the clients' packets.
//!
//! The agent has dialled the real server's own address, so the kernel has routed the packet already, and its
//! frame has the right MACs. dr: the destination becomes the VIP. ipip: that, inside an outer header to the
//! address that was dialled. nat: the source becomes an address that the server reaches through its default
//! route only.

use core::mem::offset_of;

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{
    BPF_ANY, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_MARK_MANGLED_0,
    BPF_F_PSEUDO_HDR,
};
use aya_ebpf::helpers::generated::bpf_csum_diff;
use aya_ebpf::programs::TcContext;
use lvs_common::address::Address;
use lvs_common::destination::forward;
use lvs_common::flow::FlowKey;
use lvs_common::probe::{self, Probe, ProbeFlow, side};
use lvs_common::service::protocol;
use lvs_ebpf::parse::{ETHERNET, IPV4, IPV6, ether_type};
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::forward::ipip::{self, Outer};
use crate::helpers;
use crate::maps::{PROBE_FLOWS, PROBES};
use crate::rewrite::{Side, TCP_CHECKSUM, UDP_CHECKSUM};

/// The packet cannot take the path. It must not leave by another: the agent would take the answer for one
/// from the path.
pub(super) struct Lost;

impl From<i64> for Lost {
    fn from(_: i64) -> Self {
        Self
    }
}

/// What the packet says of itself.
struct Header {
    is_v4: bool,
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    /// Bytes of the IP packet.
    length: usize,
}

/// Puts the packet on the path if it is a probe's.
#[inline(always)]
pub(super) fn send(context: &TcContext) -> Result<(), Lost> {
    // SAFETY: a field of the context the program was called with.
    let Some(slot) = probe::slot(unsafe { (*context.skb.skb).mark }) else { return Ok(()) };
    let probe = PROBES.get_ptr_mut(&slot).ok_or(Lost)?;
    // SAFETY: plain data, which stays memory of this map while the program runs. The agent deletes it when the
    // socket is closed.
    let probe = unsafe { &mut *probe };
    let header = Header::read(context)?;
    match probe.forward {
        forward::DR | forward::IPIP => {
            let (vip, server) = (probe.target, header.destination);
            let answer = FlowKey::new(
                vip,
                header.destination_port,
                header.source,
                header.source_port,
                header.protocol,
            );
            expect(probe, &answer, &ProbeFlow { address: server, side: side::SOURCE })?;
            header.replace(context, Side::Destination, &server, &vip)?;
            header.live_one_hop(context)?;
            if probe.forward == forward::IPIP {
                header.encapsulate(context, &server)?;
            }
        }
        forward::NAT if probe.target == Address::UNSPECIFIED => {}
        forward::NAT => {
            let (own, remote) = (header.source, probe.target);
            let answer = FlowKey::new(
                header.destination,
                header.destination_port,
                remote,
                header.source_port,
                header.protocol,
            );
            expect(probe, &answer, &ProbeFlow { address: own, side: side::DESTINATION })?;
            header.replace(context, Side::Source, &own, &remote)?;
        }
        _ => return Err(Lost),
    }
    // SAFETY: in a map value.
    unsafe { helpers::add_u32(&raw mut probe.packets, 1) };
    Ok(())
}

/// Before the packet leaves, so that no answer comes too early.
#[inline(always)]
fn expect(probe: &mut Probe, answer: &FlowKey, flow: &ProbeFlow) -> Result<(), Lost> {
    // Nothing else leaves with this mark meanwhile but packets of the same connection.
    probe.answer = *answer;
    PROBE_FLOWS.insert(answer, flow, BPF_ANY as u64).map_err(|_| Lost)
}

impl Header {
    /// Only of a whole TCP or UDP packet without options.
    #[inline(always)]
    fn read(context: &TcContext) -> Result<Self, Lost> {
        let ether: u16 = load(context, offset_of!(EthHdr, ether_type))?;
        let (is_v4, source, destination, protocol, length) = match ether {
            ether_type::IPV4 => {
                let header: [u8; IPV4] = load(context, ETHERNET)?;
                let [vihl, _, length_high, length_low, _, _, flags, offset, _, protocol, ..] = header;
                // All but "don't fragment" (RFC 791 section 3.1).
                if vihl != 0x45 || flags & 0xbf | offset != 0 {
                    return Err(Lost);
                }
                let [.., a, b, c, d, e, f, g, h] = header;
                let length = u16::from_be_bytes([length_high, length_low]) as usize;
                (true, Address::from_v4([a, b, c, d]), Address::from_v4([e, f, g, h]), protocol, length)
            }
            ether_type::IPV6 => {
                let [_, _, _, _, length_high, length_low, protocol, _]: [u8; 8] = load(context, ETHERNET)?;
                let source = load(context, ETHERNET + offset_of!(Ipv6Hdr, src_addr))?;
                let destination = load(context, ETHERNET + offset_of!(Ipv6Hdr, dst_addr))?;
                let length = u16::from_be_bytes([length_high, length_low]) as usize + IPV6;
                (false, Address::from_v6(source), Address::from_v6(destination), protocol, length)
            }
            _ => return Err(Lost),
        };
        if !matches!(protocol, protocol::TCP | protocol::UDP) {
            return Err(Lost);
        }
        let [a, b, c, d]: [u8; 4] = load(context, ETHERNET + if is_v4 { IPV4 } else { IPV6 })?;
        let (source_port, destination_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Ok(Self { is_v4, source, destination, source_port, destination_port, protocol, length })
    }

    /// Puts `new` in place of the address `old`, and mends the checksums that cover it. That of TCP or UDP may
    /// be the network card's to complete; the kernel's helper knows.
    #[inline(always)]
    fn replace(&self, context: &TcContext, side: Side, old: &Address, new: &Address) -> Result<(), Lost> {
        // What both mapped addresses begin with makes no difference.
        let difference = difference(old, new);
        let (l4, pseudo) = (ETHERNET + if self.is_v4 { IPV4 } else { IPV6 }, BPF_F_PSEUDO_HDR as u64);
        let (checksum, flags) = if self.protocol == protocol::TCP {
            (l4 + TCP_CHECKSUM, pseudo)
        } else {
            (l4 + UDP_CHECKSUM, pseudo | BPF_F_MARK_MANGLED_0 as u64)
        };
        context.l4_csum_replace(checksum, 0, difference, flags)?;
        if !self.is_v4 {
            let field = match side {
                Side::Source => offset_of!(Ipv6Hdr, src_addr),
                Side::Destination => offset_of!(Ipv6Hdr, dst_addr),
            };
            return Ok(context.store(ETHERNET + field, &new.bytes, 0)?);
        }
        let field = match side {
            Side::Source => offset_of!(Ipv4Hdr, src_addr),
            Side::Destination => offset_of!(Ipv4Hdr, dst_addr),
        };
        context.l3_csum_replace(ETHERNET + offset_of!(Ipv4Hdr, check), 0, difference, 0)?;
        Ok(context.store(ETHERNET + field, &new.v4_octets(), 0)?)
    }

    /// One hop to live: a server without the VIP that routes must not send the packet back to the director,
    /// where another server would get it.
    #[inline(always)]
    fn live_one_hop(&self, context: &TcContext) -> Result<(), Lost> {
        if !self.is_v4 {
            let at = ETHERNET + offset_of!(Ipv6Hdr, next_hdr);
            let [next, _]: [u8; 2] = load(context, at)?;
            return Ok(context.store(at, &[next, 1], 0)?);
        }
        let at = ETHERNET + offset_of!(Ipv4Hdr, ttl);
        let old: [u8; 2] = load(context, at)?;
        let new = [1, old[1]];
        let (from, to) = (u16::from_ne_bytes(old) as u64, u16::from_ne_bytes(new) as u64);
        context.l3_csum_replace(ETHERNET + offset_of!(Ipv4Hdr, check), from, to, 2)?;
        Ok(context.store(at, &new, 0)?)
    }

    /// An outer header of the same family, to the address that was dialled.
    #[inline(always)]
    fn encapsulate(&self, context: &TcContext, server: &Address) -> Result<(), Lost> {
        let (room, flags) = if self.is_v4 {
            (IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)
        } else {
            (IPV6, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6)
        };
        context.adjust_room(room as i32, BPF_ADJ_ROOM_MAC, flags as u64)?;
        let outer = Outer {
            source: &self.source,
            destination: server,
            inner_length: self.length,
            protocol: if self.is_v4 { protocol::IPIP } else { protocol::IPV6 },
            tos: 0,
            ttl: ipip::TUNNEL_TTL,
            dont_fragment: true,
        };
        if self.is_v4 {
            Ok(context.store(ETHERNET, &ipip::ipv4(&outer), 0)?)
        } else {
            Ok(context.store(ETHERNET, &ipip::ipv6(&outer), 0)?)
        }
    }
}

#[inline(always)]
fn load<T>(context: &TcContext, offset: usize) -> Result<T, Lost> {
    context.load(offset).map_err(|_| Lost)
}

/// What a checksum needs to know of the change.
#[inline(always)]
fn difference(old: &Address, new: &Address) -> u64 {
    let (from, to) = (old.bytes.as_ptr().cast_mut().cast(), new.bytes.as_ptr().cast_mut().cast());
    let size = size_of::<Address>() as u32;
    // SAFETY: the helper reads so many bytes of each.
    unsafe { bpf_csum_diff(from, size, to, size, 0) as u64 }
}
