//! The real server's half of ipip: takes the outer header off packets that a director has wrapped, where
//! the kernel has no ipip device or none of the right mix (4in4, 6in6, 4in6, 6in4).
//!
//! Only packets from an address in `DIRECTORS` whose inner destination is in `VIPS` are touched. Everything
//! else, and whatever does not fit, is passed to the kernel as it came; nothing is dropped here.
#![no_std]
#![no_main]

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{HashMap, PerCpuArray};
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lvs_common::address::Address;
use lvs_common::checksum::{self, Delta};
use lvs_common::decapsulation::{self, Listed, Outcome};
use lvs_common::service::protocol;

/// Written by `lvsd realserver`, read here.
#[btf_map]
static DIRECTORS: HashMap<Address, Listed, { decapsulation::DIRECTORS as usize }> = HashMap::new();
/// Written by `lvsd realserver`, read here.
#[btf_map]
static VIPS: HashMap<Address, Listed, { decapsulation::VIPS as usize }> = HashMap::new();
/// Written here, read by `lvsd realserver`. Indexed by [`Outcome`].
#[btf_map]
static DECAPSULATION: PerCpuArray<u64, { Outcome::ALL.len() }> = PerCpuArray::new();

// The helpers used here are free to all, but tracing tools and some helpers of debug builds want a licence
// compatible with the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that no panic is reachable.
    loop {}
}

/// `frags`: the program must not forbid jumbo frames. All it reads is in the first part of a frame.
#[xdp(frags)]
fn lvs_decapsulate(context: XdpContext) -> u32 {
    match decapsulate(&context) {
        Ok(outcome) => {
            if let Some(outcome) = outcome {
                count(outcome);
            }
            xdp_action::XDP_PASS
        }
        Err(Mutilated) => xdp_action::XDP_ABORTED,
    }
}

/// The frame was half rewritten when the kernel refused to shorten it. It never does, since less than the
/// frame is taken off.
struct Mutilated;

const ETHERNET: usize = 14;
const TAGGED: usize = ETHERNET + 4;
const IPV4: usize = 20;
const IPV6: usize = 40;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];
const ETHERTYPE_SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];

/// Congestion experienced (RFC 3168 section 5).
const ECN_CE: u8 = 0b11;

#[inline(always)]
fn decapsulate(context: &XdpContext) -> Result<Option<Outcome>, Mutilated> {
    match ether_type::<ETHERNET>(context) {
        Some(ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN) => unpack::<TAGGED>(context),
        _ => unpack::<ETHERNET>(context),
    }
}

/// `LINK`: bytes before the outer header.
#[inline(always)]
fn unpack<const LINK: usize>(context: &XdpContext) -> Result<Option<Outcome>, Mutilated> {
    let outer = match ether_type::<LINK>(context) {
        Some(ETHERTYPE_IPV4) => read::<IPV4>(context, LINK).map(outer_v4),
        Some(ETHERTYPE_IPV6) => read::<IPV6>(context, LINK).map(outer_v6),
        _ => None,
    };
    let outer = match outer {
        Some(Outer::Packet(packet)) => packet,
        Some(Outer::Unfit) => return Ok(Some(Outcome::Unfit)),
        Some(Outer::Other) | None => return Ok(None),
    };
    // SAFETY: the value is never read, so it does not matter that its slot may get another.
    if unsafe { DIRECTORS.get(outer.source) }.is_none() {
        return Ok(Some(Outcome::NotFromDirector));
    }
    // One place per length, so that the verifier sees constant offsets.
    if outer.length == IPV4 {
        strip::<LINK, IPV4>(context, &outer)
    } else {
        strip::<LINK, IPV6>(context, &outer)
    }
    .map(Some)
}

/// What the outer header turned out to be.
enum Outer {
    Packet(OuterPacket),
    /// Carries IP in a way that is not unpacked here.
    Unfit,
    /// Carries something else.
    Other,
}

struct OuterPacket {
    source: Address,
    /// Bytes of the outer header.
    length: usize,
    /// Bytes behind it, as the header says.
    payload: usize,
    /// [`protocol::IPIP`] or [`protocol::IPV6`].
    carried: u8,
    /// The ECN field.
    ecn: u8,
}

#[inline(always)]
fn outer_v4(header: &[u8; IPV4]) -> Outer {
    let carried = header[9];
    if !matches!(carried, protocol::IPIP | protocol::IPV6) {
        return Outer::Other;
    }
    let total = u16::from_be_bytes([header[2], header[3]]) as usize;
    // More fragments, or an offset. The kernel puts them together, or not.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    // RFC 1812 section 5.2.2: a wrong checksum is somebody else's packet with a bit turned over.
    let intact = checksum::fold(checksum::add_bytes(0, header)) == 0xffff;
    if header[0] != 0x45 || fragment || !intact || total < IPV4 {
        return Outer::Unfit;
    }
    Outer::Packet(OuterPacket {
        source: Address::from_v4([header[12], header[13], header[14], header[15]]),
        length: IPV4,
        payload: total - IPV4,
        carried,
        ecn: header[1] & ECN_CE,
    })
}

#[inline(always)]
fn outer_v6(header: &[u8; IPV6]) -> Outer {
    // A tunnelled packet behind extension headers goes to the kernel with all the others.
    let carried = header[6];
    if !matches!(carried, protocol::IPIP | protocol::IPV6) {
        return Outer::Other;
    }
    if header[0] >> 4 != 6 {
        return Outer::Unfit;
    }
    let mut source = [0; 16];
    source.copy_from_slice(&header[8..24]);
    Outer::Packet(OuterPacket {
        source: Address::from_v6(source),
        length: IPV6,
        payload: u16::from_be_bytes([header[4], header[5]]) as usize,
        carried,
        ecn: (header[1] >> 4) & ECN_CE,
    })
}

