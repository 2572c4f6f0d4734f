//! The director's XDP programs. This file alone names `XDP_*`: everything behind it answers with an
//! [`Action`] or a [`Cause`].
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
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
mod rewrite;
mod schedule;
mod stats;
mod steer;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lvs_common::cause::{Cause, Verdict};
use lvs_ebpf::packet::Packet;

/// What becomes of a packet that goes on.
#[must_use]
pub(crate) enum Action {
    /// Out of the interface it came in by.
    Transmit,
    /// Out of the interface with this index.
    Redirect(u32),
}

#[xdp]
fn lvs_director(context: XdpContext) -> u32 {
    let packet = Packet::new(context);
    match pipeline::process(&packet) {
        Ok(Action::Transmit) => XDP_TX,
        Ok(Action::Redirect(interface)) => helpers::redirect(interface),
        Err(cause) => finish(cause),
    }
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
