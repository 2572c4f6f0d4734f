//! Both ends of the benchmark's traffic: a generator, run by BPF_PROG_TEST_RUN with live frames, and a sink
//! that counts and drops. Between them, for the floors, the least that a director could do.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lvs_common::service::protocol;
use lvs_ebpf::packet::{Bytes as _, OutOfBounds, Packet};

/// Written by the benchmark.
#[btf_map]
static TEMPLATE: Array<Template, 1> = Array::new();
/// Frames made.
#[btf_map]
static SENT: PerCpuArray<u64, 1> = PerCpuArray::new();
/// Frames that arrived.
#[btf_map]
static RECEIVED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Index of the interface by which frames leave. Set by the benchmark before loading.
#[unsafe(no_mangle)]
static INTERFACE: u32 = 0;
/// Index of the interface by which `pass_on` sends. Set by the benchmark before loading.
#[unsafe(no_mangle)]
static ONWARD: u32 = 0;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that no panic is reachable.
    loop {}
}

/// Words of the longest frame: 88 bytes for IPv6, 64 for IPv4.
const WORDS: usize = 11;
const ETHERNET: usize = 14;

#[repr(C)]
struct Template {
    /// The fields that differ between flows are zero, and each has a second field of 0xffff behind the same
    /// checksum. Only the first 64 bytes count for IPv4.
    frame: [u64; WORDS],
    /// Number of flows, a power of two up to 2^20, less one.
    flow_mask: u64,
}

/// Where a frame of one family has what differs between flows.
struct Fields {
    /// Low 16 bits of the source address.
    address: usize,
    /// Source port; four bytes of payload begin eight bytes further on.
    port: usize,
    /// Of IPv4: the identification, whose header has a checksum of its own.
    identification: Option<usize>,
}

const V4: Fields = Fields { address: ETHERNET + 14, port: ETHERNET + 20, identification: Some(ETHERNET + 4) };
const V6: Fields = Fields { address: ETHERNET + 22, port: ETHERNET + 40, identification: None };

#[xdp]
fn generate_v4(context: XdpContext) -> u32 {
    let packet = Packet::new(context);
    generate(&packet, &V4, |frame| {
        packet.write(0, part(frame, 0))?;
        packet.write(24, part(frame, 3))
    })
}

#[xdp]
fn generate_v6(context: XdpContext) -> u32 {
    let packet = Packet::new(context);
    generate(&packet, &V6, |frame| {
        packet.write(0, part(frame, 0))?;
        packet.write(40, part(frame, 5))?;
        packet.write(48, part(frame, 6))
    })
}

/// Sends every frame back.
#[xdp]
fn reflect(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Sends every frame on by another interface.
#[xdp]
fn pass_on(_: XdpContext) -> u32 {
    // SAFETY: no pointers.
    unsafe { bpf_redirect(global(&ONWARD), 0) as u32 }
}

#[xdp]
fn sink(context: XdpContext) -> u32 {
    let packet = Packet::new(context);
    if matches!(is_traffic(&packet), Ok(true)) {
        count(&RECEIVED);
        return xdp_action::XDP_DROP;
    }
    // ARP and its like, without which there are no next hops.
    xdp_action::XDP_PASS
}

/// The kernel uses a frame's memory again as its last user left it, so every byte is written.
#[inline(always)]
fn generate(
    packet: &Packet,
    fields: &Fields,
    write_frame: impl FnOnce(&[u64; WORDS]) -> Result<(), OutOfBounds>,
) -> u32 {
    let Some(template) = TEMPLATE.get(0) else { return xdp_action::XDP_ABORTED };
    let flow = scatter(count(&SENT)) & template.flow_mask as u32;
    if write_frame(&template.frame).is_err() || write_flow(packet, fields, flow).is_err() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: no pointers.
    unsafe { bpf_redirect(global(&INTERFACE), 0) as u32 }
}

#[inline(always)]
fn write_flow(packet: &Packet, fields: &Fields, flow: u32) -> Result<(), OutOfBounds> {
    let port = (0x4000 | (flow & 0x3fff)) as u16;
    let address = (0x100 + (flow >> 14)) as u16;
    packet.write(fields.address, address.to_be())?;
    packet.write(fields.port, port.to_be())?;
    // The sum of a word and its complement is that of 0 and 0xffff, which the template's checksums have.
    packet.write(fields.port + 8, (!port).to_be())?;
    packet.write(fields.port + 10, (!address).to_be())?;
    if let Some(identification) = fields.identification {
        packet.write(identification, (!address).to_be())?;
    }
    Ok(())
}

#[inline(always)]
fn is_traffic(packet: &Packet) -> Result<bool, OutOfBounds> {
    let carried = match packet.read::<[u8; 2]>(ETHERNET - 2)? {
        [0x08, 0x00] => packet.read::<[u8; 2]>(ETHERNET + 8)?[1],
        [0x86, 0xdd] => packet.read::<[u8; 2]>(ETHERNET + 6)?[0],
        _ => return Ok(false),
    };
    Ok(matches!(carried, protocol::UDP | protocol::TCP | protocol::IPIP | protocol::IPV6))
}

/// Five words of the frame, from the one numbered `first`.
#[inline(always)]
fn part(frame: &[u64; WORDS], first: usize) -> [u64; 5] {
    [frame[first], frame[first + 1], frame[first + 2], frame[first + 3], frame[first + 4]]
}

/// Raises the counter and gives what it was.
#[inline(always)]
fn count(counter: &PerCpuArray<u64, 1>) -> u64 {
    match counter.get_ptr_mut(0) {
        // SAFETY: the value belongs to this CPU, and XDP programs do not interrupt each other on one.
        Some(counter) => unsafe {
            let before = *counter;
            *counter = before + 1;
            before
        },
        None => 0,
    }
}

/// Flows come in no order a cache could guess, yet each once in every round: an odd factor permutes the
/// numbers below any power of two.
#[inline(always)]
const fn scatter(number: u64) -> u32 {
    (number as u32).wrapping_mul(0x9e37_79b1)
}

#[inline(always)]
fn global(value: &'static u32) -> u32 {
    // SAFETY: a live static. Volatile: the compiler knows the value in the object, not the one put in later.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}
