//! What leaves the machine itself, which XDP does not see: a tc program at each interface's egress. This file
//! alone names `TC_ACT_*`.

mod probe;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lvs_common::cause::Cause;
use lvs_common::settings::flags;
use lvs_ebpf::packet::Leaving;

use crate::{lease, lookup, stats};

/// Settings without which every packet leaves as it is.
const NEEDED: u32 = flags::PROBES | flags::LEASES;

#[classifier]
fn lvs_egress(context: TcContext) -> i32 {
    match lookup::settings() {
        Ok(settings) if settings.flags & NEEDED != 0 => match process(&context, settings.flags) {
            Ok(()) => TC_ACT_UNSPEC,
            Err(cause) => {
                stats::count(cause);
                TC_ACT_SHOT
            }
        },
        // The next program's, if there is one.
        _ => TC_ACT_UNSPEC,
    }
}

#[inline(always)]
fn process(context: &TcContext, wanted: u32) -> Result<(), Cause> {
    if wanted & flags::LEASES != 0 {
        lease::fence_leaving(&Leaving::new(context))?;
    }
    if wanted & flags::PROBES != 0 {
        probe::send(context).map_err(|_| Cause::ProbeLost)?;
    }
    Ok(())
}
