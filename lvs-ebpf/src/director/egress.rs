//! What leaves the machine itself, which XDP does not see: a tc program at each interface's egress. This file
//! alone names `TC_ACT_*`.

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lvs_common::settings::flags;

use crate::lookup;

/// Settings without which every packet leaves as it is.
const NEEDED: u32 = flags::PROBES;

#[classifier]
fn lvs_egress(_: TcContext) -> i32 {
    match lookup::settings() {
        Ok(settings) if settings.flags & NEEDED != 0 => TC_ACT_UNSPEC,
        // The next program's, if there is one.
        _ => TC_ACT_UNSPEC,
    }
}
