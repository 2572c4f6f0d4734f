//! Virtual routers.

use super::{Counter, Family, Gauge, family};
use crate::api::exposition::Exposition;
use crate::cluster::vrrp::RouterStatus;

pub(super) fn routers(to: &mut Exposition, routers: &[RouterStatus]) {
    to.family("lvs_vrrp_info", Gauge, "What a virtual router is; always 1.");
    for router in routers {
        let (id, version) = (router.router_id.to_string(), router.version.to_string());
        let labels = [
            ("router", router.name.as_str()),
            ("interface", &router.interface),
            ("router_id", &id),
            ("version", &version),
        ];
        to.sample(&labels, 1);
    }
    to.family("lvs_vrrp_state", Gauge, "What this machine is in a virtual router; 1 for its state.");
    for router in routers {
        to.sample(&[("router", &router.name), ("state", &router.state)], 1);
    }
    to.family("lvs_vrrp_advertisements_total", Counter, "Advertisements to and from other machines.");
    for router in routers {
        for (direction, count) in [("in", router.counts.received), ("out", router.counts.sent)] {
            to.sample(&[("router", &router.name), ("direction", direction)], count);
        }
    }
    let others: [Family<RouterStatus, Option<f64>>; 4] = [
        family("lvs_vrrp_priority", Gauge, "Priority of this machine.", |router| {
            Some(router.priority.into())
        }),
        family("lvs_vrrp_ignored_packets_total", Counter, "Packets that were not listened to.", |router| {
            Some(router.counts.ignored as f64)
        }),
        family("lvs_vrrp_turns_total", Counter, "How often this machine has become active.", |router| {
            Some(router.counts.turns as f64)
        }),
        family(
            "lvs_vrrp_last_advertisement_age_seconds",
            Gauge,
            "How long ago another machine's last advertisement came.",
            |router| Some(router.last_received? as f64 / 1e3),
        ),
    ];
    for Family { name, kind, help, of } in others {
        to.family(name, kind, help);
        for router in routers {
            if let Some(value) = of(router) {
                to.sample(&[("router", &router.name)], value);
            }
        }
    }
}
