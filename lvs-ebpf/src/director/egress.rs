//! What leaves the machine itself, which XDP does not see: a tc program at each interface's egress. This file
//! alone names `TC_ACT_*`.

mod probe;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lvs_common::settings::flags;
use lvs_ebpf::packet::Leaving;

use crate::{lease, lookup, stats};

#[classifier]
fn lvs_egress(context: TcContext) -> i32 {
    let Ok(settings) = lookup::settings() else { return TC_ACT_UNSPEC };
    if settings.flags & flags::LEASES != 0
        && let Err(cause) = lease::fence_leaving(&Leaving::new(&context))
    {
        stats::count(cause);
        return TC_ACT_SHOT;
    }
    if settings.flags & flags::PROBES != 0 && probe::send(&context).is_err() {
        return TC_ACT_SHOT;
    }
    // The next program's, if there is one.
    TC_ACT_UNSPEC
}
