//! What `cargo xtask bench` measures the director with: floors, and a wrapper that gives each round of one
//! long BPF_PROG_TEST_RUN a fresh packet.
//!
//! The kernel does not restore a packet between rounds, so the wrapper takes back what the round before has
//! put in front, writes the whole frame again, chooses the flow, and tail-calls the program in `TARGET`.
//! A figure includes the wrapper; the wrapper with `bench_drop` is the floor.
#![no_std]
#![no_main]

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_TX};
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_xdp_adjust_head};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lvs_common::bench::{FRAME_WORDS, Order, Plan};

/// Written by the bench: what to measure.
#[btf_map]
static TARGET: ProgramArray<1> = ProgramArray::new();

/// Written by the bench; `state` also by the wrapper.
#[btf_map]
static PLAN: Array<Plan, 1> = Array::new();

const ETHERNET: usize = 14;
/// Bytes of the frames: IPv4 as short as Ethernet allows, IPv6 as short as TCP in it is, in whole words.
const FRAME_V4: usize = 64;
const FRAME_V6: usize = 80;

const _: () = assert!(FRAME_V6 == FRAME_WORDS * 8);

/// Where the client's address ends and where its port stands, by family and direction.
const V4_REQUEST: (usize, usize) = (ETHERNET + 16, ETHERNET + 20);
const V4_REPLY: (usize, usize) = (ETHERNET + 20, ETHERNET + 22);
const V6_REQUEST: (usize, usize) = (ETHERNET + 24, ETHERNET + 40);
const V6_REPLY: (usize, usize) = (ETHERNET + 40, ETHERNET + 42);

#[xdp]
fn bench_v4_request(context: XdpContext) -> u32 {
    round::<FRAME_V4>(&context, V4_REQUEST, V4_REPLY.0)
}

#[xdp]
fn bench_v4_reply(context: XdpContext) -> u32 {
    round::<FRAME_V4>(&context, V4_REPLY, V4_REQUEST.0)
}

#[xdp]
fn bench_v6_request(context: XdpContext) -> u32 {
    round::<FRAME_V6>(&context, V6_REQUEST, V6_REPLY.0)
}

#[xdp]
fn bench_v6_reply(context: XdpContext) -> u32 {
    round::<FRAME_V6>(&context, V6_REPLY, V6_REQUEST.0)
}

/// One packet: `client` is where the client's address ends and where its port begins, `other_end` where the
/// other address ends.
#[inline(always)]
fn round<const BYTES: usize>(context: &XdpContext, client: (usize, usize), other_end: usize) -> u32 {
    let length = context.data_end() - context.data();
    if length != BYTES {
        // SAFETY: the context is the program's own.
        unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), length as i32 - BYTES as i32) };
    }
    let Some(plan) = PLAN.get_ptr_mut(0) else { return XDP_ABORTED };
    let start = context.data();
    if start + BYTES > context.data_end() {
        return XDP_ABORTED;
    }
    // SAFETY: a map value nobody else writes meanwhile, and `BYTES` bytes of the packet that were compared
    // with its end.
    unsafe {
        write_frame::<BYTES>(start, (&raw const (*plan).frame) as usize);
        stamp(&mut *plan);
        let (flow, service) = next(&mut *plan);
        let (address, port) = (start + client.0, start + client.1);
        let low = u32::from_be(((address - 4) as *const u32).read());
        ((address - 4) as *mut u32).write((low + (flow >> Plan::PORT_BITS)).to_be());
        (port as *mut u16).write((Plan::FIRST_PORT + (flow as u16 & Plan::PORT_MASK)).to_be());
        if service != 0 {
            let other = start + other_end;
            let low = u32::from_be(((other - 4) as *const u32).read());
            ((other - 4) as *mut u32).write((low + service).to_be());
        }
        // Comes back only when nothing is there to call.
        TARGET.tail_call(context, 0);
    }
    XDP_ABORTED
}

