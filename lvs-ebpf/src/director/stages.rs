//! The stages of the pipeline that are functions of their own in the kernel.
//!
//! A global BPF function is verified once, by itself, for any arguments; a static one again for every call
//! and every state it is called in, which multiplies beyond the verifier's limit of a million
//! instructions. A global function takes only the context and numbers and answers with a number, so what
//! the stages share stands in [`crate::scratch`], and a `Result` crosses the border as a `u64`.

use core::arch::asm;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use lvs_common::cause::Cause;
use lvs_ebpf::packet::Packet;

use crate::scratch::scratch;
use crate::steer::{self, Sign, Steered};
use crate::{answer, connection, forward, fragment, icmp, lease, probe, reply};

/// `Ok` as itself, `Err` in the upper half.
#[inline(always)]
fn encode(result: Result<u32, Cause>) -> u64 {
    match result {
        Ok(value) => value as u64,
        Err(cause) => (cause as u64 + 1) << 32,
    }
}

#[inline(always)]
fn decode(value: u64) -> Result<u32, Cause> {
    match (value >> 32) as u32 {
        0 => Ok(value as u32),
        cause => Err(Cause::from_value(cause - 1).unwrap_or(Cause::Inconsistent)),
    }
}

macro_rules! stage {
    ($(#[$meta:meta])* $kernel_name:ident as $name:ident($($argument:ident: $type:ty),*) = $body:expr) => {
        /// The stage as the kernel sees it.
        ///
        /// # Safety
        /// `context` is the running program's.
        #[unsafe(no_mangle)]
        #[inline(never)]
        unsafe extern "C" fn $kernel_name(context: *mut xdp_md, $($argument: $type),*) -> u64 {
            // The verifier wants the context in every call; the compiler would leave it out where it is
            // not used.
            // SAFETY: no instruction.
            unsafe { asm!("/* {0} */", in(reg) context, options(readonly, nostack, preserves_flags)) };
            let run: fn(&Packet $(, $type)*) -> Result<u32, Cause> = $body;
            encode(run(&Packet::new(XdpContext::new(context)) $(, $argument)*))
        }

        $(#[$meta])*
        #[inline(always)]
        pub(crate) fn $name(packet: &Packet $(, $argument: $type)*) -> Result<u32, Cause> {
            // SAFETY: the packet was made from the running program's context.
            decode(unsafe { $kernel_name(packet.context().ctx $(, $argument)*) })
        }
    };
}

stage! {
    /// Stops a packet for an address whose lease is not held; else `Ok(0)`.
    lvs_fence as fence(is_ip: u32) = |packet, is_ip| lease::fence(packet, &scratch()?.network, is_ip != 0).map(|()| 0)
}

stage! {
    /// Chooses the destination of the flow in the scratch value; answers [`Steered`] as a number.
    lvs_steer as steer(sign: u32) = |_, sign| {
        let scratch = scratch()?;
        steer::steer(&scratch.key, &scratch.service, Sign::from_bits(sign)).map(Steered::to_bits)
    }
}

stage! {
    /// Remembers the flow that `steer` wants admitted.
    lvs_admit as admit() = |_| connection::admit()
}

stage! {
    /// Sends a client's packet to the destination `steer` has chosen; answers the interface it leaves by.
    lvs_inbound as inbound(steered: u32, port: u32) = |packet, steered, port| {
        forward::inbound(packet, &scratch()?.network, port as u16, Steered::from_bits(steered))
    }
}

stage! {
    /// A packet for no service, which may be a real server's reply.
    lvs_reply as reply() = |packet| reply::process(packet, scratch()?)
}

stage! {
    /// Gives the answer to a health probe to the kernel; `Ok` if it is none.
    lvs_probe as probe() = |packet| probe::answer(packet, scratch()?)
}

stage! {
    /// As [`probe`], an ICMP error about one.
    lvs_probe_error as probe_error() = |packet| icmp::error::to_probe(packet, scratch()?)
}

stage! {
    /// Finds what the first fragment decided for a later one; answers [`fragment::REPLY`], or the
    /// destination as `steer` does.
    lvs_fragment as fragment() = |_| fragment::find(scratch()?)
}

stage! {
    /// ICMP and ICMPv6: echo, and the flow an error is about; answers one of [`icmp::about`].
    lvs_icmp as icmp() = |packet| icmp::process(packet, scratch()?)
}

stage! {
    /// An ICMP error about a nat connection, to its real server.
    lvs_icmp_in as error_to_real_server(index: u32) =
        |packet, index| icmp::error::to_real_server(packet, scratch()?, index)
}

stage! {
    /// An ICMP error by a real server, to its client.
    lvs_icmp_out as error_to_client() = |packet| icmp::error::to_client(packet, scratch()?)
}

stage! {
    /// Turns the packet into an answer to its sender about a cause, by its value. Never `Ok`.
    lvs_answer as answer(cause: u32) = |packet, cause| {
        let scratch = scratch()?;
        let cause = Cause::from_value(cause).unwrap_or(Cause::Inconsistent);
        let mtu = if matches!(cause, Cause::TooBig) { scratch.mtu } else { 0 };
        Err(answer::send(packet, &scratch.network, cause, mtu))
    }
}
