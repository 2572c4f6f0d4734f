//! The real server's half of ipip: takes the outer header off packets that a director has wrapped, where
//! the kernel has no ipip device or none of the right mix (4in4, 6in6, 4in6, 6in4).
//!
//! Only packets from an address in `DIRECTORS` whose inner destination is in `VIPS` are touched. Everything
//! else, and whatever does not fit, is passed to the kernel as it came; nothing is dropped here.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{HashMap, PerCpuArray};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lvs_common::address::Address;
use lvs_common::checksum::{self, Delta};
use lvs_common::decapsulation::{self, Listed, Outcome};
use lvs_common::service::protocol;
use lvs_ebpf::packet::{Bytes as _, OutOfBounds, Packet, Plain};

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
    let packet = Packet::new(context);
    let outcome = match decapsulate(&packet) {
        Ok(()) => Outcome::Unpacked,
        Err(Left::Counted(outcome)) => outcome,
        Err(Left::Uncounted) => return xdp_action::XDP_PASS,
        Err(Left::Mutilated) => return xdp_action::XDP_ABORTED,
    };
    count(outcome);
    xdp_action::XDP_PASS
}

/// Why a packet was not unpacked.
enum Left {
    /// It carries another IP packet, but not one for us.
    Counted(Outcome),
    /// It carries something else.
    Uncounted,
    /// It was half rewritten when the kernel refused to shorten it. The kernel never does: less than the
    /// packet is taken off.
    Mutilated,
}

impl From<OutOfBounds> for Left {
    fn from(_: OutOfBounds) -> Self {
        Self::Uncounted
    }
}

impl From<Outcome> for Left {
    fn from(outcome: Outcome) -> Self {
        Self::Counted(outcome)
    }
}

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
fn decapsulate(packet: &Packet) -> Result<(), Left> {
    match packet.read(ETHERNET - 2)? {
        ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => unpack::<TAGGED>(packet),
        _ => unpack::<ETHERNET>(packet),
    }
}

/// `LINK`: bytes before the outer header.
#[inline(always)]
fn unpack<const LINK: usize>(packet: &Packet) -> Result<(), Left>
where
    [u8; LINK]: Plain,
{
    let outer = match packet.read(LINK - 2)? {
        ETHERTYPE_IPV4 => outer_v4(&packet.read(LINK)?)?,
        ETHERTYPE_IPV6 => outer_v6(&packet.read(LINK)?)?,
        _ => return Err(Left::Uncounted),
    };
    // SAFETY: the value is never read, so it does not matter that its slot may get another.
    if unsafe { DIRECTORS.get(outer.source) }.is_none() {
        return Err(Outcome::NotFromDirector.into());
    }
    // One branch per length, so that the verifier sees constant offsets.
    match outer.length {
        IPV4 => strip::<LINK, IPV4>(packet, &outer),
        _ => strip::<LINK, IPV6>(packet, &outer),
    }
}

struct Outer {
    source: Address,
    /// Bytes of the header.
    length: usize,
    /// Bytes behind it, as the header says.
    payload: usize,
    /// [`protocol::IPIP`] or [`protocol::IPV6`].
    carried: u8,
    /// The ECN field.
    ecn: u8,
}

#[inline(always)]
fn outer_v4(header: &[u8; IPV4]) -> Result<Outer, Left> {
    let carried = header[9];
    if !matches!(carried, protocol::IPIP | protocol::IPV6) {
        return Err(Left::Uncounted);
    }
    let total = u16::from_be_bytes([header[2], header[3]]) as usize;
    // More fragments, or an offset. The kernel puts them together, or not.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    // RFC 1812 section 5.2.2: a wrong checksum is somebody else's packet with a bit turned over.
    let intact = checksum::fold(checksum::add_bytes(0, header)) == 0xffff;
    if header[0] != 0x45 || fragment || !intact || total < IPV4 {
        return Err(Outcome::Unfit.into());
    }
    Ok(Outer {
        source: Address::from_v4([header[12], header[13], header[14], header[15]]),
        length: IPV4,
        payload: total - IPV4,
        carried,
        ecn: header[1] & ECN_CE,
    })
}

