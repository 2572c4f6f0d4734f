//! Where a packet leaves: what the agent prepared, else what the kernel's routing table says.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_fib_lookup;
use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::counters::Unresolved;
use lvs_common::destination::{Destination, destination_flags};
use lvs_ebpf::packet::{Bytes, Packet};
use lvs_ebpf::parse::{ETHERNET, Network};
use network_types::eth::EthHdr;

use crate::maps::EVENTS;
use crate::scratch::scratch;

#[derive(Clone, Copy)]
pub(crate) struct NextHop {
    pub(crate) interface: u32,
    link: LinkAddresses,
    /// Largest IP packet the way takes; 0 = unknown.
    pub(crate) mtu: usize,
    /// The director is a router for this packet: it counts as a hop.
    pub(crate) routed: bool,
}

/// The next hop to a real server. `source` is the packet's source, outer where there is one.
#[inline(always)]
pub(crate) fn to_destination(
    packet: &Packet,
    source: &Address,
    destination: &Destination,
) -> Result<NextHop, Cause> {
    if let Some(next_hop) = NextHop::prepared(packet, destination) {
        return Ok(next_hop);
    }
    to_address(packet, source, &destination.address)
}

/// What `bpf_fib_lookup` takes and answers (`struct bpf_fib_lookup`), its unions by the name used here.
#[repr(C)]
pub(crate) struct FibLookup {
    family: u8,
    l4_protocol: u8,
    source_port: u16,
    destination_port: u16,
    /// In: total length, 0 = no check. Out: the MTU of the route.
    length_or_mtu: u16,
    interface: u32,
    tos_or_flow: u32,
    source: [u32; 4],
    /// Out: the gateway, if there is one.
    destination: [u32; 4],
    vlan_protocol: u16,
    vlan_tag: u16,
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
}

const _: () = assert!(size_of::<FibLookup>() == 64);

mod family {
    pub(super) const INET: u8 = 2;
    pub(super) const INET6: u8 = 10;
}

/// Answers of `bpf_fib_lookup` that are told apart (`BPF_FIB_LKUP_RET_*`).
mod answer {
    pub(super) const SUCCESS: i64 = 0;
    pub(super) const NO_NEIGHBOUR: i64 = 7;
}

/// Addresses as the kernel's union wants them, in network order: IPv4 in the first four bytes.
#[inline(always)]
const fn union_of(address: &Address, is_v4: bool) -> [u32; 4] {
    let [a, b, c, d] = address.words();
    if is_v4 { [d, 0, 0, 0] } else { [a, b, c, d] }
}

/// The next hop by the kernel's routing and neighbour tables. Unknown MACs are reported to the agent.
#[inline(always)]
pub(crate) fn to_address(packet: &Packet, source: &Address, destination: &Address) -> Result<NextHop, Cause> {
    find(packet, source, destination)?;
    Ok(scratch()?.next_hop)
}

/// Leaves the next hop in the scratch value instead of returning it: the type of such a `Result` has no
/// valid BTF.
#[inline(never)]
fn find(packet: &Packet, source: &Address, destination: &Address) -> Result<(), Cause> {
    let ingress = packet.ingress();
    let is_v4 = destination.is_v4();
    let scratch = scratch()?;
    let lookup = &mut scratch.fib;
    // Field by field: of the whole structure the compiler would make a call of `memset`, and with it one more
    // frame on the stack. The MACs are the kernel's to fill in.
    lookup.family = if is_v4 { family::INET } else { family::INET6 };
    lookup.l4_protocol = 0;
    lookup.source_port = 0;
    lookup.destination_port = 0;
    lookup.length_or_mtu = 0;
    lookup.interface = ingress;
    lookup.tos_or_flow = 0;
    lookup.source = union_of(source, source.is_v4() && is_v4);
    lookup.destination = union_of(destination, is_v4);
    lookup.vlan_protocol = 0;
    lookup.vlan_tag = 0;
    // SAFETY: the context is the program's own and the length is the structure's.
    let found = unsafe {
        bpf_fib_lookup(packet.context().as_ptr(), (&raw mut *lookup).cast(), size_of::<FibLookup>() as i32, 0)
    };
    match found {
        answer::SUCCESS => {
            scratch.next_hop = NextHop {
                interface: lookup.interface,
                link: LinkAddresses::between(lookup.source_mac, lookup.destination_mac),
                mtu: lookup.length_or_mtu as usize,
                routed: lookup.interface != ingress || lookup.destination != union_of(destination, is_v4),
            };
            Ok(())
        }
        answer::NO_NEIGHBOUR => {
            report_unresolved(lookup);
            Err(Cause::NoNeighbour)
        }
        _ => Err(Cause::NoRoute),
    }
}

