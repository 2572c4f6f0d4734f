#![no_std]
#![no_main]
use aya_ebpf::{macros::xdp, programs::XdpContext};
#[xdp]
fn lvs_decapsulate(ctx: XdpContext) -> u32 {
    let k = (ctx.data_end()-ctx.data()) as u64;
    if k > 3 { return 1 }
    2
}
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
