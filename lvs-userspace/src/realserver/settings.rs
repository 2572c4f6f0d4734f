//! Settings of the kernel that a real server needs.

use super::Options;
use crate::changes::sysctl::{Setting, quiet_arp, read};

pub(super) fn wanted(options: &Options, interfaces: &[String]) -> Vec<Setting> {
    // IPv6 needs none: it answers for an address only on the interface that has it, and knows no filter
    // of return paths.
    if !options.vip.iter().any(|vip| vip.is_ipv4()) {
        return Vec::new();
    }
    let mut settings = quiet_arp(interfaces.iter().map(String::as_str));
    // A client's packet may come in where the way back to the client does not lead. 2 (loose) is larger
    // than 1 (strict), so it is enough whatever `all` says, and no other interface is touched.
    let fits: fn(u32) -> bool = match read(&rp_filter("all")) {
        Ok(1) => |value| value == 2,
        Ok(2) => |_| true,
        _ => |value| value != 1,
    };
    settings.extend(interfaces.iter().map(|interface| Setting {
        name: rp_filter(interface),
        fits,
        value: 2,
    }));
    settings
}

fn rp_filter(place: &str) -> String {
    format!("net/ipv4/conf/{place}/rp_filter")
}
