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
    clippy::needless_borrows_for_generic_args,
    reason = "a key by value is a copy on 512 bytes of stack"
)]
#![allow(
    internal_features,
    reason = "bpfel has atomic instructions, but core offers them as intrinsics only"
)]

mod adopt;
mod answer;
mod connection;
mod egress;
mod expire;
mod forward;
mod fragment;
mod helpers;
mod icmp;
mod lease;
mod lookup;
mod maps;
mod next_hop;
mod pipeline;
mod probe;
mod reply;
mod rewrite;
mod schedule;
mod scratch;
mod stages;
mod stats;
mod steer;
mod table;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lvs_common::cause::{Cause, Verdict};
use lvs_ebpf::packet::Packet;

#[xdp]
#[inline(always)]
fn lvs_director(context: XdpContext) -> u32 {
    let packet = Packet::new(context);
    let fate = pipeline::process(&packet).map_err(|cause| told(&packet, cause));
    log(&packet, fate);
    match fate {
        Ok(interface) if interface == packet.ingress() => XDP_TX,
        Ok(interface) => helpers::redirect(interface),
        Err(cause) => finish(cause),
    }
}

/// Says what becomes of each packet, for debugging. Nothing at all without the feature `debug-log`.
#[inline(always)]
#[cfg_attr(not(feature = "debug-log"), allow(unused_variables, reason = "nothing is said"))]
fn log(packet: &Packet, fate: Result<u32, Cause>) {
    #[cfg(feature = "debug-log")]
    match fate {
        Ok(interface) => {
            aya_log_ebpf::debug!(packet.context(), "interface {}: sent by {}", packet.ingress(), interface);
        }
        Err(cause) => {
            aya_log_ebpf::debug!(packet.context(), "interface {}: cause {}", packet.ingress(), cause as u32);
        }
    }
}

/// Tells the sender, where it is to be told; answers the packet's fate.
#[inline(always)]
fn told(packet: &Packet, cause: Cause) -> Cause {
    if !answer::is_due(cause) {
        return cause;
    }
    stages::answer(packet, cause as u32).err().unwrap_or(cause)
}

#[inline(always)]
fn finish(cause: Cause) -> u32 {
    stats::count(cause);
    match cause.verdict() {
        Verdict::Pass => XDP_PASS,
        // No note is a packet's fate.
        Verdict::Drop | Verdict::Note => XDP_DROP,
        Verdict::Answer => XDP_TX,
    }
}

/// Retires the connections whose places stand in the packet, if they have expired. Attached nowhere: the
/// agent runs it with the places as the packet.
#[xdp]
fn lvs_expire(context: XdpContext) -> u32 {
    match expire::run(&Packet::new(context)) {
        Ok(()) => XDP_PASS,
        Err(_) => XDP_ABORTED,
    }
}

/// Takes over the connections in the packet from another director. Attached nowhere: the agent runs it with the
/// records as the packet, and reads there what became of them.
#[xdp]
fn lvs_adopt(context: XdpContext) -> u32 {
    match adopt::run(&Packet::new(context)) {
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