#[inline(always)]
fn outer_v6(header: &[u8; IPV6]) -> Result<Outer, Left> {
    // A tunnelled packet behind extension headers goes to the kernel with all the others.
    let carried = header[6];
    if !matches!(carried, protocol::IPIP | protocol::IPV6) {
        return Err(Left::Uncounted);
    }
    if header[0] >> 4 != 6 {
        return Err(Outcome::Unfit.into());
    }
    let mut source = [0; 16];
    source.copy_from_slice(&header[8..24]);
    Ok(Outer {
        source: Address::from_v6(source),
        length: IPV6,
        payload: u16::from_be_bytes([header[4], header[5]]) as usize,
        carried,
        ecn: (header[1] >> 4) & ECN_CE,
    })
}

/// Looks at the inner header and, if the packet is for a VIP, moves the link header over the outer one.
#[inline(always)]
fn strip<const LINK: usize, const OUTER: usize>(packet: &Packet, outer: &Outer) -> Result<(), Left>
where
    [u8; LINK]: Plain,
{
    // The frame may be padded, but is not shorter than its header says.
    if packet.length() < LINK + OUTER + outer.payload {
        return Err(Outcome::Unfit.into());
    }
    let inner = LINK + OUTER;
    let ether_type: [u8; 2] = match outer.carried {
        protocol::IPIP => {
            let mut header: [u8; IPV4] = packet.read(inner).map_err(|_| Outcome::Unfit)?;
            if inner_v4(&mut header, outer)? {
                packet.write(inner, header)?;
            }
            ETHERTYPE_IPV4
        }
        _ => {
            let mut header: [u8; IPV6] = packet.read(inner).map_err(|_| Outcome::Unfit)?;
            if inner_v6(&mut header, outer)? {
                packet.write(inner, header)?;
            }
            ETHERTYPE_IPV6
        }
    };
    let mut link: [u8; LINK] = packet.read(0)?;
    link[LINK - 2..].copy_from_slice(&ether_type);
    packet.write(OUTER, link)?;
    packet.shrink_head(OUTER).map_err(|_| Left::Mutilated)
}

/// Whether the packet is ours to unpack; `true` if that changed its header.
#[inline(always)]
fn inner_v4(header: &mut [u8; IPV4], outer: &Outer) -> Result<bool, Left> {
    let total = u16::from_be_bytes([header[2], header[3]]) as usize;
    if header[0] >> 4 != 4 || total < IPV4 || total > outer.payload {
        return Err(Outcome::Unfit.into());
    }
    for_vip(Address::from_v4([header[16], header[17], header[18], header[19]]))?;
    let marked = passes_mark_on(outer.ecn, header[1] & ECN_CE)?;
    if marked {
        let old = [header[0], header[1]];
        header[1] |= ECN_CE;
        let sum = u16::from_be_bytes([header[10], header[11]]);
        let sum = Delta::NONE.bytes(&old, &[header[0], header[1]]).apply(sum);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    Ok(marked)
}

/// As [`inner_v4`].
#[inline(always)]
fn inner_v6(header: &mut [u8; IPV6], outer: &Outer) -> Result<bool, Left> {
    let total = u16::from_be_bytes([header[4], header[5]]) as usize + IPV6;
    if header[0] >> 4 != 6 || total > outer.payload {
        return Err(Outcome::Unfit.into());
    }
    let mut destination = [0; 16];
    destination.copy_from_slice(&header[24..40]);
    for_vip(Address::from_v6(destination))?;
    let marked = passes_mark_on(outer.ecn, (header[1] >> 4) & ECN_CE)?;
    if marked {
        header[1] |= ECN_CE << 4;
    }
    Ok(marked)
}

#[inline(always)]
fn for_vip(destination: Address) -> Result<(), Outcome> {
    // SAFETY: the value is never read, so it does not matter that its slot may get another.
    if unsafe { VIPS.get(destination) }.is_some() { Ok(()) } else { Err(Outcome::NotForVip) }
}

/// Whether the inner header takes over the outer one's mark (RFC 6040 section 4.2): congestion on the way
/// is told to a transport that understands it. To one that does not, a marked packet must not be
/// delivered; the kernel will not, since it does not unpack it.
#[inline(always)]
fn passes_mark_on(outer: u8, inner: u8) -> Result<bool, Outcome> {
    match (outer, inner) {
        (ECN_CE, 0) => Err(Outcome::Unfit),
        (ECN_CE, _) => Ok(true),
        _ => Ok(false),
    }
}

#[inline(always)]
fn count(outcome: Outcome) {
    if let Some(counter) = DECAPSULATION.get_ptr_mut(outcome as u32) {
        // SAFETY: the value belongs to this CPU, and XDP programs do not interrupt each other on one.
        unsafe { *counter += 1 };
    }
}