/// Asks for the MAC of what the kernel has put in place of the destination: the gateway, if there is one.
#[inline(always)]
fn report_unresolved(lookup: &FibLookup) {
    // A full buffer loses the report; the next packet makes another.
    let Some(mut record) = EVENTS.reserve_untyped::<Unresolved>(0) else { return };
    record.write(Unresolved {
        address: zerocopy::transmute!(lookup.destination),
        interface: lookup.interface,
        family: lookup.family as u32,
    });
    record.submit(0);
}

impl NextHop {
    /// The next hop to a real server as the agent knows it.
    #[inline(always)]
    pub(crate) fn prepared(packet: &Packet, destination: &Destination) -> Option<Self> {
        destination.has(destination_flags::NEXT_HOP_KNOWN).then(|| Self {
            interface: destination.interface,
            link: LinkAddresses::of_destination(destination),
            mtu: destination.mtu as usize,
            routed: destination.interface != packet.ingress()
                || destination.has(destination_flags::BEHIND_ROUTER),
        })
    }

    /// Writes the frame's addresses; answers the interface it leaves by.
    #[inline(always)]
    pub(crate) fn send(&self, bytes: &impl Bytes) -> Result<u32, Cause> {
        bytes.write(0, self.link.first).map_err(|_| Cause::Malformed)?;
        bytes.write(8, self.link.rest).map_err(|_| Cause::Malformed)?;
        Ok(self.interface)
    }
}

/// The first twelve bytes of a frame, destination and source, in the words they are written by.
#[derive(Clone, Copy)]
struct LinkAddresses {
    first: u64,
    rest: u32,
}

impl LinkAddresses {
    #[inline(always)]
    const fn of_destination(destination: &Destination) -> Self {
        let (next_hop, source) = destination.link_words();
        Self { first: (next_hop & 0xffff_ffff_ffff) | source << 48, rest: (source >> 16) as u32 }
    }

    #[inline(always)]
    const fn between(source: [u8; 6], destination: [u8; 6]) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination, source);
        Self { first: u64::from_ne_bytes([a, b, c, d, e, f, g, h]), rest: u32::from_ne_bytes([i, j, k, l]) }
    }
}

/// Copies the Ethernet header, with its tag if it has one, from `from` to the frame's start.
#[inline(always)]
pub(crate) fn move_link_header(packet: &impl Bytes, from: usize, network: &Network) -> Result<(), Cause> {
    let header: EthHdr = packet.read(from).map_err(|_| Cause::Malformed)?;
    move_tag(packet, from, network)?;
    packet.write(0, header).map_err(|_| Cause::Malformed)
}

/// Of the Ethernet header only what its writer does not set: the tag, with the type that says it is one.
#[inline(always)]
pub(crate) fn move_tag(packet: &impl Bytes, from: usize, network: &Network) -> Result<(), Cause> {
    if network.l3 == ETHERNET {
        return Ok(());
    }
    let kind: u16 = packet.read(from + TYPE).map_err(|_| Cause::Malformed)?;
    let tag: u32 = packet.read(from + ETHERNET).map_err(|_| Cause::Malformed)?;
    packet.write(TYPE, kind).map_err(|_| Cause::Malformed)?;
    packet.write(ETHERNET, tag).map_err(|_| Cause::Malformed)
}

const TYPE: usize = core::mem::offset_of!(EthHdr, ether_type);