/// Looks at the inner header and, if the packet is for a VIP, moves the link header over the outer one.
#[inline(always)]
fn strip<const LINK: usize, const OUTER: usize>(
    context: &XdpContext,
    outer: &OuterPacket,
) -> Result<Outcome, Mutilated> {
    let start = LINK + OUTER;
    // The frame may be padded, but not shorter than its header says.
    if context.data_end() - context.data() < start {
        return Ok(Outcome::Unfit);
    }
    let (inner, ether_type) = if outer.carried == protocol::IPIP {
        (inner_v4(context, start, outer), ETHERTYPE_IPV4)
    } else {
        (inner_v6(context, start, outer), ETHERTYPE_IPV6)
    };
    if let Err(outcome) = inner {
        return Ok(outcome);
    }
    let Some(link) = read::<LINK>(context, 0).copied() else { return Ok(Outcome::Unfit) };
    let Some(place) = write::<LINK>(context, OUTER) else { return Ok(Outcome::Unfit) };
    *place = link;
    place[LINK - 2] = ether_type[0];
    place[LINK - 1] = ether_type[1];
    // SAFETY: the context is the one the program was called with; no packet reference is used afterwards.
    match unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), OUTER as i32) } {
        0 => Ok(Outcome::Unpacked),
        _ => Err(Mutilated),
    }
}

#[inline(always)]
fn inner_v4(context: &XdpContext, start: usize, outer: &OuterPacket) -> Result<(), Outcome> {
    let header = write::<IPV4>(context, start).ok_or(Outcome::Unfit)?;
    let total = u16::from_be_bytes([header[2], header[3]]) as usize;
    if header[0] >> 4 != 4 || total < IPV4 || total > outer.payload {
        return Err(Outcome::Unfit);
    }
    for_vip(Address::from_v4([header[16], header[17], header[18], header[19]]))?;
    let old = [header[0], header[1]];
    if let Some(ecn) = ecn(outer.ecn, old[1] & ECN_CE)? {
        header[1] |= ecn;
        let sum = u16::from_be_bytes([header[10], header[11]]);
        let sum = Delta::NONE.bytes(&old, &[old[0], header[1]]).apply(sum).to_be_bytes();
        header[10] = sum[0];
        header[11] = sum[1];
    }
    Ok(())
}

#[inline(always)]
fn inner_v6(context: &XdpContext, start: usize, outer: &OuterPacket) -> Result<(), Outcome> {
    let header = write::<IPV6>(context, start).ok_or(Outcome::Unfit)?;
    let total = u16::from_be_bytes([header[4], header[5]]) as usize + IPV6;
    if header[0] >> 4 != 6 || total > outer.payload {
        return Err(Outcome::Unfit);
    }
    let mut destination = [0; 16];
    destination.copy_from_slice(&header[24..40]);
    for_vip(Address::from_v6(destination))?;
    if let Some(ecn) = ecn(outer.ecn, (header[1] >> 4) & ECN_CE)? {
        header[1] |= ecn << 4;
    }
    Ok(())
}

#[inline(always)]
fn for_vip(destination: Address) -> Result<(), Outcome> {
    // SAFETY: the value is never read, so it does not matter that its slot may get another.
    if unsafe { VIPS.get(destination) }.is_some() { Ok(()) } else { Err(Outcome::NotForVip) }
}

/// The bits the inner header takes over from the outer one (RFC 6040 section 4.2): congestion marked on
/// the way is passed on to a transport that knows the mark. To one that does not, the packet must not be
/// delivered; the kernel will not, as it does not unpack it.
#[inline(always)]
fn ecn(outer: u8, inner: u8) -> Result<Option<u8>, Outcome> {
    match (outer, inner) {
        (ECN_CE, 0) => Err(Outcome::Unfit),
        (ECN_CE, _) => Ok(Some(ECN_CE)),
        _ => Ok(None),
    }
}

/// The last two bytes of a link header of `LINK` bytes.
#[inline(always)]
fn ether_type<const LINK: usize>(context: &XdpContext) -> Option<[u8; 2]> {
    read::<2>(context, LINK - 2).copied()
}

#[inline(always)]
fn read<const LENGTH: usize>(context: &XdpContext, offset: usize) -> Option<&[u8; LENGTH]> {
    write(context, offset).map(|bytes| &*bytes)
}

/// The one door to the packet's bytes. A reference must not be kept over another call for the same bytes,
/// nor over `bpf_xdp_adjust_head`; every caller above is done with one before it asks for the next.
#[inline(always)]
#[allow(clippy::mut_from_ref, reason = "the packet is not part of the context, which only knows where it is")]
fn write<const LENGTH: usize>(context: &XdpContext, offset: usize) -> Option<&mut [u8; LENGTH]> {
    let start = context.data() + offset;
    if start + LENGTH > context.data_end() {
        return None;
    }
    // SAFETY: the bytes lie within the packet, as just checked (and checked again by the verifier), arrays
    // of bytes have no alignment, and the callers hold one reference at a time.
    Some(unsafe { &mut *(start as *mut [u8; LENGTH]) })
}

#[inline(always)]
fn count(outcome: Outcome) {
    if let Some(counter) = DECAPSULATION.get_ptr_mut(outcome as u32) {
        // SAFETY: the value belongs to this CPU, and XDP programs do not interrupt each other on one.
        unsafe { *counter += 1 };
    }
}
