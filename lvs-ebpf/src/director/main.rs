//! The director's XDP programs. This file alone names `XDP_*`: everything behind it sends the packet, or
//! answers with a [`Cause`].
//!
//! Static functions that are not inlined return `Result<(), Cause>` and fill anything else in through a
//! reference: the layout of a `Result` with two payloads has no valid BTF, and without BTF there is no
//! `bpf_loop`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(
    internal_features,
    reason = "bpfel has atomic instructions, but core offers them as intrinsics only"
)]

mod answer;
mod connection;
mod expire;
mod forward;
mod fragment;
mod helpers;
mod icmp;
mod lookup;
mod maps;
mod next_hop;
mod pipeline;
mod reply;
mod rewrite;
mod schedule;
mod scratch;
mod stages;
mod stats;
mod steer;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lvs_common::cause::{Cause, Verdict};
use lvs_ebpf::packet::Packet;

#[xdp]
fn lvs_director(context: XdpContext) -> u32 {
    let packet = Packet::new(context);
    match pipeline::process(&packet) {
        Ok(interface) if interface == packet.ingress() => XDP_TX,
        Ok(interface) => helpers::redirect(interface),
        Err(cause) => finish(told(&packet, cause)),
    }
}

/// Tells the sender, where it is to be told; answers the packet's fate.
#[inline(always)]
fn told(packet: &Packet, cause: Cause) -> Cause {
    let Some(kind) = answer::Kind::of(cause) else { return cause };
    stages::answer(packet, kind.to_bits()).err().unwrap_or(cause)
}

#[inline(always)]
fn finish(cause: Cause) -> u32 {
    stats::count(cause);
    match cause.verdict() {
        Verdict::Pass => XDP_PASS,
        Verdict::Drop => XDP_DROP,
        Verdict::Answer => XDP_TX,
    }
}

/// Retires the connections whose keys stand in the packet, if they have expired. Attached nowhere: the
/// agent runs it with the keys as the packet.
#[xdp]
fn lvs_expire(context: XdpContext) -> u32 {
    match expire::run(&Packet::new(context)) {
        Ok(()) => XDP_PASS,
        Err(_) => XDP_ABORTED,
    }
}

/// For the far end of a veth, which takes frames by XDP_TX only when it has a program itself.
#[xdp]
fn lvs_pass(_: XdpContext) -> u32 {
    XDP_PASS
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