/// Writes the frame by the words in which its fields stand: a processor hands a load what was stored a moment
/// ago only if one store holds all of it. A packet that a network card has written knows no such delay.
///
/// # Safety
/// `BYTES` bytes may be written at `to` and read at `from`.
#[inline(always)]
unsafe fn write_frame<const BYTES: usize>(to: usize, from: usize) {
    // SAFETY: the caller's promise; BPF has no alignment rule for packets.
    unsafe {
        (to as *mut u64).write((from as *const u64).read());
        ((to + 8) as *mut u32).write(((from + 8) as *const u32).read());
        ((to + 12) as *mut u16).write(((from + 12) as *const u16).read());
        for word in 0..(BYTES - ETHERNET) / 4 {
            let at = ETHERNET + word * 4;
            ((to + at) as *mut u32).write(((from + at) as *const u32).read());
        }
        ((to + BYTES - 2) as *mut u16).write(((from + BYTES - 2) as *const u16).read());
    }
}

const _: () = assert!((FRAME_V4 - ETHERNET) % 4 == 2 && (FRAME_V6 - ETHERNET) % 4 == 2);

/// Takes the time at both ends of a run: from outside, a run is longer by two waits for a grace period.
#[inline(always)]
fn stamp(plan: &mut Plan) {
    plan.done += 1;
    if plan.done == 1 {
        // SAFETY: the helper takes nothing.
        plan.began = unsafe { bpf_ktime_get_ns() };
    } else if plan.done == plan.rounds {
        // SAFETY: as above.
        plan.ended = unsafe { bpf_ktime_get_ns() };
    }
}

/// The number of the next packet's flow, and what to add to its virtual address.
#[inline(always)]
fn next(plan: &mut Plan) -> (u32, u32) {
    if plan.order == Order::SEQUENTIAL {
        plan.state += 1;
        return (plan.state as u32, 0);
    }
    plan.state = plan.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let flow = ((plan.state >> 32) * plan.flows as u64) >> 32;
    let service = ((plan.state >> 16 & 0xffff_ffff) * plan.services as u64) >> 32;
    (flow as u32, service as u32)
}

/// Floor: the wrapper alone.
#[xdp]
fn bench_drop(_: XdpContext) -> u32 {
    XDP_DROP
}

/// Floor: MAC addresses exchanged, sent back.
#[xdp]
fn bench_transmit(context: XdpContext) -> u32 {
    let start = context.data();
    if start + ETHERNET > context.data_end() {
        return XDP_ABORTED;
    }
    let frame = start as *mut [u16; 7];
    // SAFETY: compared with the packet's end.
    unsafe {
        let [a, b, c, d, e, f, ether] = frame.read();
        frame.write([d, e, f, a, b, c, ether]);
    }
    XDP_TX
}

/// Floor: a constant IPv4 header in front, without a look at the packet.
#[xdp]
fn bench_ipip_v4(context: XdpContext) -> u32 {
    constant_header::<5>(&context, 0x0800, [0x4500_0046, 0x0000_4000, 0x4004_66b3, 0x0a00_0001, 0x0a00_000b])
}

/// Floor: a constant IPv6 header in front.
#[xdp]
fn bench_ipip_v6(context: XdpContext) -> u32 {
    let (prefix, own, server) = (0x2001_0db8, 1, 0xb);
    constant_header::<10>(
        &context,
        0x86dd,
        [0x6000_0000, 0x0042_2940, prefix, 0, 0, own, prefix, 0, 0, server],
    )
}

#[inline(always)]
fn constant_header<const WORDS: usize>(context: &XdpContext, ether: u16, header: [u32; WORDS]) -> u32 {
    let grown = (WORDS * 4) as i32;
    // SAFETY: the context is the program's own.
    if unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), -grown) } != 0 {
        return XDP_ABORTED;
    }
    let start = context.data();
    if start + ETHERNET + WORDS * 4 > context.data_end() {
        return XDP_ABORTED;
    }
    // SAFETY: compared with the packet's end.
    unsafe {
        (start as *mut [u16; 7]).write([0x0002, 0, 0x0b10, 0x0002, 0, 0x1000, ether.to_be()]);
        for (index, word) in header.iter().enumerate() {
            ((start + ETHERNET + index * 4) as *mut u32).write(word.to_be());
        }
    }
    XDP_TX
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
